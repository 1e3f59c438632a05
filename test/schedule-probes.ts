import type { ScheduleOptions } from "../src/engine/schedules.ts";
import type { Probe } from "./option-docs.ts";
import { ScheduleWorld, workflowCalled } from "./schedule-world.ts";

const HOUR = 3_600_000;

/** How the defaults of a schedule show in what it does. */
export const SCHEDULE_PROBES: Readonly<Record<string, Probe>> = {
  "ScheduleOptions.timeZone": startedWith("Europe/Berlin", "timeZone", 24 * HOUR, 0),
  "ScheduleOptions.missed": startedWith("run-once", "missed", 0, 3.5 * HOUR),
  "ScheduleOptions.graceMs": startedWith(10_001, "graceMs", 0, 3 * HOUR + 10_001),
  "ScheduleOptions.overlap": startedWith("skip", "overlap", 40 * HOUR, 0),
  "ScheduleOptions.unref": {
    other: true,
    observe: async (unref) => {
      const world = new ScheduleWorld();
      await world.process().schedules.schedule("t", hourly({ unref: unref as boolean | undefined }));
      await world.runtime.clock.advance(1);
      return world.runtime.clock.pendingTimers;
    },
  },
};

/** The runs that a schedule has started with a value of an option, after it was watched, and again after nobody did. */
function startedWith(other: unknown, key: keyof ScheduleOptions, watchedMs: number, downMs: number): Probe {
  return {
    other,
    observe: async (value) => {
      const world = new ScheduleWorld();
      const { clock } = world.runtime;
      for (const ms of [watchedMs, 0]) {
        const { schedules } = world.process();
        await schedules.schedule("t", hourly({ [key]: value }));
        await clock.advance(ms);
        await schedules.close();
        await clock.advance(downMs);
      }
      return world.runs.times;
    },
  };
}

function hourly(options: Partial<ScheduleOptions<unknown>>): ScheduleOptions<unknown> {
  const cron = "timeZone" in options ? "0 12 * * *" : "0 * * * *";
  return { cron, workflow: workflowCalled("report"), input: null, ...options };
}
