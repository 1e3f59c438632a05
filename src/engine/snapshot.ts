import { deflateRawSync, inflateRawSync } from "node:zlib";
import { utf8Bytes, utf8Text } from "../core/bytes.ts";
import { StoreCorruptError } from "../core/errors.ts";
import { newRunState, type RunState } from "../workflow/run-state.ts";

/**
 * The state of a run as the body of a record. Any plain data, maps and sets in it come back, so that a new field of the
 * state needs nothing here. Deflated, since keys and field names repeat with each invocation: about 31 bytes instead of
 * 225 for one whose output is a note.
 */
const HEAD = '{"snapshot":1}\n';

/** Whether a record holds a state; the others hold lists of events. */
export function isSnapshot(body: Uint8Array): boolean {
  return body[0] === HEAD.charCodeAt(0);
}

export function encodeSnapshot(state: RunState): Uint8Array {
  const head = utf8Bytes(HEAD);
  // The first level: each further one takes twice the time, and a tenth off the size.
  const packed = deflateRawSync(utf8Bytes(JSON.stringify(flat(state))), { level: 1 });
  const body = new Uint8Array(head.length + packed.length);
  body.set(head);
  body.set(packed, head.length);
  return body;
}

/**
 * The state in a body whose checksum was right. Undefined for one of an older version that knew less than we must: the
 * events before it say the rest. Throws `StoreCorruptError` for one of a newer version, which knew more than we do.
 */
export function decodeSnapshot(body: Uint8Array): RunState | undefined {
  const known = newRunState();
  const head = utf8Bytes(HEAD);
  if (!head.every((byte, i) => body[i] === byte)) throw newerError("it is written in a form that is unknown here");
  const state = revived(JSON.parse(utf8Text(inflateRawSync(body.subarray(head.length))))) as RunState;
  const unknown = Object.keys(state).find((field) => !Object.hasOwn(known, field));
  if (unknown !== undefined) throw newerError(`it has the unknown field "${unknown}"`);
  return Object.keys(known).every((field) => Object.hasOwn(state, field)) ? state : undefined;
}

function newerError(why: string): StoreCorruptError {
  return new StoreCorruptError(
    `The journal has a snapshot that cannot be read: ${why}. A newer version of Holdfast wrote it: use that version.`,
  );
}

/** A map or set in JSON. The state has no property of that name itself. */
interface Collection {
  $: "map" | "set";
  of: unknown[];
}

/** The same value without maps and sets. What has none in it is not copied: that is nearly all of a long state. */
function flat(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Map) return { $: "map", of: Array.from(value, ([key, item]) => [key, flat(item)]) };
  if (value instanceof Set) return { $: "set", of: Array.from(value, flat) };
  if (Array.isArray(value)) return value.map(flat);
  let copy: Record<string, unknown> | undefined;
  for (const key in value) {
    const part = (value as Record<string, unknown>)[key];
    const flattened = flat(part);
    if (flattened !== part) (copy ??= { ...value })[key] = flattened;
  }
  return copy ?? value;
}

/** What was flattened; changes its argument. */
function revived(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) value[i] = revived(value[i]);
    return value;
  }
  const { $: kind, of } = value as Partial<Collection>;
  if (kind === "map") {
    const map = new Map<unknown, unknown>();
    for (const [key, item] of of as [unknown, unknown][]) map.set(key, revived(item));
    return map;
  }
  if (kind === "set") return new Set(of!.map(revived));
  const data = value as Record<string, unknown>;
  for (const key in data) {
    const part = data[key];
    if (typeof part === "object") data[key] = revived(part);
  }
  return data;
}
