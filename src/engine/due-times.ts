import { dateFrom } from "../core/clock.ts";
import { ConfigError } from "../core/errors.ts";
import { show } from "../core/options.ts";

/** When something is due: a rising row of instants in wall-clock milliseconds, which has no gaps to remember. */
export interface DueTimes {
  /** The first due time after an instant; undefined where there is none. */
  next(after: number): number | undefined;
  /** The newest due times after one instant and until another, which is included, in order: at most so many. */
  newest(after: number, until: number, most: number): number[];
}

/** The last instant that a date can name. A due time beyond it would have no run id. */
const LAST_INSTANT = 8.64e15;

/** Every so many milliseconds, counted from an anchor. The anchor itself is not due. */
export function everyTimes(anchor: number, everyMs: number): DueTimes {
  const after = (instant: number): number => Math.max(1, Math.floor((instant - anchor) / everyMs) + 1);
  return {
    next(instant) {
      const due = anchor + after(instant) * everyMs;
      return due > LAST_INSTANT ? undefined : due;
    },
    newest(from, until, most) {
      const last = Math.floor((until - anchor) / everyMs);
      const length = Math.max(0, Math.min(most, last - after(from) + 1));
      return Array.from({ length }, (_, index) => anchor + (last - length + 1 + index) * everyMs);
    },
  };
}

/**
 * The due times of a cron expression in a time zone. The library that reads it is loaded by the first call. A time of
 * day that does not exist on the day when clocks go forward is due at the first one that does, and one that comes twice
 * when they go back is due the first time only. Where the minute, the hour or the second has a `*` or a step, what is
 * meant is every so often: then what does not exist is left out, and what comes twice is due twice.
 */
export async function cronTimes(owner: string, cron: string, timeZone: string): Promise<DueTimes> {
  // The library would take a date for a schedule that is due once.
  if (cron.includes(":")) throw new ConfigError(`${owner}.cron must be a cron expression, got ${show(cron)}.`);
  const { Cron } = await import("croner");
  const attempt = <R>(option: string, value: string, make: () => R): R => {
    try {
      return make();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new ConfigError(`${owner}.${option} ${show(value)} cannot be used: ${why}`, { cause: error });
    }
  };
  const job = attempt(
    "cron",
    cron,
    () => new Cron(cron, { timezone: timeZone, mode: "5-or-6-parts", fixedTimeRule: "no-wildcard" }),
  );
  const times: DueTimes = {
    next: (after) => job.nextRun(dateFrom(after))?.getTime(),
    newest(after, until, most) {
      const due: number[] = [];
      // The library gives what lies before an instant; one step at a time, since few are wanted and each costs.
      let before = until + 1;
      while (due.length < most) {
        const [last] = job.previousRuns(1, dateFrom(before));
        if (last === undefined || last.getTime() <= after) break;
        due.push((before = last.getTime()));
      }
      return due.reverse();
    },
  };
  // A zone is looked up by the first question only.
  if (attempt("timeZone", timeZone, () => times.next(0)) === undefined)
    throw new ConfigError(`${owner}.cron ${show(cron)} is never due. Choose days that exist.`);
  return times;
}
