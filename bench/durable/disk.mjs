// Where a contender keeps its runs in SQLite.
import { createRequire } from "node:module";
import { copyFileSync, existsSync, mkdirSync, rmSync, statfsSync } from "node:fs";
import { join } from "node:path";

const Libsql = createRequire(import.meta.url)("libsql");
const TMPFS = 0x01021994;
const folder = dataFolder("files");
let files = 0;

/** A folder of this process on the disk of the checkout. In memory an fsync costs nothing and every figure would be wrong. */
export function dataFolder(name) {
  const all = join(import.meta.dirname, "..", ".data");
  mkdirSync(all, { recursive: true });
  if (statfsSync(all).type === TMPFS)
    throw new Error(`${all} lies on a tmpfs, where an fsync is free; move the checkout to a real disk`);
  return join(all, `${name}-${process.pid}`);
}

/** A file that is not there yet. */
export function newPlace() {
  mkdirSync(folder, { recursive: true });
  return join(folder, `${files++}.db`);
}

/** A copy of a file as a process that was killed has left it: what was committed last lies in the log beside it. */
export function copyOf(file) {
  const copy = newPlace();
  for (const end of ["", "-wal"]) if (existsSync(file + end)) copyFileSync(file + end, copy + end);
  return copy;
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

export function removePlace(file) {
  for (const end of ["", "-wal", "-shm"]) rmSync(file + end, { force: true });
}

export const removePlaces = () => rmSync(folder, { recursive: true, force: true });
