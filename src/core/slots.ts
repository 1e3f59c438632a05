import type { Call } from "./call.ts";
import type { Clock, Timer } from "./clock.ts";
import { callOperation, type Invoke, type Operation } from "./policy.ts";
import { type Link, Queue } from "./queue.ts";

/** The waiters of one key, in the order in which they came. */
class Lane implements Link<Lane> {
  previous: Lane | null = null;
  following: Lane | null = null;
  readonly waiters: Queue<Waiter> = new Queue();
  readonly key: string | undefined;

  constructor(key: string | undefined) {
    this.key = key;
  }
}

class Waiter implements Link<Waiter> {
  previous: Waiter | null = null;
  following: Waiter | null = null;
  readonly lane: Lane;
  readonly wake: (handedOn: boolean) => void;

  constructor(lane: Lane, wake: (handedOn: boolean) => void) {
    this.lane = lane;
    this.wake = wake;
  }
}

/**
 * A fixed number of slots, and a queue of calls that wait for one. A slot that is given back goes straight to the
 * next in line, so that no newcomer can overtake. Keys take turns; within one key, and where nobody gives a key, it
 * is first come, first served.
 */
export class Slots {
  readonly limit: number;
  readonly #clock: Clock;
  #taken = 0;
  #waiting = 0;
  readonly #lanes = new Map<string | undefined, Lane>();
  readonly #turns = new Queue<Lane>();

  constructor(limit: number, clock: Clock) {
    this.limit = limit;
    this.#clock = clock;
  }

  get taken(): number {
    return this.#taken;
  }

  get waiting(): number {
    return this.#waiting;
  }

  /** Takes a free slot. While anybody waits there is none. */
  tryTake(): boolean {
    if (this.#taken >= this.limit) return false;
    this.#taken++;
    return true;
  }

  /** Takes a slot that there is not, for a policy that only watches. */
  takeBeyondLimit(): void {
    this.#taken++;
  }

  /** Waits for a slot until the instant `until`: true when it is the caller's. Rejects with the reason of an abort. */
  async wait(call: Call, until: number, key?: string): Promise<boolean> {
    if (this.#clock.now() >= until) return false;
    // Whoever gives a slot back only settles this promise: what follows runs in the async context of the waiting call.
    const handedOn = await new Promise<boolean>((resolve) => this.#queue(call.waitSignal, until, key, resolve));
    if (!call.aborted && this.#clock.now() < until) return handedOn;
    // An abort, or the end of the time, may also come after the hand-off and before this line.
    if (handedOn) this.give();
    if (call.aborted) throw call.reason;
    return false;
  }

  /** Gives a slot back: to the next in line, or to whoever comes. */
  give(): void {
    const lane = this.#turns.first;
    if (lane === null) {
      this.#taken--;
      return;
    }
    const waiter = lane.waiters.first!;
    // The lane goes to the end of the line, unless this was its last.
    if (waiter.following !== null) {
      this.#turns.remove(lane);
      this.#turns.append(lane);
    }
    this.#leave(waiter);
    waiter.wake(true);
  }

  #queue(
    signal: AbortSignal | undefined,
    until: number,
    key: string | undefined,
    resolve: (handedOn: boolean) => void,
  ): void {
    let lane = this.#lanes.get(key);
    if (lane === undefined) {
      lane = new Lane(key);
      this.#lanes.set(key, lane);
      this.#turns.append(lane);
    }
    let timer: Timer | null = null;
    const giveUp = (): void => {
      this.#leave(waiter);
      waiter.wake(false);
    };
    const waiter = new Waiter(lane, (handedOn) => {
      timer?.cancel();
      signal?.removeEventListener("abort", giveUp);
      resolve(handedOn);
    });
    lane.waiters.append(waiter);
    this.#waiting++;
    if (until !== Infinity) timer = this.#clock.timer(until - this.#clock.now(), giveUp);
    signal?.addEventListener("abort", giveUp, { once: true });
  }

  #leave(waiter: Waiter): void {
    const { lane } = waiter;
    lane.waiters.remove(waiter);
    this.#waiting--;
    if (lane.waiters.first !== null) return;
    this.#turns.remove(lane);
    this.#lanes.delete(lane.key);
  }
}

/**
 * Calls `next`, and `release` once that and every call it has made of the operation have settled. A timeout inside
 * settles while its operation goes on, and so does a hedge: what they were given a slot for is still being used (C3.2).
 */
export async function holdUntilSettled(
  next: Invoke,
  operation: Operation<unknown>,
  call: Call,
  release: () => void,
): Promise<unknown> {
  let unsettled = 1;
  let released = false;
  const settled = (): void => {
    if (--unsettled > 0 || released) return;
    released = true;
    release();
  };
  const held: Operation<unknown> = async (inner) => {
    unsettled++;
    try {
      return await operation(inner);
    } finally {
      settled();
    }
  };
  try {
    // The caller may have aborted on the way from the hand-off of a slot to here.
    if (call.aborted) throw call.reason;
    return await next(next === callOperation ? operation : held, call);
  } finally {
    settled();
  }
}
