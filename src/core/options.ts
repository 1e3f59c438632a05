import { ConfigError } from "./errors.ts";
import type { SharedState } from "./shared-state.ts";

/** What an option may be: `allows` decides, `says` completes the sentence "… must be". */
export interface Rule {
  says: string;
  allows: (value: unknown) => boolean;
}

/** NaN is let in here, and fails each comparison that follows. */
const isNumber = (value: unknown): value is number => typeof value === "number";

/** The longest duration that is accepted, about 285 years: longer ones lose milliseconds in a double. */
const LONGEST_MS = 2 ** 53 - 1;

/** A duration in milliseconds. */
export const durationMs: Rule = {
  says: "a number of milliseconds, 0 or more",
  allows: (value) => isNumber(value) && value >= 0 && value <= LONGEST_MS,
};

/** A duration that is not zero. */
export const positiveMs: Rule = {
  says: "a number of milliseconds above 0",
  allows: (value) => isNumber(value) && value > 0 && value <= LONGEST_MS,
};

/** A whole number of at least `least`; `Infinity` where `orInfinity` says so. */
export function wholeNumber(least: number, orInfinity = false): Rule {
  return {
    says: `a whole number of at least ${least}${orInfinity ? ", or Infinity" : ""}`,
    allows: (value) =>
      isNumber(value) && value >= least && (Number.isSafeInteger(value) || (orInfinity && value === Infinity)),
  };
}

/** A finite number from `least` to `most`, both included. */
export function numberBetween(least: number, most: number): Rule {
  return {
    says: `a number from ${least} to ${most}`,
    allows: (value) => isNumber(value) && value >= least && value <= most,
  };
}

/** One of a few words. */
export function oneOf(...words: string[]): Rule {
  return {
    says: `one of ${words.map((word) => `"${word}"`).join(", ")}`,
    allows: (value) => words.includes(value as string),
  };
}

/** A function. */
export const aFunction: Rule = { says: "a function", allows: (value) => typeof value === "function" };

/** A boolean. */
export const aBoolean: Rule = { says: "true or false", allows: (value) => typeof value === "boolean" };

/** A name or id: any non-empty string of at most 512 characters (C0.7). */
export const anId: Rule = {
  says: "a non-empty string of at most 512 characters",
  allows: (value) => typeof value === "string" && value.length > 0 && value.length <= 512,
};

/** Anything, also nothing: a value whose meaning only the caller knows. */
export const anything: Rule = { says: "anything", allows: () => true };

/** Either of two rules. */
export function either(first: Rule, second: Rule): Rule {
  return { says: `${first.says}, or ${second.says}`, allows: (value) => first.allows(value) || second.allows(value) };
}

/** A plain object whose own check comes later. */
export const anObject: Rule = {
  says: "an object",
  allows: (value) => typeof value === "object" && value !== null && !Array.isArray(value),
};

/** Where processes share state. */
export const aSharedState: Rule = {
  says: "a shared state, such as openSharedState() gives; one of your own needs { update, close, sharing }, with the sharing that holdfast/policies exports",
  allows: (value) => {
    const { update, sharing } = (value ?? {}) as Partial<SharedState>;
    return typeof update === "function" && sharing?.kind === "sharing";
  },
};

/** For each option of an owner, what it may be. */
export type Rules<O> = { [K in keyof Required<O>]: Rule };

/**
 * Checks an options object once, when the thing is built, and returns it without the options that are `undefined`
 * (C0.3). Throws `ConfigError` for an unknown key or a value that its rule does not allow.
 */
export function checkOptions<O extends object>(owner: string, options: O, rules: Rules<O>): O {
  if (!anObject.allows(options)) throw new ConfigError(`${owner} takes an options object, got ${show(options)}.`);
  const known = rules as Record<string, Rule>;
  const checked: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(options)) {
    if (!Object.hasOwn(known, key)) {
      throw new ConfigError(`${owner} has no option "${key}". It knows: ${Object.keys(known).join(", ")}.`);
    }
    if (value === undefined) continue;
    const rule = known[key]!;
    if (!rule.allows(value)) throw new ConfigError(`${owner}.${key} must be ${rule.says}, got ${show(value)}.`);
    checked[key] = value;
  }
  return checked as O;
}

/** The one id a thing was given, checked, with a message that says which thing (C0.7). */
export function checkId(owner: string, id: unknown): string {
  if (!anId.allows(id)) throw new ConfigError(`${owner} must be ${anId.says}, got ${show(id)}.`);
  return id as string;
}

/**
 * Folds an older spelling, a number that has been checked, into the canonical option (C0.1, C0.2). Both with different
 * meanings is a `ConfigError`. `toCanonical` turns the alias's value into the canonical one.
 */
export function foldAlias<O extends object>(
  owner: string,
  options: O,
  alias: keyof O & string,
  canonical: keyof O & string,
  toCanonical: (value: number) => number = (value) => value,
): O {
  const { [alias]: given, ...rest } = options;
  if (given === undefined) return options;
  const value = toCanonical(given as number);
  const other = options[canonical];
  if (other !== undefined && !Object.is(other, value)) {
    throw new ConfigError(
      `${owner} got ${alias}: ${show(given)} and ${canonical}: ${show(other)}, which contradict each other. Give one of them.`,
    );
  }
  return { ...rest, [canonical]: value } as unknown as O;
}

/** Options as plain data, for a description: code stands there by its name (C3.12). */
export function plainOptions(options: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(options).map(([key, value]) => [key, plain(value)]));
}

function plain(value: unknown): unknown {
  if (typeof value === "function") return show(value);
  if (value instanceof RegExp) return String(value);
  if (Array.isArray(value)) return value.map(plain);
  return typeof value === "object" && value !== null ? plainOptions(value) : value;
}

/** A value in a message: short, on one line, and never throwing. */
export function show(value: unknown): string {
  try {
    if (typeof value === "string") return JSON.stringify(value.length > 80 ? `${value.slice(0, 77)}...` : value);
    if (typeof value === "function") return `the function ${value.name || "(anonymous)"}`;
    if (typeof value === "bigint") return `${value}n`;
    if (typeof value === "object" && value !== null) return Array.isArray(value) ? "an array" : "an object";
    return String(value);
  } catch {
    return "a value that cannot be printed";
  }
}
