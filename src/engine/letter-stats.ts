import type { DeadLetter, DeadLetterStatus } from "../core/store.ts";
import { isSettled } from "../core/store.ts";

/** Open entries that failed at the same node in the same way. */
export interface DeadLetterGroup {
  workflowId: string;
  nodeId: string;
  errorName: string;
  errorCode: string | undefined;
  count: number;
  /** When the oldest of them was entered, in wall-clock milliseconds. */
  oldestAt: number;
}

/** How a dead letter queue stands. */
export interface DeadLetterStats {
  total: number;
  byStatus: Record<DeadLetterStatus, number>;
  /** Of those with the status `permanent_failure`: redriven as often as is allowed, and not discarded. */
  quarantined: number;
  discarded: number;
  /** Entries that something is left to be done about: neither succeeded nor discarded. */
  open: number;
  /** How long the oldest open entry has been there; null where there is none. */
  oldestAgeMs: number | null;
  /** The open entries by workflow, node and error, the largest group first. */
  groups: DeadLetterGroup[];
}

/** Counts entries. */
export async function statsOf(letters: AsyncIterable<DeadLetter>, now: number): Promise<DeadLetterStats> {
  const byStatus = { pending: 0, retrying: 0, succeeded: 0, permanent_failure: 0 };
  const groups = new Map<string, DeadLetterGroup>();
  const counts = { total: 0, quarantined: 0, discarded: 0, open: 0 };
  let oldestAt = Infinity;
  for await (const letter of letters) {
    counts.total++;
    byStatus[letter.status]++;
    if (letter.discarded !== undefined) counts.discarded++;
    else if (letter.status === "permanent_failure") counts.quarantined++;
    if (isSettled(letter)) continue;
    counts.open++;
    oldestAt = Math.min(oldestAt, letter.timestamp);
    countIn(groups, letter);
  }
  return {
    ...counts,
    byStatus,
    oldestAgeMs: counts.open === 0 ? null : Math.max(0, now - oldestAt),
    groups: [...groups.values()].sort((a, b) => b.count - a.count || a.oldestAt - b.oldestAt),
  };
}

function countIn(
  groups: Map<string, DeadLetterGroup>,
  { workflowId, nodeId, errorDetail, timestamp }: DeadLetter,
): void {
  const { name: errorName, code: errorCode } = errorDetail;
  const key = JSON.stringify([workflowId, nodeId, errorName, errorCode]);
  const group = groups.get(key);
  if (group === undefined) {
    groups.set(key, { workflowId, nodeId, errorName, errorCode, count: 1, oldestAt: timestamp });
    return;
  }
  group.count++;
  group.oldestAt = Math.min(group.oldestAt, timestamp);
}
