import { followAbort, unfollowAbort } from "../core/aborts.ts";
import type { Call } from "../core/call.ts";
import type { Clock } from "../core/clock.ts";
import { StoreUnavailableError } from "../core/errors.ts";
import type { Runtime } from "../core/runtime.ts";
import { ANSWER_MS, type SharedChange, type SharedState } from "../core/shared-state.ts";
import type { BreakerSettings } from "./breaker-options.ts";
import type { BreakerState, FleetStanding } from "./breaker-state.ts";
import { CallBatch } from "./call-batch.ts";
import {
  type BreakerRecord,
  counted,
  type FleetView,
  leased,
  ordered,
  type ProbeEnd,
  settled,
  stateIn,
} from "./shared-breaker.ts";

/** What the fleet needs of the breaker that is its member in this process. */
export interface Member {
  readonly state: BreakerState;
  /** A permit for a call that has asked for the place of a probe in vain. Others may have come before it meanwhile. */
  enter(): number;
  /** The fleet has come into another state, after it has reopened so many times. */
  follow(state: BreakerState, reopened: number): void;
  /** A number for a call, as no other has. */
  newPermit(): number;
  /** Opens for itself alone. */
  open(failures: number): void;
  /** A probe has ended of which nobody else could be told. */
  endProbe(permit: number, end: ProbeEnd): void;
}

/** Whether the member decides about a call by itself, must ask for the place of a probe first, or has to refuse it. */
export type Verdict = "own" | "ask" | "refuse";

/** While the shared state is away it is tried again no more often than this. */
const RETRY_MS = 3_000;

/** After this time an update that was never answered does not stand in the way of another. */
const LOST_MS = 30_000;

interface Lease {
  readonly id: string;
  readonly since: number;
  /** What came of the probe, once that is on its way to the record. */
  end: ProbeEnd | null;
}

type Order = "closed" | "isolated" | "disabled";

/** A change on its way to the shared state. */
interface Sync {
  readonly since: number;
  readonly order: Order | null;
  late: boolean;
}

/**
 * The side of one process of a breaker that several share. What the process sees of the shared record it keeps as the
 * breaker's own state, so that calls are decided here; what it counts goes to the record in the background. Only a
 * probe waits for an answer. While the shared state is away the breaker is an ordinary one.
 */
export class BreakerFleet {
  readonly #name: string;
  readonly #settings: BreakerSettings;
  readonly #place: SharedState;
  readonly #key: string;
  readonly #runtime: Runtime;
  readonly #member: Member;
  readonly #instance: string;
  #link: "new" | "attached" | "detached" = "new";
  #view: FleetView | null = null;
  /** How many answers have been taken in. */
  #heard = 0;
  /** The generation whose state the member has taken on; null where it has to take on whatever comes. */
  #followed: number | null = null;
  /** While that is null: since when the member has counted, where that is not since its first report. */
  #since: number | null = null;
  #sync: Sync | null = null;
  #dueAt = -Infinity;
  /** An order that has not reached the record yet. Until it has, nothing else is followed. */
  #order: Order | null = null;
  #batch = new CallBatch();
  /** The places of probes that calls of this process hold, by permit. */
  readonly #leases = new Map<number, Lease>();
  readonly #reports = new Map<number, Promise<void>>();
  #asked = 0;
  #asking = 0;
  #askAgainAt = -Infinity;
  #saidAlone = false;

  constructor(name: string, settings: BreakerSettings, place: SharedState, runtime: Runtime, member: Member) {
    this.#name = name;
    this.#settings = settings;
    this.#place = place;
    this.#key = `breaker:${name}`;
    this.#runtime = runtime;
    this.#member = member;
    this.#instance = Math.floor(runtime.random() * 2 ** 52).toString(36);
  }

  /** At the beginning of each call: looks at the record again where that is due, and says who decides. */
  touch(): Verdict {
    const now = this.#runtime.clock.recent();
    if (this.#sync !== null) this.#watch(this.#sync, now);
    if (this.#sync === null && now >= this.#dueAt) this.#send(now);
    const { state } = this.#member;
    const fleet = this.#view?.kind;
    if (this.#link !== "attached" || this.#order !== null || (fleet !== "open" && fleet !== "half_open")) return "own";
    if (state.kind === "open" && now < state.until) return "own";
    for (const [permit, { since }] of this.#leases) {
      if (now - since >= this.#settings.probeTimeoutMs) this.#leases.delete(permit);
    }
    const full = this.#asking + this.#leases.size >= this.#settings.halfOpenMaxConcurrent;
    return full || now < this.#askAgainAt ? "refuse" : "ask";
  }

  /** A call of the closed state has ended. Failures are reported at once, or as soon as the last report is answered. */
  count(failure: boolean, slow: boolean): void {
    if (this.#link === "detached") return;
    this.#batch.add(this.#settings, failure, slow, this.#runtime.clock.recent());
    // A success ends the failures that are known, or that an answer on its way may tell of; not those of tomorrow.
    if (!failure && (this.#sync !== null || (this.#view?.failures ?? 0) > 0)) this.#batch.endsRow = true;
    if (this.#urgent && this.#sync === null) this.#send(this.#runtime.clock.now());
  }

  /**
   * Runs a call with the permit of a probe, or with what the member decides where there is none, and waits until what
   * came of the probe is in the record, so that whoever called it finds it there.
   */
  async probe<T>(call: Call, run: (permit: number) => Promise<T>): Promise<T> {
    const permit = (await this.#ask(call)) ?? this.#member.enter();
    try {
      return await run(permit);
    } finally {
      await this.#reported(permit, call);
    }
  }

  /**
   * Asks for the place of a probe, for no longer than a second. Gives its permit; null where it has none, and the
   * member may decide by what has been learnt. Rejects when the call is aborted meanwhile.
   */
  async #ask(call: Call): Promise<number | null> {
    const { clock } = this.#runtime;
    const id = `${this.#instance}.${++this.#asked}`;
    let permit: number | null = null;
    let waiting = true;
    this.#asking++;
    const heard = this.#heard;
    const answer = this.#update(leased(this.#settings, id))
      .then(({ view, granted }) => {
        this.#learn(view, heard);
        if (!granted) this.#askAgainAt = clock.now() + this.#settings.syncMs;
        else if (waiting && this.#followed === view.generation) {
          // It may have opened for itself alone, and try itself out with the others now.
          if (this.#member.state.kind !== "half_open") this.#follow(view);
          permit = this.#member.newPermit();
          this.#leases.set(permit, { id, since: clock.now(), end: null });
        } else this.#giveBack(id);
      })
      .catch((error: unknown) => this.#away(error));
    const late = await tooLate(clock, answer, call);
    waiting = false;
    this.#asking--;
    if (call.aborted) {
      if (permit !== null) this.end(permit, "neutral");
      throw call.reason;
    }
    if (late) this.#away(noAnswer());
    return permit;
  }

  /** The call with `permit` has ended. False where it was no probe of the fleet's. */
  end(permit: number, end: ProbeEnd): boolean {
    const lease = this.#leases.get(permit);
    if (lease === undefined) return false;
    lease.end = end;
    const heard = this.#heard;
    const probe = { instance: this.#instance, lease: lease.id, end };
    const report = this.#update(settled(this.#settings, probe, this.#runtime.random()))
      .then(({ view, alone }) => {
        const ours = this.#leases.delete(permit);
        this.#askAgainAt = -Infinity;
        this.#learn(view, heard);
        if (alone && ours) this.#member.open(view.failures + 1);
        this.#sayAlone();
      })
      .catch((error: unknown) => this.#away(error))
      .finally(() => this.#reports.delete(permit));
    this.#reports.set(permit, report);
    return true;
  }

  /** Waits until what came of a probe is in the record; a second at most. */
  async #reported(permit: number, call: Call): Promise<void> {
    const report = this.#reports.get(permit);
    if (report === undefined) return;
    if (await tooLate(this.#runtime.clock, report, call)) this.#away(noAnswer());
  }

  /** Puts the whole fleet into a state by hand; as soon as the shared state answers, where it is away. */
  command(order: Order): void {
    const now = this.#runtime.clock.now();
    this.#order = order;
    this.#followed = null;
    this.#countAnew(now);
    if (this.#sync === null) this.#send(now);
  }

  /** What the fleet has counted, where that is what the breaker goes by. */
  get counts(): FleetView | null {
    return this.#link === "attached" && this.#view?.kind === "closed" && this.#member.state.kind === "closed"
      ? this.#view
      : null;
  }

  get standing(): FleetStanding {
    return { attached: this.#link === "attached", alone: this.#alone, fleet: this.#view?.kind ?? null };
  }

  get #alone(): boolean {
    if (this.#link !== "attached") return false;
    const own = this.#member.state.kind;
    const fleet = this.#view?.kind;
    return fleet === "closed" ? own === "open" || own === "half_open" : fleet === "half_open" && own === "open";
  }

  /** Whether what has been counted should not wait for the next look at the record. */
  get #urgent(): boolean {
    if (this.#batch.bad) return true;
    return this.#batch.endsRow && this.#settings.window.kind === "consecutive" && (this.#view?.failures ?? 0) > 0;
  }

  async #update<R>(
    change: (last: BreakerRecord | undefined, now: number) => SharedChange<BreakerRecord, R>,
  ): Promise<R> {
    return this.#place.update(this.#key, change);
  }

  #send(now: number): void {
    const order = this.#order;
    const heard = this.#heard;
    const sync: Sync = { since: now, order, late: false };
    this.#sync = sync;
    this.#dueAt = now + (this.#link === "detached" ? RETRY_MS : this.#settings.syncMs);
    const change = order === null ? this.#report(now) : ordered(this.#settings, order);
    void this.#update(change)
      .then((view) => {
        const obeyed = order !== null && this.#order === order;
        if (obeyed) this.#order = null;
        this.#learn(view, heard, obeyed);
        this.#sayAlone();
      })
      .catch((error: unknown) => this.#away(error))
      .finally(() => {
        if (this.#sync !== sync) return;
        this.#sync = null;
        if (this.#link === "attached" && (this.#order !== null || this.#urgent)) this.#send(this.#runtime.clock.now());
      });
  }

  /** What has been counted since the last report, on its way. Where no answer comes it is not told again. */
  #report(now: number): ReturnType<typeof counted> {
    const batch = this.#batch.report(this.#instance, this.#followed, now - (this.#since ?? now), now);
    this.#batch = new CallBatch();
    return counted(this.#settings, batch, this.#runtime.random());
  }

  #watch(sync: Sync, now: number): void {
    const waited = now - sync.since;
    if (waited >= LOST_MS) this.#sync = null;
    if (waited < ANSWER_MS || sync.late) return;
    sync.late = true;
    this.#away(noAnswer());
  }

  /**
   * Takes on what the record says, unless something younger has been heard since it was asked for. (A place that was
   * emptied may begin with its time anew: what is asked for afterwards is younger, whatever it says.) `own` is what was
   * ordered here.
   */
  #learn(view: FleetView, heard: number, own = false): void {
    const last = this.#view;
    this.#attach();
    const older = last !== null && (view.at < last.at || (view.at === last.at && view.generation < last.generation));
    if (older && heard < this.#heard) return;
    this.#view = view;
    this.#heard++;
    if (view.failures === 0) this.#batch.endsRow = false;
    if (this.#order !== null) return;
    const { state } = this.#member;
    if (view.generation === this.#followed) {
      if (state.kind === "half_open" && view.kind === "half_open") state.successes = view.successes;
      return;
    }
    this.#followed = view.generation;
    const closedAsBefore = view.kind === "closed" && view.same && (last === null || last.kind === "closed");
    if (own || closedAsBefore) return;
    this.#leases.clear();
    this.#batch = new CallBatch();
    this.#askAgainAt = -Infinity;
    this.#follow(view);
  }

  #follow(view: FleetView): void {
    this.#member.follow(stateIn(view, this.#runtime.clock.now()), view.reopened);
  }

  #attach(): void {
    const before = this.#link;
    this.#link = "attached";
    if (before !== "detached") return;
    this.#dueAt = this.#runtime.clock.now() + this.#settings.syncMs;
    this.#runtime.events.emit?.("breaker.attached", { policy: this.#name });
  }

  /** The shared state is away: the breaker goes on by itself, with the probes that it has under way. */
  #away(error: unknown): void {
    if (this.#link === "detached") return;
    const now = this.#runtime.clock.now();
    const leases = [...this.#leases];
    this.#link = "detached";
    this.#dueAt = now + RETRY_MS;
    // A closed fleet is known again when it comes back; whatever else it was, it is looked at afresh.
    if (this.#view?.kind !== "closed") this.#followed = null;
    this.#countAnew(now);
    this.#runtime.events.emit?.("breaker.detached", { policy: this.#name, error });
    const { state } = this.#member;
    if (state.kind === "half_open") for (const [permit, { since }] of leases) state.probes.set(permit, since);
    for (const [permit, { end }] of leases) if (end !== null) this.#member.endProbe(permit, end);
  }

  #countAnew(now: number): void {
    this.#batch = new CallBatch();
    this.#leases.clear();
    this.#since = now;
  }

  /** Gives back a place that came too late. Where that fails, it comes back when its lease ends. */
  #giveBack(lease: string): void {
    const probe = { instance: this.#instance, lease, end: "neutral" as const };
    this.#update(settled(this.#settings, probe, 0)).catch(() => {});
  }

  #sayAlone(): void {
    if (!this.#alone) this.#saidAlone = false;
    else if (!this.#saidAlone && !this.#batch.bad) {
      this.#saidAlone = true;
      const { state } = this.#member;
      const failures = "failures" in state ? state.failures : 0;
      this.#runtime.events.emit?.("breaker.alone", { policy: this.#name, failures });
    }
  }
}

function noAnswer(): StoreUnavailableError {
  return new StoreUnavailableError(`The shared state did not answer within ${ANSWER_MS} ms.`);
}

/**
 * Waits for an answer, which never rejects, while the call may wait, and no longer than a second. Only where that has
 * passed is it too late.
 */
function tooLate(clock: Clock, answer: Promise<void>, call: Call): Promise<boolean> {
  const ms = Math.min(ANSWER_MS, call.deadline - clock.now());
  return new Promise((resolve) => {
    const { waitSignal } = call;
    const end = (late: boolean): void => {
      timer.cancel();
      unfollowAbort(waitSignal, onAbort);
      resolve(late);
    };
    const onAbort = (): void => end(false);
    const timer = clock.timer(Math.max(0, ms), () => end(ms >= ANSWER_MS));
    followAbort(waitSignal, onAbort);
    if (call.aborted) onAbort();
    void answer.then(() => end(false));
  });
}
