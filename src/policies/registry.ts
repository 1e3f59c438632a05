import type { Clock } from "../core/clock.ts";
import { ConfigError } from "../core/errors.ts";
import { show } from "../core/options.ts";
import type { Runtime } from "../core/runtime.ts";

/** What nobody has asked for this long may be forgotten. */
const IDLE_MS = 3_600_000;

/** With more than this, also what was asked for lately. */
const MOST = 10_000;

/** So many of the entries that were asked for longest ago are looked at when one is asked for. */
const LOOKED_AT = 4;

interface Entry<T extends object> {
  /** Keeps the value alive; null once only those do who hold it themselves. */
  kept: T | null;
  weak: WeakRef<T> | null;
  lookedAt: number;
}

/**
 * Things by their names, where one name is one thing for as long as anybody can tell. What has not been asked for is
 * let go, unless somebody still holds it or `worthKeeping` says that it knows something. There is no timer: each
 * question looks at a few old entries, so that its cost does not depend on how many there are.
 */
export class Registry<T extends object> {
  readonly #clock: Clock;
  readonly #worthKeeping: (value: T) => boolean;
  /** In the order in which they were last looked at. */
  readonly #entries = new Map<string, Entry<T>>();
  /** Goes from the oldest to the youngest. A new walk would begin with all that was deleted since the map was packed. */
  readonly #walk = this.#entries.entries();
  /** The entry that the walk has come to. */
  #oldest: [string, Entry<T>] | null = null;

  constructor(clock: Clock, worthKeeping: (value: T) => boolean) {
    this.#clock = clock;
    this.#worthKeeping = worthKeeping;
  }

  /** How many names it holds; those whose thing is gone are among them until they are looked at. */
  get size(): number {
    return this.#entries.size;
  }

  get(name: string): T | undefined {
    const value = valueOf(this.#entries.get(name));
    if (value !== undefined) this.set(name, value);
    return value;
  }

  set(name: string, value: T): void {
    const now = this.#clock.now();
    this.#entries.delete(name);
    this.#entries.set(name, { kept: value, weak: null, lookedAt: now });
    for (let n = 0; n < LOOKED_AT; n++) this.#lookAtOldest(now);
  }

  delete(name: string): boolean {
    const was = valueOf(this.#entries.get(name)) !== undefined;
    this.#entries.delete(name);
    return was;
  }

  /** Each thing with its name. */
  *[Symbol.iterator](): Generator<[string, T]> {
    for (const [name, entry] of this.#entries) {
      const value = valueOf(entry);
      if (value !== undefined) yield [name, value];
    }
  }

  #lookAtOldest(now: number): void {
    // The walk never ends: what was set just now still lies ahead of it, or there are thousands of others.
    this.#oldest ??= this.#walk.next().value!;
    const [name, entry] = this.#oldest;
    const stands = this.#entries.get(name) === entry;
    if (stands && now - entry.lookedAt < IDLE_MS && this.#entries.size <= MOST) return;
    this.#oldest = null;
    if (!stands) return;
    this.#entries.delete(name);
    const value = valueOf(entry);
    if (value === undefined) return;
    // A weak reference keeps its target until the running task ends, so it is made late, and once.
    if (this.#worthKeeping(value)) entry.kept = value;
    else {
      entry.weak ??= new WeakRef(value);
      entry.kept = null;
    }
    entry.lookedAt = now;
    this.#entries.set(name, entry);
  }
}

function valueOf<T extends object>(entry: Entry<T> | undefined): T | undefined {
  return entry?.kept ?? entry?.weak?.deref();
}

/** The registry of a runtime: each has its own, so that a test which owns time shares no names with another. */
export function registryOf<T extends object>(
  registries: WeakMap<Runtime, Registry<T>>,
  runtime: Runtime,
  worthKeeping: (value: T) => boolean,
): Registry<T> {
  let registry = registries.get(runtime);
  if (registry === undefined) {
    registry = new Registry(runtime.clock, worthKeeping);
    registries.set(runtime, registry);
  }
  return registry;
}

/** Refuses to take one thing for another: `asked` must be what the thing of that name was built with. */
export function mustBeSame(thing: string, built: object, asked: object): void {
  const [of, other] = [built as Record<string, unknown>, asked as Record<string, unknown>];
  const differing = Object.keys({ ...of, ...other }).find((option) => !same(of[option], other[option]));
  if (differing === undefined) return;
  const [has, wanted] = [of[differing], other[differing]];
  let why = show(has) === show(wanted) ? "" : ` It has ${show(has)}, not ${show(wanted)}.`;
  if (typeof has === "function" || typeof wanted === "function")
    why = " Functions are the same only where they are one and the same: make it once, outside.";
  throw new ConfigError(
    `${thing} exists with another ${differing}.${why} Ask for it with the options it has, or with none, or take another name.`,
  );
}

/** Plain data is compared by what it holds, patterns by what they match, all else by identity. */
function same(one: unknown, other: unknown, depth = 0): boolean {
  if (Object.is(one, other)) return true;
  if (one instanceof RegExp && other instanceof RegExp) return String(one) === String(other);
  if (!isPlain(one) || !isPlain(other) || Array.isArray(one) !== Array.isArray(other) || depth > DEEPEST) return false;
  const keys = Object.keys(one);
  return (
    keys.length === Object.keys(other).length &&
    keys.every((key) => Object.hasOwn(other, key) && same(one[key], other[key], depth + 1))
  );
}

/** Options are not deeper than this. A value that holds itself is. */
const DEEPEST = 20;

function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null || Array.isArray(value);
}
