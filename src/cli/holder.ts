import { systemClock } from "../core/clock.ts";
import { holderName } from "../core/errors.ts";
import type { RunRow } from "../core/store.ts";
import { isDead } from "../engine/owner.ts";

/** Who carries a run out now, in words; undefined where nobody does. */
export function holderOf({ owner, leaseUntil }: RunRow): string | undefined {
  const isHeld = owner !== null && leaseUntil > systemClock.wallNow() && !isDead(owner);
  return isHeld ? holderName(owner) : undefined;
}

/** Whether a run has not ended and nobody carries it out: its process has died, or has given it back. */
export function isInterrupted(row: RunRow): boolean {
  return row.status === "running" && holderOf(row) === undefined;
}

/** Whether a run that waits is due: its time has come, or it was told something. */
export function isDue({ status, wakeAt }: RunRow): boolean {
  return status === "waiting" && wakeAt !== null && wakeAt <= systemClock.wallNow();
}
