import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Process, ScheduleWorld, workflowCalled } from "../../test/schedule-world.ts";
import { UnserializableValueError } from "../core/errors.ts";
import { SchemaError } from "../core/schema.ts";
import type { EventType, HoldfastEvent } from "../core/events.ts";
import type { DueTime } from "./schedule-watch.ts";
import { type ScheduleOptions, Schedules } from "./schedules.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const workflow = workflowCalled("report");

let world: ScheduleWorld;
let one: Process;
let startAt: number;

beforeEach(() => {
  world = new ScheduleWorld();
  one = world.process();
  startAt = world.runtime.clock.wallNow();
});

afterEach(() => world.end());

const pass = (ms: number): Promise<void> => world.runtime.clock.advance(ms);
const every = (everyMs: number, more: Partial<ScheduleOptions<unknown>> = {}): ScheduleOptions<unknown> => ({
  everyMs,
  workflow,
  input: null,
  ...more,
});
const hourly: ScheduleOptions<unknown> = { cron: "0 * * * *", workflow, input: null };

function eventsOf<T extends EventType>({ events }: Process, type: T): Extract<HoldfastEvent, { type: T }>[] {
  return events.filter((event): event is Extract<HoldfastEvent, { type: T }> => event.type === type);
}

describe("a schedule", () => {
  test("starts a run at each due time, whose id and input name that time (C5.11)", async () => {
    const schedule = await one.schedules.schedule("tick", every(MINUTE, { input: (due: DueTime) => due }));
    expect(schedule.nextAt).toBe(startAt + MINUTE);
    await pass(MINUTE - 1);
    expect(world.runs.started).toEqual([]);
    expect(schedule.nextAt).toBe(startAt + MINUTE);
    await pass(1 + MINUTE);
    expect(schedule.nextAt).toBe(startAt + 3 * MINUTE);
    expect(world.runs.started).toEqual([
      { runId: "tick@2026-01-01T00:01:00.000Z", input: { scheduleId: "tick", scheduledAt: startAt + MINUTE } },
      { runId: "tick@2026-01-01T00:02:00.000Z", input: { scheduleId: "tick", scheduledAt: startAt + 2 * MINUTE } },
    ]);
    expect(eventsOf(one, "schedule.started")[1]).toMatchObject({
      scheduleId: "tick",
      runId: "tick@2026-01-01T00:02:00.000Z",
      workflowId: "report",
      scheduledAt: startAt + 2 * MINUTE,
    });
  });

  test("follows a cron expression in its time zone (C5.11)", async () => {
    await one.schedules.schedule("noon", { cron: "0 12 * * *", timeZone: "Europe/Berlin", workflow, input: null });
    await pass(24 * HOUR);
    expect(world.runs.times).toEqual(["11:00:00"]);
  });

  test("lets only one of several processes ask for the start of a due time (C5.11)", async () => {
    const processes = [one, world.process(), world.process()];
    for (const { schedules } of processes) await schedules.schedule("tick", every(MINUTE));
    await pass(5 * MINUTE);
    expect(world.runs.times).toEqual(["00:01:00", "00:02:00", "00:03:00", "00:04:00", "00:05:00"]);
    expect(world.runs.asked).toHaveLength(5);
    expect(processes.flatMap((process) => eventsOf(process, "schedule.started"))).toHaveLength(5);
  });

  test("keeps its beat over a restart with the same timing, also when the rest has changed (C5.11)", async () => {
    await one.schedules.schedule("tick", every(MINUTE, { input: "old" }));
    await pass(90_000);
    await one.schedules.close();
    const again = await world.process().schedules.schedule("tick", every(MINUTE, { input: "new", missed: "run-all" }));
    expect(again.nextAt).toBe(startAt + 2 * MINUTE);
    await pass(MINUTE);
    expect(world.runs.times).toEqual(["00:01:00", "00:02:00"]);
    expect(world.runs.started[1]!.input).toBe("new");
  });

  test("begins to count anew with another timing, and nothing of the old one is made up for (C5.11)", async () => {
    await one.schedules.schedule("tick", every(MINUTE));
    await pass(90_000);
    await one.schedules.close();
    await pass(10 * MINUTE);
    await world.process().schedules.schedule("tick", every(7_000, { missed: "run-all" }));
    await pass(7_000);
    expect(world.runs.times).toEqual(["00:01:00", "00:11:37"]);
  });

  test("is left alone by a process whose terms have been replaced, until they are set again (C5.11)", async () => {
    await one.schedules.schedule("tick", every(MINUTE, { input: "old" }));
    const two = world.process();
    await two.schedules.schedule(
      "tick",
      every(MINUTE, { input: "new", overlap: "skip", workflow: workflowCalled("new") }),
    );
    await pass(2 * MINUTE);
    expect(world.runs.started.map(({ input }) => input)).toEqual(["new"]);
    await two.schedules.schedule("tick", every(MINUTE, { input: "newer" }));
    await pass(3 * MINUTE);
    expect(world.runs.times.slice(1)).toEqual(["00:03:00", "00:04:00", "00:05:00"]);
    await two.schedules.close();
    await pass(2 * MINUTE);
    expect(world.runs.started.slice(-2).map(({ input }) => input)).toEqual(["old", "old"]);
  });

  test("that is set twice in one process is watched one time (C5.11)", async () => {
    await one.schedules.schedule("tick", every(MINUTE, { input: "old" }));
    await one.schedules.schedule("tick", every(MINUTE, { input: "new" }));
    await pass(3 * MINUTE);
    expect(world.runs.started.map(({ input }) => input)).toEqual(["new", "new", "new"]);
    expect(world.runs.asked).toHaveLength(3);
  });

  test("keeps the process alive unless it is told not to, and not when it is stopped (C5.11)", async () => {
    const { clock } = world.runtime;
    const schedule = await one.schedules.schedule("tick", every(MINUTE));
    await pass(MINUTE);
    expect(clock.pendingTimers).toBe(1);
    await schedule.stop();
    expect(clock.pendingTimers).toBe(0);
    await one.schedules.schedule("tick", every(MINUTE, { unref: true }));
    await pass(MINUTE);
    expect(clock.pendingTimers).toBe(0);
    expect(world.runs.times).toEqual(["00:01:00", "00:02:00"]);
  });
});

describe("due times that nobody was there for", () => {
  async function downOver(missed: ScheduleOptions["missed"], until: number): Promise<Process> {
    await one.schedules.schedule("tick", { ...hourly, missed });
    await pass(90 * MINUTE);
    await one.schedules.close();
    await pass(until - 90 * MINUTE);
    const two = world.process();
    await two.schedules.schedule("tick", { ...hourly, missed });
    await pass(0);
    return two;
  }
  const LATE = 4 * HOUR + 10_001;

  test.each([
    ["skip", [], { from: 2, to: 4, count: 3 }],
    ["run-once", ["04:00:00"], { from: 2, to: 3, count: 2 }],
    ["run-all", ["02:00:00", "03:00:00", "04:00:00"], null],
  ] as const)("%s, after a process was down over three of them (C5.11)", async (missed, made, over) => {
    const two = await downOver(missed, LATE);
    expect(world.runs.times).toEqual(["01:00:00", ...made]);
    const events = eventsOf(two, "schedule.missed");
    expect(events.map(({ from, to, count, why }) => ({ from, to, count, why }))).toEqual(
      over === null
        ? []
        : [{ from: startAt + over.from * HOUR, to: startAt + over.to * HOUR, count: over.count, why: "late" }],
    );
    await pass(HOUR);
    expect(world.runs.times.at(-1)).toBe("05:00:00");
  });

  test("skip takes the newest up within its grace (C5.11)", async () => {
    await downOver("skip", LATE - 1);
    expect(world.runs.times).toEqual(["01:00:00", "04:00:00"]);
  });

  test("run-all stops at the newest thousand, and says so (C5.11)", async () => {
    await one.schedules.schedule("tick", every(1_000, { missed: "run-all" }));
    await one.schedules.close();
    await pass(1_500_000);
    const two = world.process();
    await two.schedules.schedule("tick", every(1_000, { missed: "run-all" }));
    await pass(0);
    expect(world.runs.started).toHaveLength(1_000);
    expect(world.runs.times.at(0)).toBe("00:08:21");
    expect(world.runs.times.at(-1)).toBe("00:25:00");
    expect(eventsOf(two, "schedule.missed")).toMatchObject([
      { from: startAt + 1_000, to: startAt + 500_000, count: undefined, why: "late" },
    ]);
    await pass(1_000);
    expect(world.runs.started).toHaveLength(1_001);
  });
});

describe("trouble", () => {
  test("a start that the store refuses is tried again until it is made, one time (C5.11)", async () => {
    await one.schedules.schedule("daily", every(24 * HOUR));
    one.fault = "refused";
    await pass(24 * HOUR + 10 * MINUTE);
    expect(world.runs.started).toEqual([]);
    const failed = eventsOf(one, "schedule.failed");
    expect(failed.length).toBeGreaterThan(8);
    expect(failed.length).toBeLessThan(40);
    expect(failed.every(({ retryDelayMs }) => retryDelayMs! <= 30_000)).toBe(true);
    expect(failed[0]).toMatchObject({ scheduleId: "daily", scheduledAt: startAt + 24 * HOUR });
    one.fault = null;
    await pass(MINUTE);
    expect(world.runs.started).toHaveLength(1);
    await pass(HOUR);
    expect(world.runs.asked).toHaveLength(failed.length + 1);
    one.fault = "refused";
    await pass(23 * HOUR);
    expect(eventsOf(one, "schedule.failed")[failed.length]!.retryDelayMs).toBeLessThanOrEqual(1_000);
  });

  test("a start whose answer is lost is known by the run that is there (C5.11)", async () => {
    await one.schedules.schedule("tick", every(MINUTE));
    one.fault = "unanswered";
    await pass(MINUTE);
    expect(world.runs.times).toEqual(["00:01:00"]);
    expect(eventsOf(one, "schedule.started")).toHaveLength(1);
    expect(eventsOf(one, "schedule.failed")).toEqual([]);
  });

  test.each(["refused", "unanswered", "hangs", "late"] as const)(
    "a place whose updates are %s for a while costs no due time and doubles none (C5.11)",
    async (fault) => {
      await one.schedules.schedule("tick", every(MINUTE, { missed: "run-all" }));
      await pass(30_000);
      one.state.fault = fault;
      await pass(3 * MINUTE);
      one.state.fault = null;
      one.state.release();
      await pass(150_000);
      expect(world.runs.times).toEqual(["00:01:00", "00:02:00", "00:03:00", "00:04:00", "00:05:00", "00:06:00"]);
    },
  );

  test("a place that does not answer at the due time makes it late, but not missed (C5.11)", async () => {
    await one.schedules.schedule("tick", hourly);
    await pass(30 * MINUTE);
    one.state.fault = "refused";
    await pass(50 * MINUTE);
    one.state.fault = null;
    await pass(MINUTE);
    expect(world.runs.times).toEqual(["01:00:00"]);
    one.state.fault = "refused";
    await pass(2 * HOUR);
    one.state.fault = null;
    await pass(MINUTE);
    expect(world.runs.times).toEqual(["01:00:00", "03:00:00"]);
    expect(eventsOf(one, "schedule.missed")).toMatchObject([{ from: startAt + 2 * HOUR, to: startAt + 2 * HOUR }]);
  });

  test("whoever dies between taking a due time up and starting it is followed by another (C5.11)", async () => {
    await one.schedules.schedule("daily", every(24 * HOUR));
    const two = world.process();
    await two.schedules.schedule("daily", every(24 * HOUR));
    one.fault = "hangs";
    await pass(24 * HOUR);
    expect(world.runs.asked).toHaveLength(1);
    one.kill();
    await pass(9_999);
    expect(world.runs.started).toEqual([]);
    await pass(1);
    expect(world.runs.started).toHaveLength(1);
    expect(eventsOf(two, "schedule.started")).toHaveLength(1);
  });

  test("a due time that was taken up is started after a restart of everything, however late and with skip (C5.11)", async () => {
    await one.schedules.schedule("daily", every(24 * HOUR));
    one.fault = "hangs";
    await pass(24 * HOUR);
    one.kill();
    await pass(HOUR);
    await world.process().schedules.schedule("daily", every(24 * HOUR));
    await pass(0);
    expect(world.runs.times).toEqual(["2026-01-02T00:00:00"]);
  });

  test("whoever dies between a start and its record is followed by one who finds the run there (C5.11)", async () => {
    await one.schedules.schedule("daily", every(24 * HOUR));
    await pass(HOUR);
    // The next update takes the due time up, and the one after it would record that the run is started.
    const dies = one.state.updates + 2;
    one.state.onUpdate = (n) => (n === dies ? "hangs" : undefined);
    await pass(23 * HOUR);
    expect(world.runs.started).toHaveLength(1);
    one.kill();
    const two = world.process();
    await two.schedules.schedule("daily", every(24 * HOUR));
    await pass(MINUTE);
    expect(world.runs.started).toHaveLength(1);
    await pass(24 * HOUR);
    expect(world.runs.started).toHaveLength(2);
  });

  test("closing hands what was not started to others at once (C5.11)", async () => {
    await one.schedules.schedule("tick", every(MINUTE));
    one.fault = "refused";
    await pass(MINUTE);
    const two = world.process();
    await two.schedules.schedule("tick", every(MINUTE));
    await one.schedules.close();
    await two.schedules.schedule("tick", every(MINUTE));
    await pass(0);
    expect(world.runs.times).toEqual(["00:01:00"]);
  });

  test("a start that closing the engine has ended is no failure (C5.11)", async () => {
    const ended: ((error: Error) => void)[] = [];
    const { runtime, state, events } = one;
    const start = (): Promise<never> => new Promise((_, reject) => ended.push(reject));
    const schedules = new Schedules({ runtime, state, runs: { know() {}, start, get: async () => undefined } });
    await schedules.schedule("tick", every(MINUTE));
    await pass(MINUTE);
    const closed = schedules.close();
    ended[0]!(new Error("The engine was closed."));
    await closed;
    expect(events).toEqual([]);
    await world.process().schedules.schedule("tick", every(MINUTE));
    await pass(0);
    expect(world.runs.times).toEqual(["00:01:00"]);
  });

  test("an input that cannot be made, or not be stored, costs its due time and no other (C5.11)", async () => {
    const bad = startAt + MINUTE;
    await one.schedules.schedule(
      "tick",
      every(MINUTE, {
        input: ({ scheduledAt }: DueTime) => {
          if (scheduledAt === bad) throw new Error("no such report");
          return scheduledAt;
        },
      }),
    );
    await pass(MINUTE);
    one.fault = new UnserializableValueError("the input", "it is a symbol.");
    await pass(MINUTE);
    one.fault = new SchemaError('the input of workflow "report"', [{ path: "", message: "it is no date" }]);
    await pass(MINUTE);
    one.fault = null;
    await pass(MINUTE);
    expect(world.runs.times).toEqual(["00:04:00"]);
    expect(
      eventsOf(one, "schedule.failed").map(({ scheduledAt, retryDelayMs }) => [scheduledAt, retryDelayMs]),
    ).toEqual([
      [bad, undefined],
      [bad + MINUTE, undefined],
      [bad + 2 * MINUTE, undefined],
    ]);
  });
});

describe("the wall clock", () => {
  test("set back, it makes no due time come twice (C5.11)", async () => {
    await one.schedules.schedule("tick", hourly);
    await pass(2 * HOUR);
    world.runtime.clock.jumpWall(-90 * MINUTE);
    await pass(90 * MINUTE);
    expect(world.runs.times).toEqual(["01:00:00", "02:00:00"]);
    await pass(HOUR);
    expect(world.runs.asked).toHaveLength(3);
  });

  test("set forward in the middle of a wait, it is noticed within a minute (C5.11)", async () => {
    await one.schedules.schedule("tick", { ...hourly, missed: "run-all" });
    await pass(10 * MINUTE);
    world.runtime.clock.jumpWall(3 * HOUR);
    await pass(MINUTE);
    expect(world.runs.times).toEqual(["01:00:00", "02:00:00", "03:00:00"]);
  });

  test("set forward over a due time, as by a machine that slept, it makes that one late (C5.11)", async () => {
    await one.schedules.schedule("tick", hourly);
    await pass(10 * MINUTE);
    world.runtime.clock.jumpWall(HOUR);
    await pass(10 * MINUTE);
    expect(world.runs.started).toEqual([]);
    expect(eventsOf(one, "schedule.missed")).toMatchObject([{ from: startAt + HOUR, to: startAt + HOUR, count: 1 }]);
  });
});

describe("what can be done with schedules", () => {
  test("the list has them all, from every process, with where they stand (C5.11)", async () => {
    await one.schedules.schedule("tick", every(MINUTE));
    await world.process().schedules.schedule("noon", { cron: "0 12 * * *", workflow, input: null, missed: "run-once" });
    await pass(MINUTE);
    await one.schedules.schedule("tick", every(MINUTE));
    expect(await world.process().schedules.list()).toMatchObject([
      {
        id: "tick",
        workflowId: "report",
        everyMs: MINUTE,
        cron: null,
        nextAt: startAt + 2 * MINUTE,
        lastAt: startAt + MINUTE,
      },
      {
        id: "noon",
        cron: "0 12 * * *",
        timeZone: "UTC",
        missed: "run-once",
        paused: false,
        nextAt: startAt + 12 * HOUR,
      },
    ]);
  });

  test("paused, one starts nothing in any process, and makes up for nothing afterwards (C5.11)", async () => {
    await one.schedules.schedule("tick", every(MINUTE, { missed: "run-all" }));
    const two = world.process();
    await two.schedules.pause("tick");
    await pass(150_000);
    expect((await two.schedules.list())[0]).toMatchObject({ paused: true });
    await one.schedules.schedule("tick", every(MINUTE, { missed: "run-all" }));
    await pass(MINUTE);
    await two.schedules.resume("tick");
    await pass(MINUTE);
    expect(world.runs.times).toEqual(["00:04:00"]);
    await expect(one.schedules.pause("tock")).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  test("removed, one is gone for every process, and comes back as a new one (C5.11)", async () => {
    await one.schedules.schedule("tick", every(MINUTE, { missed: "run-all" }));
    const two = world.process();
    await pass(MINUTE);
    expect(await two.schedules.remove("tick")).toBe(true);
    expect(await two.schedules.remove("tick")).toBe(false);
    await pass(150_000);
    expect(await one.schedules.list()).toEqual([]);
    const ids = await world.place.update("schedules", (last) => ({ next: last, keepMs: Infinity, result: last }));
    expect(ids).toEqual([]);
    await two.schedules.schedule("tick", every(MINUTE, { missed: "run-all" }));
    await pass(MINUTE);
    expect(world.runs.times).toEqual(["00:01:00", "00:04:30"]);
  });

  test("with overlap skip, a due time passes while the run before it is under way (C5.11)", async () => {
    await one.schedules.schedule("tick", every(MINUTE, { overlap: "skip" }));
    await pass(3 * MINUTE);
    expect(world.runs.times).toEqual(["00:01:00"]);
    expect(eventsOf(one, "schedule.missed")).toMatchObject([
      { from: startAt + 2 * MINUTE, to: startAt + 2 * MINUTE, count: 1, why: "overlap" },
      { from: startAt + 3 * MINUTE, why: "overlap" },
    ]);
    world.runs.end("tick@2026-01-01T00:01:00.000Z");
    await pass(MINUTE);
    expect(world.runs.times).toEqual(["00:01:00", "00:04:00"]);
  });

  test.each([
    ["tick", {}, "needs one of cron and everyMs, got neither"],
    ["tick", { everyMs: 5, cron: "@daily" }, "got both"],
    ["tick", { everyMs: 0 }, "everyMs must be a whole number"],
    ["tick", { everyMs: 5, timeZone: "UTC" }, "which only cron has a use for"],
    ["tick", { cron: "nonsense" }, 'cron "nonsense" cannot be used'],
    ["tick", { everyMs: 5, missed: "later" }, 'missed must be one of "skip"'],
    ["tick", { everyMs: 5, workflow: "report" }, "workflow must be a workflow"],
    ["", { everyMs: 5 }, "the id of a schedule must be"],
    ["x".repeat(481), { everyMs: 5 }, "at most 480 characters"],
  ])("the schedule %j with %j is refused with the reason (C5.11, C0.3)", async (id, options, said) => {
    const given = { workflow, input: null, ...options } as unknown as ScheduleOptions<unknown>;
    await expect(one.schedules.schedule(id, given)).rejects.toThrow(said);
    expect(await one.schedules.list()).toEqual([]);
  });

  test("after the end nothing is set any more (C5.11)", async () => {
    await one.schedules.close();
    await expect(one.schedules.schedule("tick", every(MINUTE))).rejects.toMatchObject({ code: "ENGINE_CLOSED" });
  });
});
