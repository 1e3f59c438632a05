import type { Priority } from "../core/call.ts";
import type { Clock } from "../core/clock.ts";
import { type Lane, Slots } from "../core/slots.ts";

/** The most important first. */
export const PRIORITIES: readonly Priority[] = ["critical", "high", "normal", "low"];

/** A number for each priority. */
export type ByPriority = Record<Priority, number>;

/** Every so many slots that are handed on, one goes to the priority that has waited longest for one. */
const TURNS = 10;

/**
 * Slots whose number may change, and whose queue serves the most important first. Within a priority it is first come,
 * first served. Less important calls may be kept out of a share of the slots, so that there is room for others.
 */
export class PrioritySlots extends Slots {
  readonly #shares: Readonly<ByPriority>;
  #rooms: ByPriority;
  #turn = 0;

  constructor(limit: number, shares: Readonly<ByPriority>, clock: Clock) {
    super(limit, clock);
    this.#shares = shares;
    this.#rooms = roomsIn(limit, shares);
  }

  /** How many may be taken for a call of this priority to take one more. */
  roomFor(priority: Priority): number {
    return this.#rooms[priority];
  }

  tryTakeFor(priority: Priority): boolean {
    return this.taken < this.#rooms[priority] && this.tryTake();
  }

  override resize(limit: number): void {
    this.#rooms = roomsIn(limit, this.#shares);
    super.resize(limit);
  }

  /** Sends away the one in the queue that is least important, the last to come among equals; false where there is none. */
  evictBelow(priority: Priority): boolean {
    for (let i = PRIORITIES.length - 1; PRIORITIES[i] !== priority; i--) {
      const lane = this.lanes.get(PRIORITIES[i]);
      if (lane === undefined) continue;
      this.evict(lane);
      return true;
    }
    return false;
  }

  /** How many wait. */
  queued(): ByPriority {
    return byPriority((priority) => this.lanes.get(priority)?.size ?? 0);
  }

  // Lanes are keyed by priority. The base class lets them take turns: the first has been served least recently.
  protected override nextLane(): Lane | null {
    let lane = this.#turn === TURNS - 1 ? this.turns.first : null;
    while (lane !== null && !this.#isOpen(lane)) lane = lane.following;
    for (let i = 0; lane === null && i < PRIORITIES.length; i++) {
      const candidate = this.lanes.get(PRIORITIES[i]);
      if (candidate !== undefined && this.#isOpen(candidate)) lane = candidate;
    }
    if (lane !== null) this.#turn = (this.#turn + 1) % TURNS;
    return lane;
  }

  #isOpen(lane: Lane): boolean {
    return this.taken < this.#rooms[lane.key as Priority];
  }
}

export function byPriority(valueOf: (priority: Priority) => number): ByPriority {
  return Object.fromEntries(PRIORITIES.map((priority) => [priority, valueOf(priority)])) as ByPriority;
}

/** One slot at least is open to everybody, however small the limit and the share are. */
function roomsIn(limit: number, shares: Readonly<ByPriority>): ByPriority {
  return byPriority((priority) => Math.max(1, Math.floor(limit * shares[priority])));
}
