import fc from "fast-check";
import { expect, test } from "vitest";
import { type Process, ScheduleWorld, workflowCalled } from "../../test/schedule-world.ts";
import { parseDate } from "../core/clock.ts";
import type { SharedState } from "../core/shared-state.ts";
import type { Missed } from "./schedule-record.ts";
import { type DueTime, runIdOf, type ScheduledRuns } from "./schedule-watch.ts";
import { Schedules } from "./schedules.ts";

const EVERY = 20_000;
const workflow = workflowCalled("report");
const missed = fc.constantFrom<Missed>("skip", "run-once", "run-all");

type Step =
  | { what: "pass" | "jump"; ms: number }
  | { what: "begin" | "close" | "kill"; who: number }
  | { what: "trouble" | "peace"; who: number; of: "place" | "store" };

const who = fc.nat(1);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ what: fc.constant("pass" as const), ms: fc.integer({ min: 1, max: 90_000 }) }) },
  {
    weight: 1,
    arbitrary: fc.record({ what: fc.constant("jump" as const), ms: fc.integer({ min: -90_000, max: 90_000 }) }),
  },
  { weight: 4, arbitrary: fc.record({ what: fc.constant("begin" as const), who }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constantFrom("close" as const, "kill" as const), who }) },
  {
    weight: 3,
    arbitrary: fc.record({
      what: fc.constantFrom("trouble" as const, "peace" as const),
      who,
      of: fc.constantFrom("place" as const, "store" as const),
    }),
  },
);

/** The due times of the runs that were started, in the order in which they were. */
const dueOf = (ids: readonly string[]): number[] => ids.map((id) => parseDate(id.split("@")[1]!));

test("through kills, trouble and jumps of the clock, runs start in order, once each, and run-all leaves none out (C5.11)", async () => {
  let overtaken = 0;
  let started = 0;
  let again = 0;
  await fc.assert(
    fc.asyncProperty(missed, fc.array(step, { minLength: 10, maxLength: 40 }), async (policy, steps) => {
      const world = new ScheduleWorld();
      const { clock } = world.runtime;
      const start = clock.wallNow();
      let latest = start;
      const running: (Process | null)[] = [null, null];
      const begin = async (i: number): Promise<void> => {
        running[i] ??= world.process();
        await running[i].schedules
          .schedule("t", { everyMs: EVERY, workflow, input: (due: DueTime) => due.scheduledAt, missed: policy })
          .catch(() => {});
      };
      await begin(0);
      for (const now of steps) {
        if ("ms" in now) {
          if (now.what === "pass") await clock.advance(now.ms);
          else clock.jumpWall(now.ms);
          latest = Math.max(latest, clock.wallNow());
          continue;
        }
        const process = running[now.who] ?? null;
        if (now.what === "begin") {
          if (process === null) await begin(now.who);
        } else if (process === null) continue;
        else if ("of" in now) {
          const fault = now.what === "peace" ? null : now.who === 0 ? "refused" : "unanswered";
          if (now.of === "place") process.state.fault = fault;
          else process.fault = fault;
        } else {
          running[now.who] = null;
          if (now.what === "close") void process.schedules.close();
          else process.kill();
        }
      }
      for (const process of running) {
        if (process !== null) process.state.fault = process.fault = null;
      }
      await begin(0);
      // A clock that was set back must first catch up with what it has shown.
      await clock.advance(latest - clock.wallNow());
      await clock.advance(180_000);
      const due = dueOf(world.runs.started.map(({ runId }) => runId));
      expect(due).toEqual([...new Set(due)].sort((a, b) => a - b));
      expect(world.runs.started.map(({ input }) => input)).toEqual(due);
      expect(due.every((at) => at > start && (at - start) % EVERY === 0 && at <= clock.wallNow())).toBe(true);
      expect(due.at(-1)).toBeGreaterThan(clock.wallNow() - EVERY);
      const holes = due.filter((at, index) => at - (due[index - 1] ?? start) > EVERY).length;
      if (policy === "run-all") expect(holes).toBe(0);
      else overtaken += holes;
      started += due.length;
      again += world.runs.asked.length - due.length;
      world.end();
    }),
    { numRuns: 300 },
  );
  expect(overtaken).toBeGreaterThan(20);
});

test("with every message of two processes in any order, each due time is started once (C5.11)", async () => {
  let doubled = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      missed,
      fc.array(fc.nat(3), { minLength: 40, maxLength: 80 }),
      async (scheduler, policy, turns) => {
        const world = new ScheduleWorld();
        const { clock } = world.runtime;
        const start = clock.wallNow();
        let quiet = false;
        const message = async (what: string): Promise<void> => {
          if (!quiet) await scheduler.schedule(Promise.resolve(), what);
        };
        const processes = [0, 1].map((i) => {
          const state: SharedState = {
            sharing: world.place.sharing,
            close: () => world.place.close(),
            async update(key, change) {
              await message(`${i} asks`);
              const result = await world.place.update(key, change);
              await message(`${i} hears`);
              return result;
            },
          };
          const inner = world.runs.port();
          const runs: ScheduledRuns = {
            async start(...run) {
              await message(`${i} starts`);
              await inner.start(...run);
              await message(`${i} has started`);
            },
            know() {},
            get: inner.get,
          };
          return new Schedules({ runtime: world.runtime, state, runs });
        });
        const set = processes.map((schedules) =>
          schedules.schedule("t", { everyMs: EVERY, workflow, input: null, missed: policy }),
        );
        for (const turn of turns) {
          if (turn > 0 && scheduler.count() > 0) await scheduler.waitOne();
          else await clock.advance(7_000);
        }
        quiet = true;
        await scheduler.waitAll();
        await Promise.all(set);
        await clock.advance(2 * EVERY);
        const due = dueOf(world.runs.started.map(({ runId }) => runId));
        expect(due).toEqual([...new Set(due)].sort((a, b) => a - b));
        expect(due.at(-1)).toBeGreaterThan(clock.wallNow() - 2 * EVERY);
        if (policy === "run-all") {
          const first = due[0]!;
          expect(due).toEqual(due.map((_, index) => first + index * EVERY));
          expect(first - start).toBeLessThanOrEqual(80 * 7_000 + 2 * EVERY);
        }
        doubled += world.runs.asked.length - due.length;
        await Promise.all(processes.map((schedules) => schedules.close()));
      },
    ),
    { numRuns: 300 },
  );
  // Some stall for longer than a due time stays theirs: it is the id of the run that keeps those from starting twice.
  expect(doubled).toBeGreaterThan(0);
});

test("the id of a run is the same in every process, and different for every due time (C5.11)", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 4e12 }), fc.integer({ min: 0, max: 4e12 }), (one, other) => {
      expect(runIdOf("t", one) === runIdOf("t", other)).toBe(one === other);
    }),
  );
});
