import { inspect, stripVTControlCharacters } from "node:util";
import { dateFrom } from "../core/clock.ts";
import { referredBlob } from "../core/blobs.ts";
import { plainCodec } from "../core/codec.ts";
import { messageOf, type StoredError } from "../core/errors.ts";

// What could move the cursor, or make a text read in another order than it is written in.
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Text of somebody else's without escape sequences and control characters; line breaks and tabs stay. */
export function cleanLines(text: string): string {
  return stripVTControlCharacters(text).replace(CONTROLS, "");
}

/** The same on one line: an id with a line break in it must not pass for two rows. */
export function clean(text: string): string {
  return cleanLines(text).replace(/[\n\t\u2028\u2029]+/g, " ");
}

/** A text that is cut at so many characters, and shows it. */
export function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, Math.max(0, length - 3))}...`;
}

/** `1 node`, `3 nodes`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** A duration as people say it: `15 ms`, `0.3 s`, `12 s`, `3 min 20 s`, `2 h 5 min`. */
export function duration(ms: number): string {
  if (ms < 99.5) return `${Math.max(0, Math.round(ms))} ms`;
  const seconds = ms / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** An instant in wall-clock milliseconds as ISO 8601 text. */
export function instant(ms: number): string {
  return dateFrom(ms).toISOString();
}

/** A line of JSON. Characters that a terminal would act upon are escaped, which is the same text to a program. */
export function jsonLine(value: unknown): string {
  return JSON.stringify(value).replace(CONTROLS, (mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** A stored value as JSON. What JSON cannot say stands in it as the journal keeps it, in an object with the key `$`. */
export function asJson(encoded: string): unknown {
  const blob = referredBlob(encoded);
  return blob === undefined ? JSON.parse(encoded) : { $: "blob", v: blob };
}

/** A stored value to be read: JSON where JSON says it exactly, else the way Node prints it. */
export function readable(encoded: string): string {
  if (referredBlob(encoded) !== undefined) return clean(encoded);
  if (isExactJson(encoded)) return cleanLines(JSON.stringify(asJson(encoded), null, 2));
  return cleanLines(inspect(plainCodec.decode(encoded), { ...WHOLE, breakLength: 100 }));
}

/** The same on one line. */
export function readableLine(encoded: string): string {
  return clean(
    isExactJson(encoded) || referredBlob(encoded) !== undefined
      ? encoded
      : inspect(plainCodec.decode(encoded), { ...WHOLE, breakLength: Infinity }),
  );
}

const WHOLE = { depth: null, maxArrayLength: null, maxStringLength: null };

function isExactJson(encoded: string): boolean {
  return !encoded.includes('"$"');
}

/** An error and what caused it, a line each, without their stacks. */
export function errorLines(error: StoredError): string[] {
  const lines: string[] = [];
  for (let link: StoredError | undefined = error; link !== undefined; link = link.cause) {
    const code = link.code === undefined ? "" : ` [${link.code}]`;
    lines.push(`${lines.length === 0 ? "" : "caused by "}${clean(`${link.name}${code}: ${link.message}`)}`);
  }
  return lines;
}

/** The message of any thrown value on one line. */
export function said(error: unknown): string {
  return clean(messageOf(error));
}
