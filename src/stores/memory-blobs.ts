import { createHash } from "node:crypto";
import type { BlobRow, Blobs } from "../core/blobs.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import { StoreUnavailableError } from "../core/errors.ts";

/**
 * Blobs in memory: for tests, and beside a `MemoryStore`.
 *
 * @example
 * ```ts
 * import { MemoryBlobs } from "holdfast";
 *
 * const blobs = new MemoryBlobs();
 * const name = await blobs.put(new TextEncoder().encode("abc"));
 * console.log(name.slice(0, 8)); // => "ba7816bf"
 * ```
 */
export class MemoryBlobs implements Blobs {
  readonly location = "memory";
  readonly #clock: Clock;
  readonly #blobs = new Map<string, { bytes: Uint8Array; at: number }>();
  #closed = false;

  constructor(options: { clock?: Clock } = {}) {
    this.#clock = options.clock ?? systemClock;
  }

  async put(bytes: Uint8Array): Promise<string> {
    this.#expectOpen();
    const name = blobName(bytes);
    this.#blobs.set(name, { bytes: Uint8Array.from(bytes), at: this.#clock.wallNow() });
    return name;
  }

  async get(name: string): Promise<Uint8Array | undefined> {
    this.#expectOpen();
    const blob = this.#blobs.get(name);
    return blob && Uint8Array.from(blob.bytes);
  }

  async delete(name: string, putBefore: number = Infinity): Promise<void> {
    this.#expectOpen();
    const blob = this.#blobs.get(name);
    if (blob !== undefined && blob.at < putBefore) this.#blobs.delete(name);
  }

  async *list(): AsyncIterable<BlobRow> {
    this.#expectOpen();
    for (const [name, { bytes, at }] of this.#blobs) yield { name, bytes: bytes.length, at };
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#blobs.clear();
  }

  #expectOpen(): void {
    if (this.#closed) throw new StoreUnavailableError("The blobs in memory are closed.");
  }
}

/** The name that some bytes have: their SHA-256. */
export function blobName(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
