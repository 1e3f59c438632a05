import { ConfigError, NotFoundError } from "../core/errors.ts";
import type { RunStatus } from "../core/store.ts";

/** The error for a signal to a run that will not take it: there is none, or it has ended. */
export function noTakerError(runId: string, status: RunStatus | undefined): NotFoundError {
  return new NotFoundError(
    status === undefined
      ? `There is no run "${runId}" that could be signalled. Start it first, or check the id.`
      : `Run "${runId}" has ended (${status}) and takes no signal any more.`,
  );
}

/** The error for a page that is to go on from something that is not there, or no longer. */
export function noPageError(what: "run" | "dead letter", id: string): NotFoundError {
  return new NotFoundError(
    `There is no ${what} "${id}" to go on from: it may have been pruned. List from the beginning again.`,
  );
}

/** The error for a further page of what is due. */
export function noDuePageError(): ConfigError {
  return new ConfigError(
    "A list of runs takes either olderThan or wakesBefore: runs that are due have no pages. Take up those that were listed, and list again.",
  );
}

/** The error for SQL on a store that has none. */
export function noSqlError(location: string): ConfigError {
  return new ConfigError(
    `SQL cannot run in the transaction of a step on the store in ${location}: it has none. Use a SqliteStore.`,
  );
}
