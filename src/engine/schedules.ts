import { ConfigError, HoldfastError, NotFoundError } from "../core/errors.ts";
import {
  aBoolean,
  anything,
  anId,
  checkId,
  checkOptions,
  durationMs,
  oneOf,
  type Rules,
  wholeNumber,
} from "../core/options.ts";
import { uniqueId } from "../core/random.ts";
import type { Runtime } from "../core/runtime.ts";
import type { SharedState } from "../core/shared-state.ts";
import { cronTimes, type DueTimes, everyTimes } from "./due-times.ts";
import type { Runnable } from "./runnable.ts";
import {
  FOREVER_MS,
  type Missed,
  paused,
  scheduled,
  type ScheduleRecord,
  type ScheduleTerms,
} from "./schedule-record.ts";
import { type DueTime, type ScheduledRuns, type ScheduleSettings, ScheduleWatch } from "./schedule-watch.ts";

export interface ScheduleOptions<In = never> {
  /**
   * When to start a run: five fields (minute, hour, day of the month, month, day of the week), six with the second
   * before them, or a name such as `@daily`.
   */
  cron?: string | undefined;
  /** The time zone that `cron` is read in, such as `Europe/Berlin`. @default "UTC" */
  timeZone?: string | undefined;
  /** Instead of `cron`: every so many milliseconds, the first time that long after the schedule was first set. */
  everyMs?: number | undefined;
  /** What to run. */
  workflow: Runnable<In>;
  /** Its input, or a function that makes it of the due time. */
  input: In | ((due: DueTime) => In);
  /**
   * What becomes of due times that nobody was there for: `skip` passes them over, `run-once` makes up for them with one
   * run, that of the newest, and `run-all` starts each of them, in order, up to the newest 1000. @default "skip"
   */
  missed?: Missed | undefined;
  /** How late a due time may be taken up without having been missed, as long as no other has come due. @default 10000 */
  graceMs?: number | undefined;
  /** Whether a run is started while the one before it is still under way: `allow` or `skip`. @default "allow" */
  overlap?: "allow" | "skip" | undefined;
  /** Lets the process end although the schedule waits for its next due time. @default false */
  unref?: boolean | undefined;
}

/** A schedule as it is watched in this process. */
export interface Schedule {
  readonly id: string;
  /** The next due time in wall-clock milliseconds, as far as it is known here. */
  readonly nextAt: number | undefined;
  /** Ends watching here. The schedule stays, and other processes go on with it. */
  stop(): Promise<void>;
}

/** A schedule as it is stored. Instants are wall-clock milliseconds. */
export interface ScheduleRow extends ScheduleTerms {
  id: string;
  paused: boolean;
  /** The first due time that is not done with; past where nobody watches. Undefined where there is none. */
  nextAt: number | undefined;
  /** The due time of the run that was started last. */
  lastAt: number | undefined;
}

const RULES: Rules<ScheduleOptions> = {
  cron: anId,
  timeZone: anId,
  everyMs: wholeNumber(1),
  workflow: anything,
  input: anything,
  missed: oneOf("skip", "run-once", "run-all"),
  graceMs: durationMs,
  overlap: oneOf("allow", "skip"),
  unref: aBoolean,
};

/** So that the ids of its runs, which end in a date, are not too long. */
const LONGEST_ID = 480;

/** Where the ids of all schedules lie. */
const INDEX = "schedules";

/**
 * The schedules of an engine. What is durable of one lies in shared state, next to the journals: its terms, and until
 * when its due times are done with. Each process that sets it waits for its due times, and they settle in that place
 * who takes one up. That it starts a single run is due to the id of the run, not to the place: who has taken a due time
 * up and dies is followed by another, who may start it a second time, under the same id.
 */
export class Schedules {
  readonly #settings: ScheduleSettings;
  readonly #watches = new Map<string, ScheduleWatch>();
  #closed = false;

  constructor(port: { runtime: Runtime; state: SharedState; runs: ScheduledRuns }) {
    this.#settings = { ...port, by: uniqueId() };
  }

  /** Sets a schedule, new or in the place of the one that has its id, and watches it here. Resolves when it is stored. */
  async schedule<In>(id: string, options: ScheduleOptions<In>): Promise<Schedule> {
    const owner = `schedule "${checkId("the id of a schedule", id)}"`;
    if (id.length > LONGEST_ID)
      throw new ConfigError(`The id of a schedule must have at most ${LONGEST_ID} characters, got ${id.length}.`);
    const checked = checkOptions<ScheduleOptions<In>>(owner, options, RULES);
    const terms = termsOf(owner, checked);
    this.#settings.runs.know(checked.workflow);
    const timesOf = await timesFor(owner, terms);
    const { state, runtime } = this.#settings;
    const key = keyOf(id);
    // Listed first: an id without a record is not shown, but a record without an id could not be found.
    await this.#index((ids) => (ids.includes(id) ? ids : [...ids, id]));
    const record = await state.update(key, (last: ScheduleRecord | undefined) => {
      const next = scheduled(last, terms, runtime.clock.wallNow());
      return { next, keepMs: FOREVER_MS, result: next };
    });
    if (this.#closed)
      throw new HoldfastError("ENGINE_CLOSED", "The engine is closed. Create another one on the same store.");
    const { workflow, input, unref = false } = checked;
    const watch = new ScheduleWatch({ id, key, terms, workflow, input, unref, timesOf }, this.#settings, record);
    void this.#watches.get(id)?.stop();
    this.#watches.set(id, watch);
    watch.start();
    return {
      id,
      get nextAt() {
        return watch.nextAt;
      },
      stop: () => watch.stop(),
    };
  }

  /** All schedules that are stored, also those that other processes have set. */
  async list(): Promise<ScheduleRow[]> {
    const ids = await this.#index((last) => last);
    const rows: ScheduleRow[] = [];
    for (const id of ids) {
      const record = await this.#change(id, (last) => last);
      if (record === undefined) continue;
      const { terms, handled, started } = record;
      const times = (await timesFor(`schedule "${id}"`, terms))(record);
      rows.push({ id, ...terms, paused: record.paused, nextAt: times.next(handled), lastAt: started ?? undefined });
    }
    return rows;
  }

  /** Starts nothing more until `resume`, in any process. */
  pause(id: string): Promise<void> {
    return this.#pause(id, true);
  }

  /** Goes on with the due times that are to come. What was due in between has not been missed. */
  resume(id: string): Promise<void> {
    return this.#pause(id, false);
  }

  /** Forgets a schedule, in all processes; its runs stay. Gives whether there was one. */
  async remove(id: string): Promise<boolean> {
    const watch = this.#watches.get(id);
    this.#watches.delete(id);
    void watch?.stop();
    await this.#index((ids) => ids.filter((other) => other !== id));
    return this.#settings.state.update(keyOf(id), (last) => ({
      next: undefined,
      keepMs: 0,
      result: last !== undefined,
    }));
  }

  /** Takes nothing up any more. Resolves when the starts that are under way have come to something. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#watches.values()].map((watch) => watch.stop()));
  }

  async #pause(id: string, pause: boolean): Promise<void> {
    const wall = this.#settings.runtime.clock.wallNow();
    const record = await this.#change(id, (last) => last && paused(last, pause, wall));
    if (record === undefined) throw new NotFoundError(`There is no schedule "${id}".`);
  }

  /** Puts another record in the place of the last, and gives it. */
  #change(
    id: string,
    change: (last: ScheduleRecord | undefined) => ScheduleRecord | undefined,
  ): Promise<ScheduleRecord | undefined> {
    return this.#settings.state.update(keyOf(id), (last: ScheduleRecord | undefined) => {
      const next = change(last);
      return { next, keepMs: FOREVER_MS, result: next };
    });
  }

  #index(change: (ids: string[]) => string[]): Promise<string[]> {
    return this.#settings.state.update(INDEX, (last: string[] | undefined) => {
      const next = change(last ?? []);
      return { next, keepMs: FOREVER_MS, result: next };
    });
  }
}

function keyOf(id: string): string {
  return `schedule:${id}`;
}

function termsOf(owner: string, options: Omit<ScheduleOptions, "input">): ScheduleTerms {
  const {
    cron = null,
    everyMs = null,
    timeZone,
    workflow,
    missed = "skip",
    graceMs = 10_000,
    overlap = "allow",
  } = options;
  if ((cron === null) === (everyMs === null))
    throw new ConfigError(`${owner} needs one of cron and everyMs, got ${cron === null ? "neither" : "both"}.`);
  if (timeZone !== undefined && cron === null)
    throw new ConfigError(`${owner} got a timeZone, which only cron has a use for.`);
  if (typeof workflow?.definition?.id !== "string")
    throw new ConfigError(
      `${owner}.workflow must be a workflow, such as new Workflow({ id: "report" }), got something else.`,
    );
  const zone = cron === null ? null : (timeZone ?? "UTC");
  return { workflowId: workflow.definition.id, cron, timeZone: zone, everyMs, missed, graceMs, overlap };
}

/** How to get at the due times of a record with these terms. */
async function timesFor(owner: string, terms: ScheduleTerms): Promise<(record: ScheduleRecord) => DueTimes> {
  const { cron, timeZone, everyMs } = terms;
  if (everyMs !== null) return ({ anchor }) => everyTimes(anchor, everyMs);
  const times = await cronTimes(owner, cron!, timeZone!);
  return () => times;
}
