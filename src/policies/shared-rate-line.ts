import type { Call } from "../core/call.ts";
import type { Runtime } from "../core/runtime.ts";
import { ANSWER_MS, type SharedState } from "../core/shared-state.ts";
import { SLACK_MS } from "./rate-allowance.ts";
import { Claim, type Waiter } from "./rate-claim.ts";
import type { Meter, RateKind } from "./rate-limits.ts";
import { type Entered, type LineSettings, RateLine, whyNot } from "./rate-line.ts";
import {
  type Amounts,
  charging,
  granting,
  learning,
  type LimiterChange,
  type LimiterRecord,
  type LimiterView,
} from "./shared-limiter.ts";
import { SharedPlace } from "./shared-place.ts";

/** While the shared state is away it is tried again no more often than this. */
const RETRY_MS = 3_000;

/** How many calls of the line are asked for at once. */
const MOST_AT_ONCE = 100;

/**
 * A line whose calls take from limits that several processes share. The shared state is asked for the first in line
 * and those right behind; who has to wait for room waits here, and then it is asked again. What it has answered is kept
 * as the line's own meters: they say how long the others have to wait, and while the shared state is away they are what
 * calls take from.
 */
export class SharedRateLine extends RateLine {
  // Waiting for the answer to those before and to itself is no wait for room.
  protected override readonly graceMs: number = 2 * ANSWER_MS;
  readonly #place: SharedPlace<LimiterRecord>;
  #away = false;
  #tryAgainAt = 0;
  #asking = false;
  /** Room was made while it was asked. */
  #askAgain!: boolean;
  #seenAt = 0;
  /** How many answers have been taken over. */
  #heard = 0;

  constructor(state: SharedState, settings: LineSettings, meters: readonly Meter[], runtime: Runtime) {
    super(settings, meters, runtime);
    this.#place = new SharedPlace(state, `limiter:${settings.name}`, runtime);
  }

  override enter(call: Call, args: readonly unknown[]): Entered | Promise<Entered> {
    if (this.#away) {
      this.#tryAgain();
      return super.enter(call, args);
    }
    const now = this.runtime.clock.now();
    const claim = new Claim();
    for (const meter of this.meters) claim[meter.kind] = meter.costOf(call.cost?.[meter.kind], args);
    const waitMs = this.waitMs(claim, now, true);
    // While the first in line waits for room, this one has to wait at least as long.
    const late = this.line.first !== null && !this.#asking;
    const why = late || waitMs === Infinity ? whyNot(waitMs, this.maxWaitMs, call.deadline - now) : undefined;
    if (why !== undefined) return this.refuse(why, claim, waitMs);
    if (!this.dryRun) return this.wait(claim, call, now, late);
    void this.#watch(claim, call, now);
    return claim;
  }

  override learn(remaining: Partial<Record<RateKind, number>>, closedForMs: number | undefined): void {
    super.learn(remaining, closedForMs);
    this.#tell(learning(this.meters, remaining, closedForMs), false);
  }

  override charge(kind: RateKind, more: number, claim: Claim): void {
    super.charge(kind, more, claim);
    // What was not taken there cannot be given back there.
    if (more > 0 || claim.sharedAt !== null)
      this.#tell(charging(this.meters, { [kind]: more }, claim.sharedAt ?? 0), more < 0);
  }

  override takeBack(claim: Claim): void {
    super.takeBack(claim);
    if (claim.sharedAt !== null) this.#tell(this.#returning([claim], claim.sharedAt), true);
  }

  // There is room only when the shared state says so.
  protected override roomMade(): void {
    if (this.#away) super.roomMade();
  }

  protected override pump(): void {
    if (this.#away) {
      this.#tryAgain();
      return super.pump();
    }
    if (this.#asking) return;
    this.pumpIn(null);
    for (let first = this.line.first; first !== null; first = this.line.first) {
      const { claim } = first;
      // New limits may have made its cost more than there can ever be.
      if (this.meters.every(({ kind, allowance }) => claim[kind] <= allowance.capacity)) return void this.#ask();
      this.leave(first, false);
    }
  }

  /** Asks for those who are first in line, and lets them through, refuses them, or waits for as long as it is told. */
  async #ask(): Promise<void> {
    const asked: Waiter[] = [];
    for (let waiter = this.line.first; waiter !== null && asked.length < MOST_AT_ONCE; waiter = waiter.following)
      asked.push(waiter);
    const claims = asked.map(amountsOf);
    this.#asking = true;
    this.#askAgain = false;
    const answer = await this.#reach(granting(this.meters, claims), true, ({ granted, at }) => {
      if (granted > 0) void this.#reach(this.#returning(claims.slice(0, granted), at), false);
    });
    this.#asking = false;
    if (answer === null) return;
    const { granted, at } = answer;
    const unused = asked.splice(0, granted).filter((waiter) => !this.#letThrough(waiter, at));
    if (unused.length > 0) this.#tell(this.#returning(unused.map(amountsOf), at), true);
    if (this.line.first !== asked[0]) return this.pump();
    this.#refuseLate();
    if (this.line.first === asked[0] && !this.#askAgain) this.pumpIn(answer.waitMs);
    else this.pump();
  }

  /** False where nobody waits for it any more. */
  #letThrough(waiter: Waiter, at: number): boolean {
    if (!waiter.waiting) return false;
    waiter.claim.takenAt = this.runtime.clock.now();
    waiter.claim.sharedAt = at;
    this.granted++;
    this.leave(waiter, true);
    return true;
  }

  /** The first in line has to wait. Those behind wait longer, and who may not wait so long is refused. */
  #refuseLate(): void {
    const now = this.runtime.clock.now();
    const ahead: Record<RateKind, number> = { requests: 0, tokens: 0 };
    let following: Waiter | null;
    for (let waiter = this.line.first; waiter !== null; waiter = following) {
      following = waiter.following;
      waiter.late = true;
      const { claim } = waiter;
      let waitMs = this.closedUntil - now;
      for (const meter of this.meters)
        waitMs = Math.max(waitMs, meter.waitMs(claim[meter.kind], ahead[meter.kind], now));
      if (waitMs > SLACK_MS && now + waitMs > waiter.latest) this.leave(waiter, false);
      else for (const { kind } of this.meters) ahead[kind] += claim[kind];
    }
  }

  /** In a dry run a call has gone ahead; what would have become of it is only counted. */
  async #watch(claim: Claim, call: Call, now: number): Promise<void> {
    claim.takenAt = now;
    const untilDeadlineMs = call.deadline - now;
    const withinMs = Math.min(this.maxWaitMs, untilDeadlineMs);
    const answer = await this.#reach(granting(this.meters, [amountsOf({ claim })], withinMs), false);
    if (answer === null) return void this.grant(claim, now);
    const { granted, waitMs, at } = answer;
    if (granted === 0) return void this.refuse(whyNot(waitMs, this.maxWaitMs, untilDeadlineMs)!, claim, waitMs);
    claim.sharedAt = at;
    this.granted++;
    if (waitMs > SLACK_MS) this.hasWaited(waitMs);
  }

  #returning(claims: readonly Amounts[], takenAt: number): LimiterChange<LimiterView> {
    const sum = (kind: RateKind): number => claims.reduce((total, claim) => total + claim[kind], 0);
    return charging(this.meters, { requests: -sum("requests"), tokens: -sum("tokens") }, takenAt);
  }

  /** Changes the record, and waits for nothing. While the shared state is away it is not told, nor later. */
  #tell(change: LimiterChange<LimiterView>, makesRoom: boolean): void {
    if (this.#away) return;
    void this.#reach(change, false).then(() => {
      if (!makesRoom) return;
      this.#askAgain = true;
      this.pump();
    });
  }

  /** Looks whether the shared state is back, no more often than every few seconds, while calls go on here. */
  #tryAgain(): void {
    const now = this.runtime.clock.now();
    if (now < this.#tryAgainAt) return;
    this.#tryAgainAt = now + RETRY_MS;
    void this.#reach(granting(this.meters, []), false);
  }

  /** The answer, which the meters have taken over; null where there is none. */
  async #reach<V extends LimiterView>(
    change: LimiterChange<V>,
    awaited: boolean,
    late?: (view: V) => void,
  ): Promise<V | null> {
    const { clock, events } = this.runtime;
    const heard = this.#heard;
    let view: V;
    try {
      view = await this.#place.ask(change, awaited, late);
    } catch (error) {
      this.#tryAgainAt = clock.now() + RETRY_MS;
      if (this.#away) return null;
      this.#away = true;
      events.emit?.("limiter.detached", { policy: this.name, error });
      this.pump();
      // Who has no room here waits for it from now on, and no longer for answers.
      this.#refuseLate();
      this.pump();
      return null;
    }
    if (this.#away) this.#comeBack(view, heard);
    else this.#see(view, heard);
    return view;
  }

  /** No more is left for all from now on than is left here. What several let through meanwhile is not added up. */
  #comeBack(view: LimiterView, heard: number): void {
    const now = this.runtime.clock.now();
    const remaining = Object.fromEntries(this.meters.map(({ kind, allowance }) => [kind, allowance.available(now)]));
    const closedForMs = Math.max(0, this.closedUntil - now);
    this.#away = false;
    this.#see(view, heard);
    this.runtime.events.emit?.("limiter.attached", { policy: this.name });
    this.learn(remaining, closedForMs);
    this.pump();
  }

  /**
   * Takes over what the record says, unless something younger has been heard since it was asked for. (A place that was
   * emptied may begin with its time anew: what is asked for afterwards is younger, whatever it says.)
   */
  #see({ record, at }: LimiterView, heard: number): void {
    if (at < this.#seenAt && heard < this.#heard) return;
    this.#seenAt = at;
    this.#heard++;
    const now = this.runtime.clock.now();
    // The answer was on its way for a while: by its clock it is later now, so that nothing is there too early.
    const aheadMs = now - at;
    for (const { kind, allowance } of this.meters)
      allowance.load(record[kind] ?? { parts: [], intervalMs: 1 }, now, aheadMs);
    this.closedUntil = record.closedUntil === undefined ? -Infinity : record.closedUntil + aheadMs;
  }
}

function amountsOf({ claim: { requests, tokens } }: { claim: Claim }): Amounts {
  return { requests, tokens };
}
