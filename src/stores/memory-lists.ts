import type { DeadLetter, DeadLetterFilter, RunFilter, RunRow } from "../core/store.ts";
import { noDuePageError, noPageError } from "./refusals.ts";

/** The rows that a filter asks for, of rows in the order in which they came. */
export function listedRuns(rows: RunRow[], filter: RunFilter): RunRow[] {
  const { workflowId, status, olderThan, createdFrom, createdBefore, wakesBefore, limit = 100 } = filter;
  const statuses = typeof status === "string" ? [status] : status;
  if (wakesBefore !== undefined && olderThan !== undefined) throw noDuePageError();
  const inOrder =
    wakesBefore === undefined
      ? rows.toReversed().sort((a, b) => b.createdAt - a.createdAt)
      : rows.filter(({ wakeAt }) => wakeAt !== null && wakeAt < wakesBefore).sort((a, b) => a.wakeAt! - b.wakeAt!);
  return pageOf(inOrder, olderThan, (row) => row.runId, "run")
    .filter(
      (row) =>
        (workflowId ?? row.workflowId) === row.workflowId &&
        (statuses?.includes(row.status) ?? true) &&
        isWithin(row.createdAt, createdFrom, createdBefore),
    )
    .slice(0, limit);
}

/** The dead letters that a filter asks for, of letters in the order in which they came. */
export function listedLetters(letters: DeadLetter[], filter: DeadLetterFilter): DeadLetter[] {
  const { workflowId, nodeId, runId, status, errorCode, enteredFrom, enteredBefore, olderThan, limit = 100 } = filter;
  const newestFirst = letters.toReversed().sort((a, b) => b.timestamp - a.timestamp);
  return pageOf(newestFirst, olderThan, (letter) => letter.id, "dead letter")
    .filter(
      (letter) =>
        (workflowId ?? letter.workflowId) === letter.workflowId &&
        (nodeId ?? letter.nodeId) === letter.nodeId &&
        (runId ?? letter.runId) === letter.runId &&
        (status ?? letter.status) === letter.status &&
        (errorCode ?? letter.errorDetail.code) === letter.errorDetail.code &&
        isWithin(letter.timestamp, enteredFrom, enteredBefore),
    )
    .slice(0, limit);
}

function pageOf<T>(
  sorted: T[],
  after: string | undefined,
  idOf: (item: T) => string,
  what: "run" | "dead letter",
): T[] {
  if (after === undefined) return sorted;
  const place = sorted.findIndex((item) => idOf(item) === after);
  if (place === -1) throw noPageError(what, after);
  return sorted.slice(place + 1);
}

function isWithin(instant: number, from: number = -Infinity, before: number = Infinity): boolean {
  return instant >= from && instant < before;
}
