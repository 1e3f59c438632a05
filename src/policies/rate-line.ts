import type { Call } from "../core/call.ts";
import type { Timer } from "../core/clock.ts";
import type { LimiterWhy } from "../core/policy-errors.ts";
import { Queue } from "../core/queue.ts";
import type { Runtime } from "../core/runtime.ts";
import { SLACK_MS } from "./rate-allowance.ts";
import { Claim, Refusal, Waiter } from "./rate-claim.ts";
import type { Meter, RateKind } from "./rate-limits.ts";

export type Entered = Claim | Refusal;

/** What the limiter says of its line. */
export interface LineSettings {
  name: string;
  maxWaitMs: number;
  dryRun: boolean;
}

/** What is there to take in each limit, and the calls that wait for more of it, first come, first served. */
export class RateLine {
  readonly name: string;
  readonly maxWaitMs: number;
  readonly dryRun: boolean;
  readonly runtime: Runtime;
  granted = 0;
  waited = 0;
  rejected = 0;
  waiting = 0;
  meters: readonly Meter[];
  protected readonly line: Queue<Waiter> = new Queue<Waiter>();
  /** Until then a server wants no calls. */
  protected closedUntil: number = -Infinity;
  /** How much longer than `maxWaitMs` a call may stay in line. */
  protected readonly graceMs: number = 0;
  /** Set while somebody waits: when the first in line has room. */
  #timer: Timer | null = null;

  constructor({ name, maxWaitMs, dryRun }: LineSettings, meters: readonly Meter[], runtime: Runtime) {
    this.name = name;
    this.maxWaitMs = maxWaitMs;
    this.dryRun = dryRun;
    this.meters = meters;
    this.runtime = runtime;
  }

  /** The claim once it is granted, or why it is not. */
  enter(call: Call, args: readonly unknown[], maxWaitMs: number = this.maxWaitMs): Entered | Promise<Entered> {
    // The timer of those in line may be late, and they come first.
    if (this.line.first !== null) this.pump();
    const now = this.runtime.clock.now();
    const claim = new Claim();
    const said = call.cost;
    // What follows is waitMs in the same loop, for speed.
    let waitMs = this.closedUntil - now;
    for (const meter of this.meters) {
      const cost = meter.costOf(said?.[meter.kind], args);
      claim[meter.kind] = cost;
      const own = meter.waitMs(cost, meter.queued, now);
      if (own > waitMs) waitMs = own;
    }
    if (waitMs <= SLACK_MS) return this.grant(claim, now);
    const why = whyNot(waitMs, maxWaitMs, call.deadline - now);
    if (why !== undefined) return this.refuse(why, claim, waitMs);
    if (!this.dryRun) return this.wait(claim, call, now);
    this.hasWaited(waitMs);
    return this.grant(claim, now);
  }

  /** Puts other limits in the place of the present ones. What has been taken stays taken. */
  update(meters: readonly Meter[]): void {
    const now = this.runtime.clock.now();
    const before = this.meters;
    this.meters = meters;
    for (const meter of meters) {
      const old = before.find(({ kind }) => kind === meter.kind)?.allowance;
      if (old !== undefined) meter.allowance.load(old.save(), now);
    }
    for (let waiter = this.line.first; waiter !== null; waiter = waiter.following)
      for (const meter of this.meters) meter.queued += waiter.claim[meter.kind];
    this.pump();
  }

  /** Takes over what a server says it has left, which is never raised: it may not have counted calls under way yet. */
  learn(remaining: Partial<Record<RateKind, number>>, closedForMs: number | undefined): void {
    const now = this.runtime.clock.now();
    if (closedForMs !== undefined) this.closedUntil = Math.max(this.closedUntil, now + closedForMs);
    for (const { kind, allowance } of this.meters)
      allowance.take(Math.max(0, allowance.available(now) - (remaining[kind] ?? Infinity)), now);
  }

  /** A call has cost more than it had taken, or less where `more` is below 0. */
  charge(kind: RateKind, more: number, claim: Claim): void {
    const allowance = this.meters.find((meter) => meter.kind === kind)?.allowance;
    if (more > 0) return allowance?.take(more, this.runtime.clock.now());
    allowance?.giveBack(-more, claim.takenAt);
    this.roomMade();
  }

  /** A call that was let through was not made. */
  takeBack(claim: Claim): void {
    this.granted--;
    for (const { kind, allowance } of this.meters) allowance.giveBack(claim[kind], claim.takenAt);
    this.roomMade();
  }

  protected roomMade(): void {
    if (this.waiting > 0) this.pump();
  }

  protected refuse(why: LimiterWhy, claim: Claim, waitMs: number): Entered {
    this.rejected++;
    const retryAfterMs = waitMs === Infinity ? undefined : waitMs;
    const { events } = this.runtime;
    events.emit?.("limiter.rejected", { policy: this.name, why, retryAfterMs, dryRun: this.dryRun });
    claim.counts = false;
    return this.dryRun ? claim : new Refusal(this.name, why, claim, this.meters, retryAfterMs);
  }

  protected hasWaited(waitMs: number): void {
    this.waited++;
    this.runtime.events.emit?.("limiter.waited", { policy: this.name, waitMs, dryRun: this.dryRun });
  }

  /** Puts the call in line. Where it is not `late` yet, it counts as one that waited when it is told to. */
  protected async wait(claim: Claim, call: Call, since: number, late = true): Promise<Entered> {
    const latest = Math.min(call.deadline, since + this.maxWaitMs);
    let waiter!: Waiter;
    // Whoever makes room only settles this promise: what follows runs in the async context of the waiting call.
    const granted = await new Promise<boolean>((resolve) => {
      waiter = new Waiter(claim, call.waitSignal, latest, late, resolve);
      this.#queue(waiter, call.deadline - since);
    });
    const now = this.runtime.clock.now();
    if (granted && !call.aborted && now < call.deadline) {
      if (waiter.late) this.hasWaited(now - since);
      return claim;
    }
    // An abort, or the end of the time, may also come after the grant and before this line.
    if (granted) this.takeBack(claim);
    if (call.aborted) throw call.reason;
    const waitMs = this.waitMs(claim, now, true);
    const left = Math.max(0, since + this.maxWaitMs - now);
    return this.refuse(whyNot(waitMs, left, call.deadline - now) ?? "wait", claim, waitMs);
  }

  /** How long until there is room in every limit, for the calls in line first where `queued` says so. */
  protected waitMs(claim: Claim, now: number, queued: boolean): number {
    let waitMs = Math.max(0, this.closedUntil - now);
    for (const meter of this.meters)
      waitMs = Math.max(waitMs, meter.waitMs(claim[meter.kind], queued ? meter.queued : 0, now));
    return waitMs;
  }

  /** Lets through who has room, in order, and sets the timer for the next. */
  protected pump(): void {
    this.pumpIn(null);
    const now = this.runtime.clock.now();
    for (let waiter = this.line.first; waiter !== null; waiter = this.line.first) {
      const waitMs = this.waitMs(waiter.claim, now, false);
      if (waitMs > SLACK_MS && waitMs !== Infinity) return this.pumpIn(waitMs);
      // New limits may have made its cost more than there can ever be.
      if (waitMs !== Infinity) this.grant(waiter.claim, now);
      this.leave(waiter, waitMs !== Infinity);
    }
  }

  /** Sets the one timer of the line, or ends it. */
  protected pumpIn(delayMs: number | null): void {
    this.#timer?.cancel();
    this.#timer = delayMs === null ? null : this.runtime.clock.timer(delayMs, () => this.pump());
  }

  protected leave(waiter: Waiter, granted: boolean): void {
    this.line.remove(waiter);
    this.waiting--;
    // Sums of fractions drift; an empty line is empty.
    for (const meter of this.meters) meter.queued = this.waiting === 0 ? 0 : meter.queued - waiter.claim[meter.kind];
    waiter.wake(granted);
  }

  protected grant(claim: Claim, now: number): Claim {
    claim.takenAt = now;
    for (const meter of this.meters) meter.allowance.take(claim[meter.kind], now);
    this.granted++;
    return claim;
  }

  #queue(waiter: Waiter, untilDeadlineMs: number): void {
    const isFirst = this.line.first === null;
    this.line.append(waiter);
    this.waiting++;
    for (const meter of this.meters) meter.queued += waiter.claim[meter.kind];
    const giveUp = (): void => {
      const wasFirst = this.line.first === waiter;
      this.leave(waiter, false);
      if (wasFirst) this.pump();
    };
    const timeUp = (): void => {
      // Its turn may come at this very instant.
      this.pump();
      if (waiter.waiting) giveUp();
    };
    const withinMs = Math.min(untilDeadlineMs, this.maxWaitMs + this.graceMs);
    waiter.endsBy(giveUp, withinMs === Infinity ? null : this.runtime.clock.timer(withinMs, timeUp));
    if (isFirst) this.pump();
  }
}

/** Why a call is refused that would have to wait so long; undefined where it may wait. */
export function whyNot(waitMs: number, maxWaitMs: number, untilDeadlineMs: number): LimiterWhy | undefined {
  if (waitMs === Infinity) return "capacity";
  if (untilDeadlineMs > 0 && waitMs > maxWaitMs) return "wait";
  return waitMs >= untilDeadlineMs ? "deadline" : undefined;
}
