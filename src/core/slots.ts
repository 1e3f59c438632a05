import { followAbort, unfollowAbort } from "./aborts.ts";
import type { Call } from "./call.ts";
import type { Clock, Timer } from "./clock.ts";
import { callOperation, type Invoke, type Operation } from "./policy.ts";
import { type Link, Queue } from "./queue.ts";

/** The waiters of one key, in the order in which they came. */
export class Lane implements Link<Lane> {
  previous: Lane | null = null;
  following: Lane | null = null;
  readonly waiters: Queue<Waiter> = new Queue();
  size = 0;
  readonly key: string | undefined;

  constructor(key: string | undefined) {
    this.key = key;
  }
}

/** What a wait ends with: a slot or none in time; null where the waiter had to leave for a more important one. */
type Ending = boolean | null;

class Waiter implements Link<Waiter> {
  previous: Waiter | null = null;
  following: Waiter | null = null;
  readonly lane: Lane;
  readonly wake: (ending: Ending) => void;

  constructor(lane: Lane, wake: (ending: Ending) => void) {
    this.lane = lane;
    this.wake = wake;
  }
}

/**
 * A number of slots, and a queue of calls that wait for one. A slot that is given back goes straight to the next in
 * line, so that no newcomer can overtake. Keys take turns; within one key, and where nobody gives a key, it is first
 * come, first served.
 */
export class Slots {
  readonly #clock: Clock;
  #limit: number;
  #taken = 0;
  #waiting = 0;
  protected readonly lanes: Map<string | undefined, Lane> = new Map();
  protected readonly turns: Queue<Lane> = new Queue();

  constructor(limit: number, clock: Clock) {
    this.#limit = limit;
    this.#clock = clock;
  }

  get limit(): number {
    return this.#limit;
  }

  get taken(): number {
    return this.#taken;
  }

  get waiting(): number {
    return this.#waiting;
  }

  /** Takes a free slot. While anybody waits there is none. */
  tryTake(): boolean {
    if (this.#taken >= this.#limit) return false;
    this.#taken++;
    return true;
  }

  /** Takes a slot that there is not, for a policy that only watches. */
  takeBeyondLimit(): void {
    this.#taken++;
  }

  /** Waits for a slot until the instant `until`: true when it is the caller's. Rejects with the reason of an abort. */
  async wait(call: Call, until: number, key?: string): Promise<Ending> {
    if (this.#clock.now() >= until) return false;
    // Whoever gives a slot back only settles this promise: what follows runs in the async context of the waiting call.
    let ending = await new Promise<Ending>((resolve) => this.#queue(call.waitSignal, until, key, resolve));
    // An abort, or the end of the time, may also come after the hand-off and before this line.
    if (ending && (call.aborted || this.#clock.now() >= until)) {
      this.give();
      ending = false;
    }
    if (call.aborted) throw call.reason;
    return ending;
  }

  /** Gives a slot back: to the next in line, or to whoever comes. */
  give(): void {
    this.#taken--;
    if (this.#waiting > 0) this.#handOn();
  }

  /** Changes their number. Of a lower one, those that are taken beyond it stay taken until they are given back. */
  resize(limit: number): void {
    this.#limit = limit;
    while (this.#handOn());
  }

  /** The lane whose turn it is; null where none may have a slot now. */
  protected nextLane(): Lane | null {
    return this.turns.first;
  }

  /** Sends the last of a lane away. */
  protected evict(lane: Lane): void {
    const waiter = lane.waiters.last!;
    this.#leave(waiter);
    waiter.wake(null);
  }

  #handOn(): boolean {
    const lane = this.#taken < this.#limit ? this.nextLane() : null;
    if (lane === null) return false;
    const waiter = lane.waiters.first!;
    // The lane goes to the end of the line, and out of it with its last.
    this.turns.remove(lane);
    this.turns.append(lane);
    this.#taken++;
    this.#leave(waiter);
    waiter.wake(true);
    return true;
  }

  #queue(
    signal: AbortSignal | undefined,
    until: number,
    key: string | undefined,
    resolve: (ending: Ending) => void,
  ): void {
    let lane = this.lanes.get(key);
    if (lane === undefined) {
      lane = new Lane(key);
      this.lanes.set(key, lane);
      this.turns.append(lane);
    }
    let timer: Timer | null = null;
    const giveUp = (): void => {
      this.#leave(waiter);
      waiter.wake(false);
    };
    const waiter = new Waiter(lane, (ending) => {
      timer?.cancel();
      unfollowAbort(signal, giveUp);
      resolve(ending);
    });
    lane.waiters.append(waiter);
    lane.size++;
    this.#waiting++;
    if (until !== Infinity) timer = this.#clock.timer(until - this.#clock.now(), giveUp);
    followAbort(signal, giveUp);
  }

  #leave(waiter: Waiter): void {
    const { lane } = waiter;
    lane.waiters.remove(waiter);
    lane.size--;
    this.#waiting--;
    if (lane.waiters.first !== null) return;
    this.turns.remove(lane);
    this.lanes.delete(lane.key);
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
