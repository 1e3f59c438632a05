import { blobReference, type Blobs, isBlobName, referredBlob } from "../core/blobs.ts";
import { utf8Bytes, utf8Text } from "../core/bytes.ts";
import { HoldfastError, StoreCorruptError, StoreUnavailableError, UnserializableValueError } from "../core/errors.ts";

/** A value above this is not kept in a journal (C6.6). */
const JOURNALED_BYTES = 16 * 1024 * 1024;

/**
 * Encoded values on their way into a journal and out of it: those that are too large for one are put among the blobs,
 * and a short reference stands for them. All others pass as they are, and at once, so that nobody awaits nothing.
 */
export class LargeValues {
  readonly #blobs: Blobs | null;
  readonly #journaledBytes: number;

  constructor(blobs: Blobs | null, journaledBytes: number = JOURNALED_BYTES) {
    this.#blobs = blobs;
    this.#journaledBytes = journaledBytes;
  }

  /** Throws `UnserializableValueError` where a value is too large and there are no blobs; `what` begins its message. */
  check(encoded: string, what: string): void {
    if (this.#blobs !== null || !this.#isLarge(encoded)) return;
    throw new UnserializableValueError(
      what,
      `it takes ${megabytes(utf8Bytes(encoded).length)}, and at most ${megabytes(this.#journaledBytes)} are stored with a run. Give the engine a place for larger ones, createEngine({ blobs: new FileBlobs(".holdfast/blobs") }), or store it elsewhere and return a reference to it.`,
    );
  }

  /** Throws `UnserializableValueError` where a value is too large for the journal, and no blob can be awaited. */
  checkJournaled(encoded: string, what: string): void {
    if (!this.#isLarge(encoded)) return;
    throw new UnserializableValueError(
      what,
      `it takes ${megabytes(utf8Bytes(encoded).length)}, and a transaction stores at most ${megabytes(this.#journaledBytes)}. Return less, and give what is large to a step beside it.`,
    );
  }

  /** The text to journal for an encoded value: itself, or a reference to it, which is given when the blob is durable. */
  keep(encoded: string, what: string): string | Promise<string> {
    this.check(encoded, what);
    return this.#isLarge(encoded) ? this.#put(this.#blobs!, encoded, what) : encoded;
  }

  /** The encoded value that a journaled text is or refers to. */
  load(stored: string): string | Promise<string> {
    const name = referredBlob(stored);
    return name === undefined ? stored : this.#get(name);
  }

  /** All of these, in their order: at once where none of them is among the blobs. */
  loadAll(stored: readonly string[]): readonly string[] | Promise<readonly string[]> {
    return stored.every((text) => referredBlob(text) === undefined) ? stored : this.#loadEach(stored);
  }

  // One after the other: a place of files can open only so many at a time.
  async #loadEach(stored: readonly string[]): Promise<string[]> {
    const encoded: string[] = [];
    for (const text of stored) encoded.push(await this.load(text));
    return encoded;
  }

  // Characters are at most three bytes long, so that bytes are counted only where it may matter.
  #isLarge(encoded: string): boolean {
    return encoded.length * 3 > this.#journaledBytes && utf8Bytes(encoded).length > this.#journaledBytes;
  }

  async #put(blobs: Blobs, encoded: string, what: string): Promise<string> {
    try {
      return blobReference(await blobs.put(utf8Bytes(encoded)));
    } catch (error) {
      throw typed(error, `Holdfast cannot put ${what} among the blobs at ${blobs.location}.`);
    }
  }

  async #get(name: string): Promise<string> {
    if (!isBlobName(name))
      throw new StoreCorruptError(`A stored value is a reference that is damaged: "${name.slice(0, 80)}" is no blob.`);
    const blobs = this.#blobs;
    if (blobs === null) {
      throw new StoreUnavailableError(
        `A value of this run is the blob ${name}, and the engine has no blobs. Give it those that the run was carried out with: createEngine({ blobs }).`,
      );
    }
    let bytes: Uint8Array | undefined;
    try {
      bytes = await blobs.get(name);
    } catch (error) {
      throw typed(error, `Holdfast cannot read the blob ${name} at ${blobs.location}.`);
    }
    if (bytes === undefined) {
      throw new StoreCorruptError(
        `A value of this run is gone: there is no blob ${name} at ${blobs.location}. Nothing else of the run is lost. Give the engine the blobs that the run was carried out with, or restore them from a backup, and run it again.`,
      );
    }
    return utf8Text(bytes);
  }
}

/** What a blob store of the user's throws, as trouble with a store: no node is to blame. */
function typed(error: unknown, failed: string): HoldfastError {
  return error instanceof HoldfastError ? error : new StoreUnavailableError(failed, error);
}

function megabytes(bytes: number): string {
  return bytes < 1024 * 1024 ? `${bytes} bytes` : `${(bytes / 1024 / 1024).toFixed(2)} MB`;
}
