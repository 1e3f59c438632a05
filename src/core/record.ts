import { crc32c, utf8Bytes } from "./bytes.ts";

/** One record of a journal as it is stored: what was appended at once, and its checksum. */
export interface StoredRecord {
  seq: number;
  body: Uint8Array;
  checksum: number;
}

/** The link before the first record of a run: binds the chain to the run's id, so that no record fits another run. */
export function firstLink(runId: string): number {
  return crc32c(utf8Bytes(runId));
}

const number = new Uint8Array(8);
const view = new DataView(number.buffer);

/**
 * The checksum of a record over its content, its place and the checksum before it (C6.7). A record that was swapped,
 * moved or left out breaks the chain as surely as a flipped bit.
 */
export function link(previous: number, seq: number, body: Uint8Array): number {
  view.setUint32(0, seq);
  view.setUint32(4, body.length);
  return crc32c(body, crc32c(number, previous));
}
