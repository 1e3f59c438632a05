import { ConfigError } from "./errors.ts";

/**
 * The mistake of handing a promise to `executeSync`, which cannot wait for it; null where `value` is none. What the
 * promise brings later is observed, so that the mistake does not also become an unhandled rejection.
 */
export function promiseMistake(value: unknown, giver: string): ConfigError | null {
  if (typeof (value as PromiseLike<unknown> | null | undefined)?.then !== "function") return null;
  (value as PromiseLike<unknown>).then(ignore, ignore);
  return new ConfigError(`${giver} gave a promise, and executeSync cannot wait for it. Use execute.`);
}

function ignore(): void {}
