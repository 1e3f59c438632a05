import { codeOf, messageOf } from "../../src/core/errors.ts";
import type { RunResult } from "../../src/engine/run-result.ts";
import { type Reading, type ReadOptions, readCopy } from "./reading.ts";
import { everyValue } from "./workflows.ts";

/** What comes of a golden run. What is left out is empty: no output, no calls, no cost. */
export interface Comes {
  status?: RunResult["status"];
  output?: unknown;
  /** The code of what it failed of, or the message where that has none; of a cancelled run the reason. */
  error?: string;
  /** How often each invocation was called, in all lives together. */
  attempts?: Record<string, number>;
  /** What was called since: everything else had been acknowledged before. */
  calls?: string[];
  costUsd?: number;
  degraded?: true;
  /** Its dead letters: node, status, and how often they were redriven. */
  letters?: string[];
  /** What was undone, and the error where it could not be. */
  undone?: string[];
}

/** A run of the golden stores, what is done with it, and what must come of that. */
export interface GoldenRun {
  readonly run: string;
  readonly how: "resumed" | "signalled" | "redriven" | "redriven by force" | "forked";
  readonly comes: Comes;
}

/** The workflow of a run stands before the first hyphen of its id. */
function resume({ engine, workflows }: Reading, run: string): Promise<RunResult> {
  return engine.resume(workflows[run.split("-")[0]!]!, run);
}

async function redrive({ engine }: Reading, runId: string, force: boolean): Promise<RunResult> {
  const [letter] = await engine.deadLetters.list({ runId });
  return engine.deadLetters.redrive(letter!.id, { force });
}

const HOWS: Record<GoldenRun["how"], (reading: Reading, run: string) => Promise<RunResult>> = {
  resumed: resume,
  signalled: async (reading, run) => {
    await reading.engine.signal(run, "approval", { by: "Ada" });
    return resume(reading, run);
  },
  redriven: (reading, run) => redrive(reading, run, false),
  "redriven by force": (reading, run) => redrive(reading, run, true),
  // From the last node, which works on what it was handed before.
  forked: async ({ engine, workflows }, run) => {
    const fork = { fromNode: "support", runId: "desk-forked" };
    return (await engine.fork(workflows[run.split("-")[0]!]!, run, fork)).result;
  },
};

function saidOf(error: unknown): string {
  return codeOf(error) ?? messageOf(error);
}

/** What comes of a run with the code at hand. Never rejects: that it cannot be carried on is told as its error. */
export function comesOf(folder: string, { run, how }: Omit<GoldenRun, "comes">, options?: ReadOptions): Promise<Comes> {
  return readCopy(
    folder,
    async (reading) => {
      const { engine, calls } = reading;
      const comes: Comes = {};
      try {
        const { status, output, error, agentSteps, costUsd, degraded } = await HOWS[how](reading, run);
        comes.status = status;
        if (output !== undefined) comes.output = output;
        if (error !== undefined) comes.error = status === "cancelled" ? messageOf(error.cause) : saidOf(error.cause);
        comes.attempts = Object.fromEntries(agentSteps.map(({ invocationId, attempts }) => [invocationId, attempts]));
        if (costUsd !== 0) comes.costUsd = costUsd;
        if (degraded) comes.degraded = degraded;
        const letters = await engine.deadLetters.list({ runId: run });
        if (letters.length > 0)
          comes.letters = letters.map(({ nodeId, status, retryCount }) => `${nodeId} ${status} ${retryCount}`);
        const undone = ((await engine.history(run))?.events ?? []).flatMap((event) =>
          event.kind === "compensated"
            ? [event.nodeId + (event.error === undefined ? "" : `: ${event.error.message}`)]
            : [],
        );
        if (undone.length > 0) comes.undone = undone;
      } catch (error) {
        comes.error = saidOf(error);
      }
      if (calls.length > 0) comes.calls = calls.map(({ runId, what }) => (runId === run ? what : `${runId} ${what}`));
      return comes;
    },
    options,
  );
}

function completed(output: unknown, attempts: Record<string, number>, more: Comes = {}): Comes {
  return { status: "completed", output, attempts, ...more };
}

function failed(error: string, attempts: Record<string, number>, more: Comes = {}): Comes {
  return { status: "failed", error, attempts, ...more };
}

const LINE = { "a#0": 1, "b#0": 1, "c#0": 1 };
const LINE_FAILED = { "a#0": 1, "b#0": 1 };
const DESK = { "triage#0": 1, "billing#0": 1, "support#0": 1 };
const RACE = { "quick#0": 1, "slow#0": 1, "first#0": 1 };
const ROUND_1 = { "begin#0": 1, "draft#0": 1, "review#0": 1, "draft#1": 1, "review#1": 1 };
const ROUNDS = { ...ROUND_1, "draft#2": 1, "review#2": 1, "publish#0": 1 };
const APPROVE = { "ask#0": 1, "approval#0": 1, "comment#0": 1, "file#0": 1 };

/** Like the workflows, these stay as they are; runs of stores of later versions come behind them. */
export const GOLDEN_RUNS: readonly GoldenRun[] = [
  ...all("resumed", {
    // They have ended: what comes is what was stored.
    "line-completed": completed("20, with 7669ccb4", LINE),
    "retry-completed": completed("attempt 1", { "call#0": 1 }),
    "items-completed": completed(["a 69ec2ed4", "b 916f5eef"], { "each#0": 1 }),
    "steps-completed": completed({ one: { name: "Ada", key: "bfe095b1" }, two: new Set(["Ada"]) }, { "main#0": 1 }),
    "sorting-completed": completed({ large: "large 30" }, { "sort#0": 1, "large#0": 1 }),
    "rounds-completed": completed("draft 3", ROUNDS),
    "desk-completed": completed("answered help!", DESK),
    "race-completed": completed("quick", RACE),
    "outer-completed": completed(112, { "nested#0": 1, "end#0": 1 }),
    "values-completed": completed(everyValue(), { "make#0": 1, "take#0": 1 }),
    "fuse-completed": completed("served", { "call#0": 1 }, { costUsd: 0.5 }),
    "backup-completed": completed("other 1", { "main#0": 1, "main#0>other": 1 }, { degraded: true }),
    "approve-completed": completed("Ada: well done", APPROVE),
    "line-forked": completed("70, with c4a5e71c", LINE),
    "line-redriven": completed("20, with eb925f63", LINE, { letters: ["b succeeded 1"] }),
    "line-failed": failed("b is down", LINE_FAILED, { letters: ["b pending 0"] }),
    "line-discarded": failed("b is down", LINE_FAILED, { letters: ["b permanent_failure 0"] }),
    "line-quarantined": failed("b is down", LINE_FAILED, { letters: ["b permanent_failure 3"] }),
    "rounds-failed": failed("review 2 is down", ROUND_1, { letters: ["review pending 0"] }),
    "outer-failed": failed("WORKFLOW_EXECUTION", { "nested#0": 1 }, { letters: ["nested pending 0"] }),
    "fuse-failed": failed("call is down", { "call#0": 1 }, { costUsd: 0.5, letters: ["call pending 0"] }),
    "approve-cancelled": { status: "cancelled", error: "not wanted", attempts: { "ask#0": 1 } },
    "saga-cancelled": {
      ...{ status: "cancelled", error: "not wanted", attempts: { "book#0": 1, "pay#0": 1 } },
      undone: ["pay: pay undoes payment is down", "book"],
    },

    // They go on: nothing but what is in `calls` is done, and what was done before counts.
    "line-in-flight": completed("20, with f9f6acfe", { ...LINE, "b#0": 2 }, { calls: ["b", "c"] }),
    "line-again": completed("20, with 7d6880c2", { ...LINE, "b#0": 3 }, { calls: ["b", "c"] }),
    "line-starting": completed("20, with e9556386", { ...LINE, "a#0": 2 }, { calls: ["a", "b", "c"] }),
    "line-fork": completed("50, with 4bf4b5c3", { ...LINE, "c#0": 2 }, { calls: ["c"] }),
    "steps-half": completed(
      { one: { name: "Ada", key: "3a74e0a7" }, two: new Set(["Ada"]) },
      { "main#0": 2 },
      { calls: ["main between", "main two"] },
    ),
    "rounds-half": completed("draft 3", { ...ROUNDS, "draft#2": 2 }, { calls: ["draft 2", "review 3", "publish"] }),
    "rounds-review": completed(
      "draft 3",
      { ...ROUNDS, "review#1": 2 },
      { calls: ["review 2", "draft 2", "review 3", "publish"] },
    ),
    "sorting-half": completed({ small: "small 3" }, { "sort#0": 1, "small#0": 2 }, { calls: ["small"] }),
    "desk-half": completed("answered help!", { ...DESK, "support#0": 2 }, { calls: ["support"] }),
    "race-half": completed("quick", { ...RACE, "slow#0": 2 }, { calls: ["slow"] }),
    "outer-half": completed(112, { "nested#0": 2, "end#0": 1 }, { calls: ["outer-half/nested#0 y", "end"] }),
    "backup-half": completed("other 1", { "main#0": 1, "main#0>other": 2 }, { degraded: true, calls: ["other"] }),
    "values-half": completed(everyValue(), { "make#0": 1, "take#0": 2 }, { calls: ["take"] }),
    "items-half": completed(
      ["a 56867d2b", "b 2435958f", "c 410dbdeb", "d 893d136b", "e c1c77120"],
      { "each#0": 2 },
      { calls: ["each 3", "each 4"] },
    ),
    "items-snapshot": completed(
      [
        ...["a 1647490c", "b d9449f10", "c d46fa46c", "d 84ea4343", "e 13910db4"],
        ...["f 5d16dbcf", "g a5661c67", "h a6c754ad", "i d1532481", "j f8b96244"],
      ],
      { "each#0": 2 },
      { calls: ["each 7", "each 8", "each 9"] },
    ),
    "large-half": completed(3000, { "make#0": 1, "measure#0": 2 }, { calls: ["measure"] }),
    "moved-half": completed("new 2", { "new#0": 1, "last#0": 2 }, { calls: ["last"] }),
    "moved-again": completed("new 2", { "new#0": 1, "last#0": 3 }, { calls: ["last"] }),
    "retry-waiting": completed("attempt 2", { "call#0": 2 }, { calls: ["call"] }),
    "money-waiting": completed(0.75, { "ask#0": 2 }, { costUsd: 0.5, calls: ["ask"] }),
    "circuit-waiting": failed("CIRCUIT_OPEN", { "call#0": 1 }, { letters: ["call pending 0"] }),
    "pause-parked": completed(4, { "before#0": 1, "rest#0": 1, "after#0": 1 }, { calls: ["after"] }),
    "saga-half": {
      ...{ status: "cancelled", error: "not wanted", attempts: { "book#0": 1, "pay#0": 1 } },
      ...{ undone: ["pay", "book"], calls: ["book undoes booking"] },
    },
  }),
  ...all("signalled", { "approve-parked": completed("Ada: well done", APPROVE, { calls: ["file"] }) }),
  ...all("forked", { "desk-completed": completed("answered help!", DESK, { calls: ["desk-forked support"] }) }),
  ...all("redriven", {
    "line-failed": completed("20, with b9fa5909", LINE, { letters: ["b succeeded 1"], calls: ["b", "c"] }),
    "line-discarded": { error: "DEAD_LETTER_DISCARDED" },
    "line-quarantined": { error: "DEAD_LETTER_QUARANTINED" },
    "rounds-failed": completed("draft 3", ROUNDS, {
      ...{ letters: ["review succeeded 1"], calls: ["review 2", "draft 2", "review 3", "publish"] },
    }),
    "outer-failed": completed(
      112,
      { "nested#0": 1, "end#0": 1 },
      { letters: ["nested succeeded 1"], calls: ["outer-failed/nested#0 y", "end"] },
    ),
    "fuse-failed": failed("CIRCUIT_OPEN", { "call#0": 0 }, { costUsd: 0.5, letters: ["call pending 1"] }),
  }),
  ...all("redriven by force", {
    "line-quarantined": completed("20, with 642bcc86", LINE, { letters: ["b succeeded 4"], calls: ["b", "c"] }),
    "line-discarded": { error: "DEAD_LETTER_DISCARDED" },
  }),
];

function all(how: GoldenRun["how"], runs: Record<string, Comes>): GoldenRun[] {
  return Object.entries(runs).map(([run, comes]) => ({ run, how, comes }));
}
