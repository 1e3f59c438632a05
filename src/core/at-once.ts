import { ConfigError } from "./errors.ts";

/**
 * The mistake of handing a promise to what cannot wait for it, `executeSync` unless `why` says otherwise; null where
 * `value` is none. What the promise brings later is observed, so that the mistake does not also become an unhandled
 * rejection.
 */
export function promiseMistake(
  value: unknown,
  giver: string,
  why: string = "executeSync cannot wait for it. Use execute.",
): ConfigError | null {
  if (typeof (value as PromiseLike<unknown> | null | undefined)?.then !== "function") return null;
  (value as PromiseLike<unknown>).then(ignore, ignore);
  return new ConfigError(`${giver} gave a promise, and ${why}`);
}

function ignore(): void {}
