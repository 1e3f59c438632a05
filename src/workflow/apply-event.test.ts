import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { StoreCorruptError, type StoredError } from "../core/errors.ts";
import { type InvocationId, invocationIdOf, invocationKey } from "./invocation-id.ts";
import { applyEvent } from "./apply-event.ts";
import { type Invocation, newRunState, type RunEvent, type RunState } from "./run-state.ts";

const ERROR: StoredError = { name: "Error", message: "no" };
const N: InvocationId = { node: "n", iteration: 0 };

const STARTED: RunEvent = { kind: "run_started", workflowId: "w", outline: "o", fingerprint: "f", input: "1", at: 10 };
const BEGUN: RunEvent = { kind: "invocation_started", id: N, at: 20 };
const WAITING: RunEvent = {
  ...{ kind: "attempt_failed", id: N, attempts: 1, failures: 1, error: ERROR, retryDelayMs: 5, retryAt: 35 },
};
const AGAIN: RunEvent = { kind: "attempt_started", id: N, attempts: 2, at: 40 };
const DONE: RunEvent = { kind: "invocation_completed", id: N, attempts: 2, output: '"out"', at: 50 };
const LOST: RunEvent = { kind: "invocation_failed", id: N, attempts: 2, error: ERROR, at: 50 };
const RESUMED: RunEvent = { kind: "run_resumed", crashed: true, at: 45 };
const SLEEPING: RunEvent = { kind: "invocation_sleeping", id: N, wakeAt: 90, signal: null, at: 30 };
const STEP: RunEvent = { kind: "step_completed", id: N, step: "s", output: "1", at: 30 };
const PARKED: RunEvent = { kind: "run_waiting", wakeAt: 90, at: 31 };
const CHANGED: RunEvent = { kind: "definition_changed", outline: "o2", fingerprint: "f2", at: 45 };
const CANCELLING: RunEvent = { kind: "run_cancelling", reason: ERROR, at: 46 };
const UNDONE: RunEvent = { kind: "compensated", id: N, at: 47 };
const COMPLETED: RunEvent = { kind: "run_completed", at: 60 };
const FAILED: RunEvent = { kind: "run_failed", node: "n", error: ERROR, at: 60 };
const CANCELLED: RunEvent = { kind: "run_cancelled", reason: ERROR, at: 60 };
const REDRIVEN: RunEvent = { kind: "node_redriven", node: "n", iteration: 0, at: 70 };

function fold(...events: RunEvent[]): RunState {
  const state = newRunState();
  for (const event of events) applyEvent(state, event);
  return state;
}

/** What may happen to a run that is under way, and to an invocation that has not ended. */
const GOING = [RESUMED, PARKED, CHANGED, CANCELLING, COMPLETED, FAILED, CANCELLED];
const OPEN = [AGAIN, WAITING, SLEEPING, STEP, DONE, LOST];

/** Where a run may stand, by the events that lead there, and what may happen next. Everything else is illegal. */
const PLACES: Record<string, { path: RunEvent[]; legal: RunEvent[] }> = {
  "not begun": { path: [], legal: [STARTED] },
  running: { path: [STARTED], legal: [...GOING, BEGUN] },
  "with a node running": {
    path: [STARTED, BEGUN],
    legal: [...GOING, ...OPEN],
  },
  "with a node waiting": {
    path: [STARTED, BEGUN, WAITING],
    legal: [...GOING, ...OPEN],
  },
  "with a node asleep": { path: [STARTED, BEGUN, SLEEPING], legal: [...GOING, ...OPEN] },
  "with a step done": { path: [STARTED, BEGUN, STEP], legal: [...GOING, ...OPEN.filter((event) => event !== STEP)] },
  "with a node completed": { path: [STARTED, BEGUN, DONE], legal: GOING },
  "with a node failed": { path: [STARTED, BEGUN, LOST], legal: GOING },
  waiting: { path: [STARTED, BEGUN, SLEEPING, PARKED], legal: [RESUMED, CHANGED, CANCELLED] },
  cancelling: {
    path: [STARTED, BEGUN, DONE, CANCELLING],
    legal: [RESUMED, PARKED, CHANGED, UNDONE, COMPLETED, FAILED, CANCELLED],
  },
  "completed without a node that failed": { path: [STARTED, BEGUN, LOST, COMPLETED], legal: [REDRIVEN] },
  completed: { path: [STARTED, BEGUN, DONE, COMPLETED], legal: [] },
  failed: { path: [STARTED, BEGUN, LOST, FAILED], legal: [REDRIVEN] },
  cancelled: { path: [STARTED, BEGUN, CANCELLED], legal: [] },
  redriven: { path: [STARTED, BEGUN, LOST, FAILED, REDRIVEN], legal: [...GOING, BEGUN] },
};

const ALL_EVENTS = [STARTED, BEGUN, REDRIVEN, UNDONE, ...OPEN, ...GOING];

describe("of a run that is", () => {
  for (const [place, { path, legal }] of Object.entries(PLACES)) {
    for (const event of ALL_EVENTS) {
      const may = legal.includes(event);
      it(`${place}, ${event.kind} is ${may ? "legal" : "refused and changes nothing"} (C6.7)`, () => {
        const state = fold(...path);
        const before = structuredClone(state);
        if (may) return applyEvent(state, event);
        expect(() => applyEvent(state, event)).toThrow(StoreCorruptError);
        expect(() => applyEvent(state, event)).toThrow(new RegExp(`event ${event.kind}.* does not fit a run that is`));
        expect(state).toEqual(before);
      });
    }
  }
});

it("an event of a kind that is not known asks for a newer version (C6.7)", () => {
  const event = { kind: "run_paused", at: 1 } as unknown as RunEvent;
  expect(() => fold(STARTED, event)).toThrow(/unknown kind "run_paused"\. A newer version of Holdfast wrote it/);
});

it("a run remembers how it was started, and when it ended (C6.9)", () => {
  const {
    invocations: _,
    redriven: __,
    ended: ___,
    steps: ____,
    spent: ______,
    circuits: _______,
    compensated: _____,
    ...state
  } = fold(STARTED, COMPLETED);
  expect(state).toEqual({
    ...{ status: "completed", workflowId: "w", outline: "o", fingerprint: "f", input: "1", startedAt: 10, endedAt: 60 },
    ...{ fork: null, failure: null, cancelReason: null },
  });
  expect(fold(STARTED, FAILED).failure).toEqual({ node: "n", iteration: 0, error: ERROR });
  expect(fold(STARTED, CANCELLED).cancelReason).toEqual(ERROR);
});

it("an invocation goes from running over waiting to its end (C6.3)", () => {
  const seen = [BEGUN, WAITING, AGAIN, DONE].map((_, i, all) => ({
    ...fold(STARTED, ...all.slice(0, i + 1)).invocations.get("n#0"),
  }));
  const common = { id: N, startedAt: 20, crashes: 0, spent: 0 };
  expect(seen[0]).toEqual({ ...common, status: "running", attempts: 1, failures: 0 });
  expect(seen[1]).toEqual({ ...common, status: "waiting", attempts: 1, failures: 1, retryAt: 35 });
  expect(seen[2]).toMatchObject({ ...common, status: "running", attempts: 2, failures: 1 });
  expect(seen[3]).toMatchObject({ ...common, status: "completed", attempts: 2, output: '"out"', endedAt: 50 });
  expect(fold(STARTED, BEGUN, LOST).invocations.get("n#0")).toMatchObject({ status: "failed", error: ERROR });
});

it("a crash counts for what was running, not for what was waiting or done; a stop counts for nothing (C6.3)", () => {
  const ids = ["a", "b", "c"].map((node) => ({ node, iteration: 0 }));
  const [a, b, c] = ids as [InvocationId, InvocationId, InvocationId];
  const begun = ids.map((id): RunEvent => ({ ...BEGUN, id }));
  const path = [STARTED, ...begun, { ...WAITING, id: b }, { ...DONE, id: c }];
  const crashes = (state: RunState): number[] =>
    [...state.invocations.values()].map((invocation) => invocation.crashes);
  expect(crashes(fold(...path, RESUMED, RESUMED))).toEqual([2, 0, 0]);
  expect(crashes(fold(...path, { ...RESUMED, crashed: false }))).toEqual([0, 0, 0]);
  expect(crashes(fold(...path, { ...AGAIN, id: b }, RESUMED))).toEqual([1, 1, 0]);
  expect(a).toBe(ids[0]);
});

it("a redrive forgets the failed invocations of its node, and those only (C7.2)", () => {
  const backup: InvocationId = { ...N, backup: "spare" };
  const other: InvocationId = { node: "m", iteration: 0 };
  const done: InvocationId = { node: "k", iteration: 0 };
  const working: InvocationId = { ...N, backup: "working" };
  const events = [STARTED, ...[N, backup, other, done, working].map((id): RunEvent => ({ ...BEGUN, id }))];
  events.push(LOST, { ...LOST, id: backup }, { ...LOST, id: other }, { ...DONE, id: done }, FAILED, REDRIVEN);
  const state = fold(...events);
  expect([...state.invocations.keys()]).toEqual(["m#0", "k#0", "n#0>working"]);
  expect([...state.redriven]).toEqual(["n#0"]);
  expect([state.status, state.failure]).toEqual(["running", null]);
});

it("steps of a node are kept until it has completed, also over a redrive (C6.1)", () => {
  const steps = (...events: RunEvent[]): unknown =>
    fold(STARTED, BEGUN, STEP, ...events)
      .steps.get("n#0")
      ?.get("s");
  expect(steps()).toBe("1");
  expect(steps(LOST, FAILED, REDRIVEN)).toBe("1");
  expect(steps(DONE)).toBeUndefined();
});

it("a migration renames nodes wherever they are named, and forgets what it is told to (C5.10)", () => {
  const m: InvocationId = { node: "m", iteration: 0 };
  const k: InvocationId = { node: "k", iteration: 0 };
  const state = fold(
    ...[STARTED, BEGUN, STEP, { ...DONE, next: ["m"] } satisfies RunEvent],
    { ...BEGUN, id: m, by: "n#0" },
    { ...BEGUN, id: k, from: ["n#0"] },
    { ...STEP, id: m },
    { ...DONE, id: k },
    { kind: "run_migrated", rename: { n: "first", m: "second" }, forget: ["k"], outputs: { "first#0": "7" }, at: 99 },
  );
  expect([...state.invocations.keys()]).toEqual(["first#0", "second#0"]);
  expect(state.invocations.get("first#0")).toMatchObject({ output: "7", next: ["second"] });
  expect(state.invocations.get("second#0")).toMatchObject({ by: "first#0", status: "running" });
  expect([[...state.ended], [...state.steps.keys()]]).toEqual([["first#0"], ["second#0"]]);
});

it("the text of an invocation id stands for one id only, and leads back to it (C0.7)", () => {
  expect(invocationKey(N)).toBe("n#0");
  expect(invocationKey({ ...N, backup: "b" })).toBe("n#0>b");
  const text = fc.oneof(fc.string({ minLength: 1, unit: "binary" }), fc.stringMatching(/^[%#>0-9a-f]{1,6}$/));
  const id = fc.record({ node: text, iteration: fc.nat(99), backup: fc.option(text, { nil: undefined }) });
  fc.assert(
    fc.property(id, id, (one, two) => {
      const same = one.node === two.node && one.iteration === two.iteration && one.backup === two.backup;
      expect(invocationKey(one) === invocationKey(two)).toBe(same);
      const back = invocationIdOf(invocationKey(one));
      expect([back.node, back.iteration, back.backup]).toEqual([one.node, one.iteration, one.backup]);
    }),
    { numRuns: 2000, seed: 20261124 },
  );
});

it("replaying a run touches each invocation a few times, however long the run is (C6.2)", () => {
  /** Counts what is read, written and walked over. */
  class Counted extends Map<string, Invocation> {
    touched = 0;
    override get(key: string): Invocation | undefined {
      this.touched++;
      return super.get(key);
    }
    override has(key: string): boolean {
      this.touched++;
      return super.has(key);
    }
    override set(key: string, value: Invocation): this {
      this.touched++;
      return super.set(key, value);
    }
    override *values(): MapIterator<Invocation> {
      for (const value of super.values()) {
        this.touched++;
        yield value;
      }
    }
  }
  const state = newRunState();
  const invocations = new Counted();
  state.invocations = invocations;
  applyEvent(state, STARTED);
  const count = 5000;
  for (let i = 0; i < count; i++) {
    const id = { node: `n${i}`, iteration: 0 };
    applyEvent(state, { ...BEGUN, id });
    applyEvent(state, { ...DONE, id });
  }
  applyEvent(state, RESUMED);
  applyEvent(state, COMPLETED);
  expect(state.invocations.size).toBe(count);
  expect(invocations.touched).toBeLessThanOrEqual(4 * count);
});
