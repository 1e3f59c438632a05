import { dateFrom, type Timer } from "../core/clock.ts";
import { ConfigError, UnserializableValueError, WorkflowDefinitionError } from "../core/errors.ts";
import type { Runtime } from "../core/runtime.ts";
import { SchemaError } from "../core/schema.ts";
import type { SharedState } from "../core/shared-state.ts";
import { isEnded, type RunRow } from "../core/store.ts";
import { backoffDelay } from "../policies/backoff.ts";
import type { DueTimes } from "./due-times.ts";
import type { Runnable } from "./runnable.ts";
import {
  ABSENT_MS,
  FOREVER_MS,
  type Look,
  look,
  type Looked,
  type ScheduleRecord,
  type ScheduleTerms,
} from "./schedule-record.ts";

/** What schedules need of an engine. */
export interface ScheduledRuns {
  /** Checks a workflow, and knows it from now on: its runs can be recovered. */
  know(workflow: Runnable): void;
  /** Resolves once the start of the run is stored; whether the run ends well is nobody's business here. */
  start(workflow: Runnable, input: unknown, runId: string): Promise<unknown>;
  /** Where a run stands. */
  get(runId: string): Promise<RunRow | undefined>;
}

/** A due time, as the function sees it that makes the input of a run. */
export interface DueTime {
  scheduleId: string;
  /** The due time in wall-clock milliseconds: the same, however late the run is started. */
  scheduledAt: number;
}

/** One schedule, with what is known of it in this process only. */
export interface Watched {
  readonly id: string;
  readonly key: string;
  readonly terms: ScheduleTerms;
  readonly workflow: Runnable;
  /** The input, or a function that makes it. */
  readonly input: unknown;
  readonly unref: boolean;
  /** The due times of a record. */
  readonly timesOf: (record: ScheduleRecord) => DueTimes;
}

/** What all schedules of an engine have in common. */
export interface ScheduleSettings {
  readonly runtime: Runtime;
  readonly state: SharedState;
  readonly runs: ScheduledRuns;
  /** Who takes due times up here. */
  readonly by: string;
}

/** The wall clock may jump while a timer runs, so no timer is trusted for longer. */
const LONGEST_NAP_MS = 60_000;

const BACKOFF = { initialDelayMs: 1_000, maxDelayMs: 30_000, jitter: "equal" } as const;

/** The id of the run that a due time starts: the same in every process, so that it can be started only one time. */
export function runIdOf(scheduleId: string, due: number): string {
  return `${scheduleId}@${dateFrom(due).toISOString()}`;
}

/** Waits for the due times of one schedule, and starts their runs. */
export class ScheduleWatch {
  readonly #watched: Watched;
  readonly #settings: ScheduleSettings;
  #timer: Timer | null = null;
  #round: Promise<void> | undefined;
  #stopped = false;
  #failures = 0;
  /** Whether a due time has been taken up that is not known to be done with. */
  #given = false;
  #done: Look["done"] = null;
  /** When the question was first put that the place has not answered yet. */
  #askedAt: number | null = null;
  #nextAt: number | undefined;

  constructor(watched: Watched, settings: ScheduleSettings, record: ScheduleRecord) {
    this.#watched = watched;
    this.#settings = settings;
    this.#nextAt = watched.timesOf(record).next(record.handled);
  }

  /** The next due time, as far as it is known here. */
  get nextAt(): number | undefined {
    return this.#nextAt;
  }

  /** Begins to watch. */
  start(): void {
    this.#round = this.#goRound();
  }

  /** Takes nothing up any more. Resolves when the start that is under way has come to something. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#round;
    // What was taken up and not started goes to the others at once, instead of when its time is over.
    if (this.#given) await this.#look(false).catch(() => {});
  }

  async #goRound(): Promise<void> {
    try {
      await this.#takeUpAll();
    } catch (error) {
      if (this.#stopped) return;
      const { runtime } = this.#settings;
      const retryDelayMs = Math.ceil(backoffDelay(BACKOFF, ++this.#failures, 0, runtime.random));
      this.#failed(this.#nextAt, error, retryDelayMs);
      this.#nap(retryDelayMs);
    }
  }

  /** Starts whatever is due, one after the other, and goes to sleep. */
  async #takeUpAll(): Promise<void> {
    for (let again = false; ; again = true) {
      const looked = await this.#look(again);
      if (looked === undefined) return this.#nap(ABSENT_MS);
      const { passedOver, next } = looked;
      if (passedOver !== null) this.#passedOver({ ...passedOver, why: "late" });
      if (this.#stopped) return;
      if (next.kind === "wait") return this.#nap(next.ms);
      this.#nextAt = next.kind === "start" ? next.due : next.until;
      if (next.kind === "rest") {
        this.#failures = 0;
        return this.#rest();
      }
      this.#done = { due: next.due, started: await this.#start(next.due, next.previous) };
    }
  }

  async #look(again: boolean): Promise<Looked | undefined> {
    const { state, by, runtime } = this.#settings;
    const { key, terms, timesOf } = this.#watched;
    const done = this.#done;
    const wall = runtime.clock.wallNow();
    this.#askedAt ??= wall;
    const looking: Look = { terms, by, wall, since: this.#askedAt, done, open: !this.#stopped, again };
    const looked = await state.update(key, (last: ScheduleRecord | undefined, now) => {
      const result = last === undefined ? undefined : look(last, timesOf(last), looking, now);
      return { next: result?.record, keepMs: FOREVER_MS, result };
    });
    this.#askedAt = null;
    this.#done = null;
    this.#given = looked?.next.kind === "start";
    return looked;
  }

  /** Starts the run of a due time. Gives whether there is one now; throws where it must be tried again. */
  async #start(due: number, previous: number | null): Promise<boolean> {
    const { runtime, runs } = this.#settings;
    const { id, terms, workflow, input } = this.#watched;
    if (terms.overlap === "skip" && previous !== null && (await this.#isUnderWay(previous))) {
      this.#passedOver({ from: due, to: due, count: 1, why: "overlap" });
      return false;
    }
    const runId = runIdOf(id, due);
    let value: unknown;
    try {
      value =
        typeof input === "function"
          ? (input as (due: DueTime) => unknown)({ scheduleId: id, scheduledAt: due })
          : input;
    } catch (error) {
      this.#failed(due, error, undefined);
      return false;
    }
    try {
      await runs.start(workflow, value, runId);
    } catch (error) {
      if (isHopeless(error)) {
        this.#failed(due, error, undefined);
        return false;
      }
      if (!(await this.#isThere(runId))) throw error;
    }
    runtime.events.emit?.("schedule.started", {
      scheduleId: id,
      runId,
      workflowId: terms.workflowId,
      scheduledAt: due,
    });
    return true;
  }

  async #isUnderWay(due: number): Promise<boolean> {
    const row = await this.#settings.runs.get(runIdOf(this.#watched.id, due));
    return row !== undefined && !isEnded(row.status);
  }

  /** Whether somebody has started a run already: one who died, or who was too slow and still went on. */
  async #isThere(runId: string): Promise<boolean> {
    const row = await this.#settings.runs.get(runId).catch(() => undefined);
    return row !== undefined && row.version > 0;
  }

  #rest(): void {
    if (this.#nextAt === undefined) return;
    const left = this.#nextAt - this.#settings.runtime.clock.wallNow();
    this.#sleep(Math.min(left, LONGEST_NAP_MS), () => (left <= LONGEST_NAP_MS ? this.start() : this.#rest()));
  }

  #nap(ms: number): void {
    this.#sleep(ms, () => this.start());
  }

  #sleep(ms: number, then: () => void): void {
    if (this.#stopped) return;
    this.#timer?.cancel();
    this.#timer = this.#settings.runtime.clock.timer(ms, then);
    if (this.#watched.unref) this.#timer.unref();
  }

  #passedOver(fields: { from: number; to: number; count: number | undefined; why: "late" | "overlap" }): void {
    this.#settings.runtime.events.emit?.("schedule.missed", { scheduleId: this.#watched.id, ...fields });
  }

  #failed(scheduledAt: number | undefined, error: unknown, retryDelayMs: number | undefined): void {
    const { events } = this.#settings.runtime;
    events.emit?.("schedule.failed", { scheduleId: this.#watched.id, scheduledAt, error, retryDelayMs });
  }
}

/** Whether an error says that a run cannot be started with this workflow and this input, today or tomorrow. */
function isHopeless(error: unknown): boolean {
  return [ConfigError, SchemaError, UnserializableValueError, WorkflowDefinitionError].some(
    (hopeless) => error instanceof hopeless,
  );
}
