import { type Command, InvalidArgumentError, Option } from "commander";
import { parseDate, systemClock } from "../core/clock.ts";

/** Options that several commands take, and the words that they understand. */

export function onStore(command: Command): Command {
  return command
    .option(
      "--store <url>",
      "where journals are kept: sqlite:path, or a path (default: $RESILIENCE_STORE_URL, else .holdfast/holdfast.db)",
    )
    .option("--json", "print JSON; lists print one object a line");
}

export function limit(): Option {
  return new Option("--limit <count>", "how many at most").argParser(aCount).default(100);
}

/** A whole number of at least 1. */
export function aCount(text: string): number {
  return wholeNumber(text, 1);
}

/** A whole number of at least 0. */
export function aCountOrNone(text: string): number {
  return wholeNumber(text, 0);
}

function wholeNumber(text: string, least: number): number {
  const count = Number(text);
  if (text.trim() === "" || !Number.isSafeInteger(count) || count < least)
    throw new InvalidArgumentError(`It must be a whole number of at least ${least}.`);
  return count;
}

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A duration in milliseconds: `500ms`, `2s`, `90m`, `36h`, `7d`. */
export function aDuration(text: string): number {
  const ms = durationOf(text);
  if (ms === undefined) throw new InvalidArgumentError("It must be a duration, such as 500ms, 2s, 90m, 36h or 7d.");
  return ms;
}

/** An instant in wall-clock milliseconds: ISO 8601 text, or a duration for so long ago. */
export function anInstant(text: string): number {
  const ago = durationOf(text);
  if (ago !== undefined) return systemClock.wallNow() - ago;
  const instant = /^\d{4}-\d\d-\d\d/.test(text) ? parseDate(text) : NaN;
  if (Number.isNaN(instant))
    throw new InvalidArgumentError("It must be an instant, such as 2026-11-24T08:00Z, or how long ago, such as 36h.");
  return instant;
}

function durationOf(text: string): number | undefined {
  const [, count, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text) ?? [];
  return unit === undefined ? undefined : Number(count) * UNITS[unit]!;
}
