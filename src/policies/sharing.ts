import type { SharedState, Sharing } from "../core/shared-state.ts";
import { BreakerFleet } from "./breaker-fleet.ts";
import { LeasePlace } from "./held-lease.ts";
import { LedgerMember } from "./ledger-member.ts";
import { SharedRateLine } from "./shared-rate-line.ts";

/** The side of one process of what several share, for each policy that can. */
interface Sides extends Sharing {
  readonly BreakerFleet: typeof BreakerFleet;
  readonly LeasePlace: typeof LeasePlace;
  readonly LedgerMember: typeof LedgerMember;
  readonly SharedRateLine: typeof SharedRateLine;
}

const sides: Sides = { kind: "sharing", BreakerFleet, LeasePlace, LedgerMember, SharedRateLine };

/**
 * What policies need to share their state between processes. Each shared state has it as its member `sharing`, also
 * one of your own: without such a place nothing of it is loaded.
 *
 * @example
 * ```ts
 * import { MemorySharedState } from "holdfast";
 * import { CircuitBreaker, sharing, type SharedState } from "holdfast/policies";
 *
 * const inner = new MemorySharedState();
 * let asked = 0;
 * const counting: SharedState = {
 *   sharing,
 *   update(key, change) {
 *     asked++;
 *     return inner.update(key, change);
 *   },
 *   close: () => inner.close(),
 * };
 * await new CircuitBreaker({ name: "search", sharedState: counting }).execute(() => "found");
 * console.log(asked); // => 1
 * ```
 */
export const sharing: Sharing = sides;

/** The sides that a place brings along. */
export function sidesOf({ sharing: brought }: SharedState): Sides {
  return brought as Sides;
}
