import { utf8Bytes } from "../core/bytes.ts";
import type { Codec } from "../core/codec.ts";
import { StoreCorruptError, StoreUnavailableError } from "../core/errors.ts";
import { firstLink, link } from "../core/record.ts";
import type { SharedState } from "../core/shared-state.ts";

/** A checkpoint as it is listed. */
export interface CheckpointRow {
  version: number;
  /** When it was saved, in wall-clock milliseconds. */
  at: number;
  /** How long its state is when it is encoded. */
  bytes: number;
}

/** What lies under the id. */
interface Index {
  /** The last number that was given out. */
  readonly newest: number;
  /** The versions that were saved and are kept, in order. */
  readonly kept: readonly number[];
  /** Nothing lies under numbers below this one. */
  readonly oldest: number;
}

/** What lies under a version. */
interface Saved {
  readonly at: number;
  readonly text: string;
  readonly checksum: number;
}

/** What is found under a version: a checkpoint, nothing, or one that is damaged. */
type Found = { readonly saved: Saved } | { readonly why: string } | undefined;

/**
 * The checkpoints of one id in a shared state. A version is numbered, written, and then named in the index, each in one
 * atomic update: it is there when the index names it. Each lies under a key of its own, so that damage to one leaves the
 * others whole. What somebody has written who died before the index named it is deleted when its number is older than
 * what is kept.
 */
export class Checkpoints {
  readonly #id: string;
  readonly #state: SharedState;
  readonly #codec: Codec;
  /** Told of each damaged checkpoint that is passed over. */
  readonly #onDamaged: (version: number, why: string) => void;
  /** Below this number this object has deleted everything; the next save writes it down. */
  #deletedBelow = 1;

  constructor(id: string, state: SharedState, codec: Codec, onDamaged: (version: number, why: string) => void) {
    this.#id = id;
    this.#state = state;
    this.#codec = codec;
    this.#onDamaged = onDamaged;
  }

  /** Resolves to the new version when it is as durable as the place promises; of the older ones `keep - 1` stay. */
  async save(state: unknown, at: number, keep: number): Promise<number> {
    const text = this.#codec.encode(state, "the state");
    const version = await this.#change(({ newest, kept, oldest }) => ({
      next: { newest: newest + 1, kept, oldest: Math.max(oldest, this.#deletedBelow) },
      result: newest + 1,
    }));
    const saved: Saved = { at, text, checksum: this.#checksum(version, at, text) };
    await this.#state.update(this.#key(version), () => ({ next: saved, keepMs: Infinity, result: undefined }));
    await this.#keepNewest(keep, version);
    return version;
  }

  /** The newest whole checkpoint, or the one of this version; undefined where there is none. */
  async load(version?: number): Promise<{ state: unknown } | undefined> {
    if (version !== undefined) {
      const found = await this.#find(version);
      if (found === undefined) return undefined;
      if ("saved" in found) return { state: this.#codec.decode(found.saved.text) };
      throw new StoreCorruptError(
        `Version ${version} of checkpoint "${this.#id}" is damaged: ${found.why}. Load another version.`,
      );
    }
    for await (const { saved } of this.#whole()) return { state: this.#codec.decode(saved.text) };
    return undefined;
  }

  /** All whole ones, newest first. */
  async list(): Promise<CheckpointRow[]> {
    const rows: CheckpointRow[] = [];
    for await (const { version, saved } of this.#whole())
      rows.push({ version, at: saved.at, bytes: utf8Bytes(saved.text).length });
    return rows;
  }

  /** Deletes all but the newest `keep`; says how many of those that were kept it has deleted. */
  clean(keep: number): Promise<number> {
    return this.#keepNewest(keep);
  }

  async #keepNewest(keep: number, ...saved: number[]): Promise<number> {
    const { from, below, gone } = await this.#change((index) => {
      const all = [...index.kept, ...saved].sort((a, b) => a - b);
      const kept = all.slice(-keep);
      const below = kept[0] ?? index.oldest;
      return { next: { ...index, kept }, result: { from: index.oldest, below, gone: all.slice(0, -keep) } };
    });
    // It is saved and named; what cannot be deleted now is deleted by the next save.
    try {
      // One that others have overtaken is not kept, and may have a number that they have been past already.
      for (const version of gone) await this.#delete(version);
      for (let version = from; version < below; version++) if (!gone.includes(version)) await this.#delete(version);
      this.#deletedBelow = Math.max(this.#deletedBelow, below);
    } catch (error) {
      if (!(error instanceof StoreUnavailableError)) throw error;
    }
    return gone.length;
  }

  async *#whole(): AsyncGenerator<{ version: number; saved: Saved }, void> {
    const kept = await this.#change((index) => ({ next: index, result: index.kept }));
    for (const version of kept.toReversed()) {
      const found = await this.#find(version);
      if (found === undefined) this.#onDamaged(version, "it is gone");
      else if ("saved" in found) yield { version, saved: found.saved };
      else this.#onDamaged(version, found.why);
    }
  }

  async #find(version: number): Promise<Found> {
    let saved: Partial<Saved> | undefined;
    try {
      saved = await this.#state.update<Partial<Saved>, Partial<Saved> | undefined>(this.#key(version), (last) => ({
        next: last,
        keepMs: Infinity,
        result: last,
      }));
    } catch (error) {
      if (error instanceof StoreCorruptError) return { why: "it cannot be read" };
      throw error;
    }
    if (saved === undefined) return undefined;
    const { at, text, checksum } = saved;
    if (typeof at !== "number" || typeof text !== "string") return { why: "it cannot be read" };
    if (checksum !== this.#checksum(version, at, text))
      return { why: "its checksum does not fit its content and place" };
    return { saved: { at, text, checksum } };
  }

  #delete(version: number): Promise<void> {
    return this.#state.update(this.#key(version), () => ({ next: undefined, keepMs: 0, result: undefined }));
  }

  #change<R>(change: (index: Index) => { next: Index; result: R }): Promise<R> {
    return this.#state.update<Index, R>(this.#key(), (index) => ({
      ...change(index ?? { newest: 0, kept: [], oldest: 1 }),
      keepMs: Infinity,
    }));
  }

  #key(...version: number[]): string {
    return JSON.stringify(["checkpoint", this.#id, ...version]);
  }

  #checksum(version: number, at: number, text: string): number {
    return link(firstLink(this.#id), version, utf8Bytes(`${at} ${text}`));
  }
}
