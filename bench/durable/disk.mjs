import { createRequire } from "node:module";
import { existsSync, mkdirSync, rmSync, statfsSync } from "node:fs";
import { join } from "node:path";

const Libsql = createRequire(import.meta.url)("libsql");
const folder = join(import.meta.dirname, "..", ".data", String(process.pid));
const TMPFS = 0x01021994;
let files = 0;

/** A fresh file on the disk of the checkout. In memory an fsync costs nothing and every figure would be wrong. */
export function newFile() {
  if (!existsSync(folder)) mkdirSync(folder, { recursive: true });
  if (statfsSync(folder).type === TMPFS)
    throw new Error(`${folder} lies on a tmpfs, where an fsync is free; move the checkout to a real disk`);
  return join(folder, `${files++}.db`);
}

/** Bytes of the pages in use, after what still lies in the write-ahead log has moved into the file. */
export function bytesIn(file) {
  const database = new Libsql(file);
  const pragma = (name) => Object.values(database.prepare(`pragma ${name}`).get())[0];
  database.exec("pragma wal_checkpoint(truncate)");
  const bytes = (pragma("page_count") - pragma("freelist_count")) * pragma("page_size");
  database.close();
  return bytes;
}

export const removeFiles = () => rmSync(folder, { recursive: true, force: true });
