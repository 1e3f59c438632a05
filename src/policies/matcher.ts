import { codeOf, messageOf } from "../core/errors.ts";
import type { Rule } from "../core/options.ts";

type ErrorClass = abstract new (...args: never[]) => unknown;

/** Which errors are meant: a class, an error code, a RegExp on the message, a predicate, or any of several (C1.4). */
export type Matcher = ErrorClass | string | RegExp | ((error: unknown) => boolean) | readonly Matcher[];

export type Matches = (error: unknown) => boolean;

/** A RegExp of a user's sees this much of a message, so that a long one cannot hold the event loop. */
const MESSAGE_LIMIT = 8192;

/** The rule for options that take a matcher. */
export const matcherRule: Rule = {
  says: "an error class, an error code, a RegExp, a function, or an array of these",
  allows: isMatcher,
};

function isMatcher(value: unknown): boolean {
  if (Array.isArray(value)) return value.every(isMatcher);
  return typeof value === "function" || value instanceof RegExp || (typeof value === "string" && value !== "");
}

// A class is told from a predicate by what it is, not by calling it: `class`, or a built-in with a prototype.
function isErrorClass(value: object): value is ErrorClass {
  if (/^class\b/.test(Function.prototype.toString.call(value))) return true;
  const { prototype } = value as { prototype?: unknown };
  return prototype === Error.prototype || prototype instanceof Error;
}

/**
 * Compiles a matcher once. A predicate that throws counts as a match: an error we cannot judge is a failure, and
 * judging must never break the call.
 */
export function compileMatcher(matcher: Matcher): Matches {
  if (Array.isArray(matcher)) {
    const parts = matcher.map(compileMatcher);
    return (error) => parts.some((matches) => matches(error));
  }
  if (typeof matcher === "string") return (error) => codeOf(error) === matcher;
  if (matcher instanceof RegExp) {
    // A sticky or global expression remembers where it stopped.
    const pattern = new RegExp(matcher.source, matcher.flags.replace(/[gy]/g, ""));
    return (error) => pattern.test(messageOf(error).slice(0, MESSAGE_LIMIT));
  }
  if (isErrorClass(matcher)) return (error) => error instanceof (matcher as new () => unknown);
  const predicate = matcher as (error: unknown) => boolean;
  return (error) => {
    try {
      return predicate(error);
    } catch {
      return true;
    }
  };
}

/**
 * The matcher as a judge of returned values, or undefined where it is meant for errors. Only classes and functions
 * judge values: a text that was returned may well speak of errors. A function that says yes even to `undefined`, as
 * `(error) => !(error instanceof NotFound)` does, would call every success a failure, so it judges errors only; and
 * where it throws on a value, the value is no failure.
 */
export function compileValueMatcher(matcher: Matcher): Matches | undefined {
  if (Array.isArray(matcher)) {
    const parts = matcher.map(compileValueMatcher).filter((part) => part !== undefined);
    return parts.length === 0 ? undefined : (value) => parts.some((matches) => matches(value));
  }
  if (typeof matcher !== "function") return undefined;
  if (isErrorClass(matcher)) return compileMatcher(matcher);
  const predicate = matcher as (value: unknown) => boolean;
  const judge: Matches = (value) => {
    try {
      return predicate(value) === true;
    } catch {
      return false;
    }
  };
  return judge(undefined) ? undefined : judge;
}
