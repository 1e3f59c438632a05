import type { BlobRow, Blobs } from "../core/blobs.ts";
import { StoreUnavailableError } from "../core/errors.ts";

/**
 * A handle on other blobs that fails on order. Closing it leaves those behind it open, so that they can outlive the
 * engines of a test, as files outlive processes.
 */
export class FaultyBlobs implements Blobs {
  readonly location: string;
  /** While true every call is refused, as by a disk that is full, or to a process that has died. */
  down = false;
  /** How many puts have been asked for. */
  puts = 0;
  /** Called when a blob has been put. May wait, throw, or set `down`. */
  onPut: (name: string) => void | Promise<void> = () => {};
  readonly #blobs: Blobs;

  constructor(blobs: Blobs) {
    this.#blobs = blobs;
    this.location = blobs.location;
  }

  async put(bytes: Uint8Array): Promise<string> {
    this.puts++;
    this.#check();
    const name = await this.#blobs.put(bytes);
    await this.onPut(name);
    this.#check();
    return name;
  }

  async get(name: string): Promise<Uint8Array | undefined> {
    this.#check();
    return this.#blobs.get(name);
  }

  async delete(name: string, putBefore?: number): Promise<void> {
    this.#check();
    return this.#blobs.delete(name, putBefore);
  }

  async *list(): AsyncIterable<BlobRow> {
    this.#check();
    yield* this.#blobs.list();
  }

  async close(): Promise<void> {
    this.down = true;
  }

  #check(): void {
    if (this.down) throw new StoreUnavailableError(`The blobs at ${this.location} cannot be reached: a test says so.`);
  }
}
