/**
 * A place for values that are too large for a journal (C6.6). What is kept has the SHA-256 of its bytes as its name, so
 * that the same bytes are kept once, however often they are put, and nothing is ever changed in place.
 *
 * A text that is no such name, a path among them, names nothing: it is never looked for.
 */
export interface Blobs {
  /** A short text for messages, which follows the word "at": where this place is. */
  readonly location: string;
  /**
   * Keeps some bytes and gives their name. Resolves when they are as durable as the place promises, and never before
   * they are whole. What is there already is written anew: that mends it where it was damaged, and makes it new, so that
   * nobody deletes for its age what is in use again. Rejects with `StoreUnavailableError` where they cannot be kept.
   */
  put(bytes: Uint8Array): Promise<string>;
  /** The bytes of that name, undefined where there are none. `StoreCorruptError` where they do not fit it any more. */
  get(name: string): Promise<Uint8Array | undefined>;
  /**
   * Does nothing where there is no blob of that name, or where it was put last at `putBefore` or later: somebody has
   * come to use it again.
   */
  delete(name: string, putBefore?: number): Promise<void>;
  /** All blobs in no order. One that comes or goes meanwhile is listed or is not. */
  list(): AsyncIterable<BlobRow>;
  /** Gives the place up. Later calls reject. */
  close(): Promise<void>;
}

/** A blob as a place lists it. */
export interface BlobRow {
  name: string;
  /** How long it is. */
  bytes: number;
  /** When it was put last, in wall-clock milliseconds. */
  at: number;
}

/** Whether a text can be the name of a blob: 64 hexadecimal digits in lower case. */
export function isBlobName(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text);
}

/**
 * How the text begins that stands in a journal for a value among the blobs. The codec writes JSON, and no JSON begins
 * with this letter: a program of before blobs finds the text to be no JSON, and refuses it.
 */
const REFERENCE = "blob:";

export function blobReference(name: string): string {
  return REFERENCE + name;
}

/** What a stored text refers to, which is no name where the reference is damaged; undefined where it is a value itself. */
export function referredBlob(stored: string): string | undefined {
  return stored.startsWith(REFERENCE) ? stored.slice(REFERENCE.length) : undefined;
}

/**
 * The names of all blobs that a record may refer to. Looks at the text and not at what it means, so that a damaged
 * record keeps its blobs too; a value of the user's that looks like a reference keeps one more, which does no harm.
 */
export function* blobsNamedIn(text: string): Generator<string, void> {
  for (const [, name] of text.matchAll(/blob:([0-9a-f]{64})/g)) yield name!;
}
