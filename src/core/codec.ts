import { dateFrom, isDate } from "./clock.ts";
import { fromBase64, isBuffer, toBase64, toBuffer } from "./bytes.ts";
import { codeOf, messageOf, StoreCorruptError, UnserializableValueError } from "./errors.ts";

/**
 * Values to text and back (C6.6). The text is JSON. What JSON cannot say stands in an object with the key `$`, which
 * names one of a closed list of kinds; an object of the user's that has such a key is itself written as a kind.
 * Decoding knows only that list: it runs no code, looks up no class by name and touches no prototype.
 */

/** A class whose instances may be stored: told by `is`, turned into storable data by `encode` and back by `decode`. */
export interface ValueType<T = unknown> {
  name: string;
  is(value: unknown): value is T;
  encode(value: T): unknown;
  decode(data: unknown): T;
}

/** Deeper values are refused: they are cycles or mistakes, and recursion has an end. */
const DEEPEST = 500;

const TYPED_ARRAYS = {
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
} as const;

const ERRORS = {
  Error,
  TypeError,
  RangeError,
  SyntaxError,
  ReferenceError,
  EvalError,
  URIError,
  AggregateError,
} as const;

/** The numbers that JSON cannot say. */
const NUMBERS = { "-0": -0, NaN: NaN, Infinity: Infinity, "-Infinity": -Infinity } as const;

const DATE_PROTOTYPE: unknown = Object.getPrototypeOf(dateFrom(0));

type Json = string | number | boolean | null | Json[] | { [key: string]: Json | undefined };
type Tagged = { $: string; v?: Json; [key: string]: Json | undefined };

export class Codec {
  readonly #types: readonly ValueType[];

  constructor(types: readonly ValueType[] = []) {
    this.#types = types;
  }

  /** The value as text. Throws `UnserializableValueError` with the path of what cannot be stored; `root` begins it. */
  encode(value: unknown, root: string): string {
    const plain = isPlainJson(value, 0) ? value : this.#tag(value, root, []);
    try {
      return JSON.stringify(plain);
    } catch (error) {
      // All that can be wrong with it now is its length: a text has at most some 500 million characters.
      throw new UnserializableValueError(root, `it is too large to be written as one text: ${messageOf(error)}.`);
    }
  }

  /** The value that was encoded. Throws `StoreCorruptError` for a text that `encode` cannot have written. */
  decode(text: string): unknown {
    let json: Json;
    try {
      json = JSON.parse(text) as Json;
    } catch (error) {
      throw new StoreCorruptError("A stored value is not valid JSON.", error);
    }
    return text.includes('"$"') ? this.#revive(json, 0) : json;
  }

  #tag(value: unknown, path: string, ancestors: object[]): Json {
    switch (typeof value) {
      case "string":
      case "boolean":
        return value;
      case "number":
        if (Number.isFinite(value) && !Object.is(value, -0)) return value;
        return tagged("number", Object.is(value, -0) ? "-0" : String(value));
      case "undefined":
        return { $: "undefined" };
      case "bigint":
        return tagged("bigint", String(value));
      case "function":
        throw new UnserializableValueError(
          path,
          `it is a function${value.name ? ` (${value.name})` : ""}, and code is not stored.`,
        );
      case "symbol":
        throw new UnserializableValueError(path, `it is a symbol (${String(value.description)}).`);
      case "object":
        if (value === null) return null;
    }
    if (ancestors.includes(value)) throw new UnserializableValueError(path, "it contains itself.");
    if (ancestors.length >= DEEPEST)
      throw new UnserializableValueError(path, `it is nested deeper than ${DEEPEST} levels.`);
    ancestors.push(value);
    const json = this.#tagObject(value, path, ancestors);
    ancestors.pop();
    return json;
  }

  #tagObject(value: object, path: string, ancestors: object[]): Json {
    const tag = (part: unknown, where: string): Json => this.#tag(part, path + where, ancestors);
    const type = this.#types.find((candidate) => candidate.is(value));
    if (type !== undefined) return { $: "type", t: type.name, v: this.#tag(type.encode(value), path, ancestors) };
    if (value instanceof Error) return tagError(value, tag);
    // An instance of a class that extends one of these is none of them: it would come back as less than it was.
    const prototype: unknown = Object.getPrototypeOf(value);
    if (Array.isArray(value) && prototype === Array.prototype) return tagArray(value, path, tag);
    if (isDate(value) && prototype === DATE_PROTOTYPE)
      return tagged("Date", Number.isNaN(value.getTime()) ? "invalid" : value.getTime());
    if (value instanceof Map && prototype === Map.prototype) {
      return tagged(
        "Map",
        [...value].map(([key, item], i) => [tag(key, `.keys()[${i}]`), tag(item, `.get(${label(key)})`)]),
      );
    }
    if (value instanceof Set && prototype === Set.prototype)
      return tagged(
        "Set",
        [...value].map((item, i) => tag(item, `.values()[${i}]`)),
      );
    if (value instanceof RegExp && prototype === RegExp.prototype)
      return tagged("RegExp", [value.source, value.flags, value.lastIndex]);
    if (value instanceof URL && prototype === URL.prototype) return tagged("URL", value.href);
    const bytes = tagBytes(value);
    if (bytes !== undefined) return bytes;
    return tagPlain(value, path, tag);
  }

  #revive(json: Json, depth: number): unknown {
    if (typeof json !== "object" || json === null) return json;
    // Twice the depth, since the list of errors in an error is a level of its own here.
    if (depth >= DEEPEST * 2) throw new StoreCorruptError("A stored value is nested deeper than any that is written.");
    const revive = (part: Json | undefined): unknown => this.#revive(part ?? null, depth + 1);
    if (Array.isArray(json)) return json.map(revive);
    if (Object.hasOwn(json, "$")) return this.#reviveTagged(json as Tagged, revive);
    return fromEntries(Object.entries(json), revive, {});
  }

  #reviveTagged(json: Tagged, revive: (part: Json | undefined) => unknown): unknown {
    const { $: kind, v } = json;
    try {
      if (kind === "type") {
        const type = this.#types.find((candidate) => candidate.name === json["t"]);
        if (type === undefined) throw new Error(`no value type "${String(json["t"])}" is registered`);
        return type.decode(revive(v));
      }
      const reviver = Object.hasOwn(REVIVERS, kind) ? REVIVERS[kind] : undefined;
      if (reviver === undefined) throw new Error("the kind is unknown");
      return reviver(v as never, revive, json);
    } catch (error) {
      if (error instanceof StoreCorruptError) throw error;
      throw new StoreCorruptError(`A stored value of kind "${String(kind)}" cannot be read.`, error);
    }
  }
}

/** The codec for values of the built-in kinds only. */
export const plainCodec: Codec = new Codec();

type Reviver = (v: never, revive: (part: Json | undefined) => unknown, json: Tagged) => unknown;

const REVIVERS: Record<string, Reviver> = {
  undefined: () => undefined,
  number: (v: keyof typeof NUMBERS) => {
    if (!Object.hasOwn(NUMBERS, v)) throw new Error(`${v} is no such number`);
    return NUMBERS[v];
  },
  bigint: (v: string) => BigInt(v),
  Date: (v: number | "invalid") => {
    const date = dateFrom(Number(v));
    if (v !== "invalid" && date.getTime() !== v) throw new Error(`${v} is no instant`);
    return date;
  },
  Map: (v: [Json, Json][], revive) => new Map(v.map(([key, item]) => [revive(key), revive(item)])),
  Set: (v: Json[], revive) => new Set(v.map(revive)),
  RegExp: ([source, flags, lastIndex]: [string, string, number]) =>
    Object.assign(new RegExp(source, flags), { lastIndex }),
  URL: (v: string) => new URL(v),
  Error: (v: { [key: string]: Json }, revive, json) => reviveError(v, revive, json),
  object: (v: [string, Json][], revive, json) =>
    fromEntries(v, revive, json["bare"] === true ? (Object.create(null) as object) : {}),
  sparse: ([length, entries]: [number, [number, Json][]], revive) => {
    const array: unknown[] = [];
    array.length = length;
    for (const [index, item] of entries) {
      // Anything but an index would make a property, "__proto__" among them.
      if (!(Number.isInteger(index) && index >= 0 && index < length)) throw new Error(`${index} is no index`);
      array[index] = revive(item);
    }
    return array;
  },
  Buffer: (v: string) => toBuffer(fromBase64(v)),
  ArrayBuffer: (v: string) => fromBase64(v).buffer,
  ...Object.fromEntries(
    Object.entries(TYPED_ARRAYS).map(([name, TypedArray]) => [
      name,
      (v: string) => new TypedArray(fromBase64(v).buffer),
    ]),
  ),
};

function tagged(kind: string, v: Json): Json {
  return { $: kind, v };
}

/** Whether JSON gives the value back exactly, so that it needs no walk of ours: the case that must be fast. */
function isPlainJson(value: unknown, depth: number): boolean {
  switch (typeof value) {
    case "string":
    case "boolean":
      return true;
    case "number":
      return Number.isFinite(value) && !Object.is(value, -0);
    case "object":
      break;
    default:
      return false;
  }
  if (value === null) return true;
  if (depth >= DEEPEST) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (Array.isArray(value))
    return prototype === Array.prototype && isDense(value) && value.every((item) => isPlainJson(item, depth + 1));
  if (prototype !== Object.prototype) return false;
  for (const key in value) {
    if (key === "$" || !isPlainJson((value as Record<string, unknown>)[key], depth + 1)) return false;
  }
  return Object.getOwnPropertySymbols(value).length === 0;
}

/** Whether an array has no holes, and no names such as those on the result of RegExp.exec. */
function isDense(array: unknown[]): boolean {
  const keys = Object.keys(array);
  // A hole and a name together leave the count as it was; but names come last, and the indices in order before them.
  return keys.length === array.length && (keys.at(-1) ?? "-1") === String(array.length - 1);
}

type TagPart = (part: unknown, where: string) => Json;

function tagArray(array: unknown[], path: string, tag: TagPart): Json {
  if (isDense(array)) return array.map((item, i) => tag(item, `[${i}]`));
  const keys = Object.keys(array);
  const name = keys.find((key) => String(Number(key) >>> 0) !== key || Number(key) >= array.length);
  if (name !== undefined) {
    throw new UnserializableValueError(
      `${path}.${name}`,
      "it is a named property of an array. Return a plain array or an object.",
    );
  }
  return tagged("sparse", [array.length, keys.map((key) => [Number(key), tag(array[Number(key)], `[${key}]`)])]);
}

function tagPlain(value: object, path: string, tag: TagPart): Json {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    const name = (value.constructor as { name?: string } | undefined)?.name ?? "an unknown class";
    const advice =
      value instanceof Promise
        ? "Await it first."
        : "Return plain data, or register the class as a value type with the engine.";
    throw new UnserializableValueError(path, `it is an instance of ${name}. ${advice}`);
  }
  const [symbol] = Object.getOwnPropertySymbols(value);
  if (symbol !== undefined)
    throw new UnserializableValueError(path, `it has a symbol as a key (${String(symbol.description)}).`);
  const entries = Object.entries(value).map(([key, part]): [string, Json] => [key, tag(part, property(key))]);
  if (prototype === null) return { $: "object", bare: true, v: entries };
  if (Object.hasOwn(value, "$")) return tagged("object", entries);
  return fromEntries(entries, (part) => part, {}) as Json;
}

/** Assigning to the key `__proto__` would set the prototype; defining it makes an ordinary property. */
function fromEntries<V>(entries: [string, V][], convert: (value: V) => unknown, target: object): object {
  for (const [key, value] of entries) {
    if (key === "__proto__") {
      Object.defineProperty(target, key, {
        value: convert(value),
        writable: true,
        enumerable: true,
        configurable: true,
      });
    } else {
      (target as Record<string, unknown>)[key] = convert(value);
    }
  }
  return target;
}

// Requests, headers and other baggage of an error stay behind: they are large, and where secrets leak from.
function tagError(error: Error, tag: TagPart): Json {
  const { status, cause, errors } = error as { status?: unknown; cause?: unknown; errors?: unknown };
  const code = codeOf(error);
  const kind = Object.keys(ERRORS).find(
    (name) => Object.getPrototypeOf(error) === ERRORS[name as keyof typeof ERRORS].prototype,
  );
  return tagged("Error", {
    class: kind ?? "Error",
    name: String(error.name),
    message: String(error.message),
    stack: error.stack,
    code,
    ...(typeof status === "number" && { status }),
    ...(Object.hasOwn(error, "cause") && { cause: tag(cause, ".cause") }),
    ...(Array.isArray(errors) && { errors: errors.map((part: unknown, i) => tag(part, `.errors[${i}]`)) }),
  });
}

function reviveError(v: { [key: string]: Json }, revive: (part: Json | undefined) => unknown, _json: Tagged): Error {
  const kind = Object.hasOwn(ERRORS, v["class"] as string) ? (v["class"] as keyof typeof ERRORS) : "Error";
  const message = String(v["message"]);
  const options = Object.hasOwn(v, "cause") ? { cause: revive(v["cause"]) } : undefined;
  const error =
    kind === "AggregateError" ? new AggregateError([], message, options) : new ERRORS[kind](message, options);
  // The stack is not compared: reading one makes V8 write it first.
  for (const key of error.name === v["name"] ? ["stack"] : ["name", "stack"])
    Object.defineProperty(error, key, { value: v[key], writable: true, configurable: true });
  return Object.assign(
    error,
    Object.hasOwn(v, "code") && { code: v["code"] },
    Object.hasOwn(v, "status") && { status: v["status"] },
    Object.hasOwn(v, "errors") && { errors: revive(v["errors"]) },
  );
}

function tagBytes(value: object): Json | undefined {
  if (value instanceof ArrayBuffer) return tagged("ArrayBuffer", toBase64(new Uint8Array(value)));
  if (!ArrayBuffer.isView(value)) return undefined;
  if (isBuffer(value)) return tagged("Buffer", toBase64(value));
  const name = Object.keys(TYPED_ARRAYS).find(
    (candidate) => Object.getPrototypeOf(value) === TYPED_ARRAYS[candidate as keyof typeof TYPED_ARRAYS].prototype,
  );
  return name === undefined
    ? undefined
    : tagged(name, toBase64(new Uint8Array(value.buffer, value.byteOffset, value.byteLength)));
}

/** A property of a value in a path to a part of it. */
export function property(key: string): string {
  return /^[A-Za-z_$][\w$]*$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`;
}

function label(key: unknown): string {
  return typeof key === "string" ? JSON.stringify(key) : typeof key === "object" ? "an object" : String(key);
}
