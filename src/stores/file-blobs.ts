import { type FileHandle, lstat, mkdir, open, readdir, rename, stat, unlink } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { type BlobRow, type Blobs, isBlobName } from "../core/blobs.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import {
  codeOf,
  ConfigError,
  HoldfastError,
  messageOf,
  StoreCorruptError,
  StoreUnavailableError,
} from "../core/errors.ts";
import { anything, checkOptions, type Rules } from "../core/options.ts";
import { uniqueId } from "../core/random.ts";
import { blobName } from "./memory-blobs.ts";

export interface FileBlobsOptions {
  /** Tells when a blob was put: for tests. */
  clock?: Clock | undefined;
}

const RULES: Rules<FileBlobsOptions> = { clock: anything };

/** Where files are written until they are whole. No blob is ever looked for here. */
const INCOMING = "incoming";

/** A file that has been incoming for so long was left by a process that died. */
const LEFT_BEHIND_MS = 24 * 60 * 60 * 1000;

/**
 * Blobs as files below a folder, each at `ab/cd/<name>` by the first digits of its name, readable by the owner only.
 * Several processes may share the folder.
 *
 * A file is written and synced under another name, then moved to its own, and then every folder is synced in which a
 * name may be new: whatever happens, there is the whole blob or none, and what was acknowledged is there after power
 * loss. A write that failed is never tried again on the same file, since what a failed sync has left is unknown.
 *
 * Files that a crash has left unfinished are removed when they are a day old, by the first `put` and by every `list`.
 *
 * A folder belongs to one store: `engine.sweepBlobs()` deletes from it what no journal of that store refers to.
 *
 * @example
 * ```ts no-run
 * import { createEngine, FileBlobs, SqliteStore } from "holdfast";
 *
 * const engine = createEngine({ store: new SqliteStore("runs.db"), blobs: new FileBlobs("blobs") });
 * ```
 */
export class FileBlobs implements Blobs {
  readonly location: string;
  readonly #clock: Clock;
  /** Folders whose own names are known to be durable. There are at most 65,793 of them. */
  readonly #synced = new Set<string>();
  #prepared: Promise<void> | null = null;
  #closed = false;

  constructor(path: string, options: FileBlobsOptions = {}) {
    const { clock = systemClock } = checkOptions("FileBlobs", options, RULES);
    if (typeof path !== "string" || path === "") throw new ConfigError("FileBlobs needs the path of a folder.");
    this.location = resolve(path);
    this.#clock = clock;
  }

  async put(bytes: Uint8Array): Promise<string> {
    this.#expectOpen();
    // The caller may go on to change what it has put, and the name is that of what it was.
    const own = Uint8Array.from(bytes);
    const name = blobName(own);
    return this.#trying("write to", async () => {
      await this.#prepare();
      const incoming = join(this.location, INCOMING, `${name}-${uniqueId()}`);
      try {
        await this.#write(incoming, own);
        const path = this.#pathOf(name);
        await this.#makeFolder(dirname(path));
        await rename(incoming, path);
        await syncFolder(dirname(path));
      } catch (error) {
        // Why it failed says more than why what is left of it stays; that is removed another day.
        await unlink(incoming).catch(() => {});
        throw error;
      }
      return name;
    });
  }

  async get(name: string): Promise<Uint8Array | undefined> {
    this.#expectOpen();
    if (!isBlobName(name)) return undefined;
    const path = this.#pathOf(name);
    const file = await this.#trying("read", () => unlessMissing(open(path, "r")));
    if (file === undefined) return undefined;
    const found = await this.#trying("read", () => whileOpen(file, () => file.readFile()));
    if (blobName(found) === name) return new Uint8Array(found.buffer, found.byteOffset, found.length);
    throw new StoreCorruptError(
      `The blob ${path} is damaged: its ${found.length} bytes are not those that it is named after. Nothing of it is used. Restore the file from a backup.`,
    );
  }

  /**
   * Between the look at its age and its removal another process may put the same blob again, and lose it: some
   * microseconds, in which a blob that nobody has used for long would have to come into use again.
   */
  async delete(name: string, putBefore: number = Infinity): Promise<void> {
    this.#expectOpen();
    if (!isBlobName(name)) return;
    const path = this.#pathOf(name);
    await this.#trying("delete from", async () => {
      if (putBefore < Infinity) {
        const found = await unlessMissing(lstat(path));
        if (found === undefined || Math.round(found.mtimeMs) >= putBefore) return;
      }
      const there = await unlessMissing(unlink(path).then(() => true));
      if (there === true) await syncFolder(dirname(path));
    });
  }

  async *list(): AsyncIterable<BlobRow> {
    this.#expectOpen();
    await this.#trying("read", () => this.#removeLeftBehind());
    for (const first of await this.#entries(this.location, /^[0-9a-f]{2}$/)) {
      for (const second of await this.#entries(join(this.location, first), /^[0-9a-f]{2}$/)) {
        const folder = join(this.location, first, second);
        for (const name of await this.#entries(folder, /^[0-9a-f]{64}$/)) {
          const found = await this.#trying("read", () => unlessMissing(lstat(join(folder, name))));
          if (found?.isFile() === true) yield { name, bytes: found.size, at: Math.round(found.mtimeMs) };
        }
      }
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  #pathOf(name: string): string {
    return join(this.location, name.slice(0, 2), name.slice(2, 4), name);
  }

  async #write(path: string, bytes: Uint8Array): Promise<void> {
    const file = await open(path, "wx", 0o600);
    await whileOpen(file, async () => {
      await file.writeFile(bytes);
      // When it was put is told by our clock, not by that of a file server.
      const seconds = this.#clock.wallNow() / 1000;
      await file.utimes(seconds, seconds);
      await file.sync();
    });
  }

  /** Once for each handle, and again after it has failed. */
  async #prepare(): Promise<void> {
    const preparing = (this.#prepared ??= this.#prepareRoot());
    try {
      await preparing;
    } catch (error) {
      if (this.#prepared === preparing) this.#prepared = null;
      throw error;
    }
  }

  async #prepareRoot(): Promise<void> {
    await this.#makeFolder(join(this.location, INCOMING));
    // Whoever may write here could put folders of his own in the place of ours.
    if (((await stat(this.location)).mode & 0o002) !== 0)
      throw new StoreUnavailableError(
        `The folder ${this.location} may be written by everybody, so that blobs are not safe in it. Run \`chmod go-rwx\` on it, or choose another.`,
      );
    await this.#removeLeftBehind();
  }

  /**
   * Makes a folder below the one of the blobs, or that one itself, and syncs the names of both. Not only the names that
   * are new: another process may have made them a moment ago, and may have died before it synced them.
   */
  async #makeFolder(folder: string): Promise<void> {
    const outermost = await mkdir(folder, { recursive: true, mode: 0o700 });
    // Somebody has removed folders that were there.
    if (outermost !== undefined) this.#synced.clear();
    if (this.#synced.has(folder)) return;
    const top = outermost !== undefined && outermost.length < this.location.length ? outermost : this.location;
    const names: string[] = [];
    for (let name = folder; name.length >= top.length; name = dirname(name)) names.unshift(name);
    for (const name of names) {
      if (this.#synced.has(name)) continue;
      await syncFolder(dirname(name)).catch((error: unknown) => {
        // The folder in which the blobs' own lies need not be ours to read, and then we have not made it there.
        if (name !== this.location || outermost !== undefined || codeOf(error) !== "EACCES") throw error;
      });
      this.#synced.add(name);
    }
  }

  async #removeLeftBehind(): Promise<void> {
    const folder = join(this.location, INCOMING);
    const before = this.#clock.wallNow() - LEFT_BEHIND_MS;
    for (const name of (await unlessMissing(readdir(folder))) ?? []) {
      const path = join(folder, name);
      const found = await unlessMissing(lstat(path));
      if (found?.isFile() === true && found.mtimeMs < before) await unlessMissing(unlink(path));
    }
  }

  async #entries(folder: string, shape: RegExp): Promise<string[]> {
    const names = await this.#trying("read", () => unlessMissing(readdir(folder)));
    return (names ?? []).filter((name) => shape.test(name));
  }

  async #trying<T>(doing: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw error instanceof HoldfastError ? error : blobError(this.location, doing, error);
    }
  }

  #expectOpen(): void {
    if (this.#closed) throw new StoreUnavailableError(`The blobs in ${this.location} are closed.`);
  }
}

/** What a system error means for a folder of blobs, in words that say what to do. */
const ADVICE: Readonly<Record<string, string>> = {
  ENOSPC: "the disk is full. What was acknowledged is safe; free some space.",
  EDQUOT: "the quota is used up. What was acknowledged is safe; free some space.",
  EFBIG: "the file would be larger than is allowed. What was acknowledged is safe; raise the limit.",
  EROFS: "the disk is mounted read-only.",
  EACCES: "it is not permitted. Check who owns the folder and those around it.",
  EPERM: "it is not permitted. Check who owns the folder and those around it.",
  EMFILE: "the process has too many files open.",
  ENFILE: "the machine has too many files open.",
  EIO: "the disk reports an error. Keep a copy of what is on it.",
  ENOTDIR: "something on the path is no folder. Choose another folder, or move that away.",
  EEXIST: "something on the path is no folder. Choose another folder, or move that away.",
};

function blobError(location: string, doing: string, error: unknown): StoreUnavailableError {
  const code = codeOf(error) ?? "";
  const why = Object.hasOwn(ADVICE, code) ? ADVICE[code]! : messageOf(error);
  return new StoreUnavailableError(`Holdfast cannot ${doing} the blobs in ${location}: ${why}`, error);
}

/** Closes the file whatever happens. */
async function whileOpen<T>(file: FileHandle, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } finally {
    await file.close();
  }
}

/** Undefined where a file is not there, or not any more. */
async function unlessMissing<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  await whileOpen(folder, () => folder.sync());
}
