import { ConfigError, StoreCorruptError } from "../core/errors.ts";
import { show } from "../core/options.ts";
import type { SharedChange, SharedState } from "../core/shared-state.ts";

/** The change of an update, whatever it keeps and answers. */
export type Change = Parameters<SharedState["update"]>[1];

/** What lies under a key: JSON, so that nobody shares an object with the place, and the instant when it is gone. */
export interface StateEntry {
  readonly text: string;
  readonly until: number;
}

/** What a change makes of an entry. Throws what the change throws, and for what cannot be kept. */
export function changed(
  entry: StateEntry | undefined,
  now: number,
  change: Change,
): { entry: StateEntry | undefined; result: unknown } {
  const last = entry !== undefined && entry.until > now ? parsed(entry.text) : undefined;
  const { next, keepMs, result }: SharedChange<unknown, unknown> = change(last, now);
  if (next === undefined) return { entry: undefined, result };
  if (!(keepMs >= 0))
    throw new ConfigError(`keepMs of a shared state must be a number, 0 or more, got ${show(keepMs)}.`);
  const text = JSON.stringify(next) as string | undefined;
  if (text === undefined) throw new ConfigError(`A shared state must be plain data, got ${show(next)}.`);
  return { entry: { text, until: now + keepMs }, result };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new StoreCorruptError(`An entry of the shared state is damaged and not used: ${text.slice(0, 80)}`, error);
  }
}
