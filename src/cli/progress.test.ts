import { beforeEach, describe, expect, test } from "vitest";
import { RunInUseError, StoreUnavailableError } from "../core/errors.ts";
import type { EventTable, EventType, HoldfastEvent } from "../core/events.ts";
import { createEngine } from "../default-engine.ts";
import { readHistory } from "../engine/history.ts";
import { MemoryStore } from "../stores/memory.ts";
import { Workflow } from "../workflow.ts";
import { planWorkflow } from "../workflow/plan.ts";
import { follow, frame, isLasting, newProgress, type Progress, transition } from "./progress.ts";

const workflow = new Workflow({ id: "triage" })
  .addNode("fetch", () => "text")
  .addNode("classify", (_text: string) => "spam")
  .addNode("rules", (_text: string) => "inbox")
  .addNode("route", (_label: string) => 1)
  .connect("fetch", "classify")
  .connect("classify", "route")
  .addFallback("classify", "rules");
const plan = planWorkflow(workflow.definition);

let progress: Progress;
let seq: number;
beforeEach(() => {
  progress = newProgress({ runId: "m-1", plan, history: undefined, now: 1000, store: [] });
  seq = 0;
});

/** An event of the run at an instant; its run and workflow need not be said. */
function event<K extends EventType>(type: K, at: number, fields: Partial<EventTable[K]>): HoldfastEvent {
  return { type, at, seq: ++seq, runId: "m-1", workflowId: "triage", ...fields } as unknown as HoldfastEvent;
}

function drawn(now: number, columns = 100, rows = 24): string[] {
  return frame(progress, now, columns, rows).split("\n");
}

const classify = { nodeId: "classify", invocationId: "classify#0" };

describe("the live region", () => {
  test("begins with what there is to do, backups on standby left out", () => {
    expect(drawn(1000)).toEqual(["triage m-1: 0 of 3 nodes, 3 left, 0 ms"]);
  });

  test("has a row for each open node, which goes when the node is done, and tells the rate", () => {
    follow(progress, event("node.started", 1000, { nodeId: "fetch", invocationId: "fetch#0" }));
    expect(drawn(1500)).toEqual(["triage m-1: 0 of 3 nodes, 3 left, 0.5 s", "  fetch  attempt 1, 0.5 s"]);
    follow(progress, event("node.completed", 1500, { nodeId: "fetch", invocationId: "fetch#0" }));
    follow(progress, event("node.started", 1500, classify));
    expect(drawn(1600)).toEqual([
      "triage m-1: 1 of 3 nodes, 2 left, 1.7 nodes/s, 0.6 s",
      "  classify  attempt 1, 0.1 s",
    ]);
  });

  test("counts down while a failed attempt waits for the next, and tells why it failed", () => {
    follow(progress, event("node.started", 1000, classify));
    follow(
      progress,
      event("attempt.failed", 2000, {
        ...classify,
        attempt: 1,
        error: new Error("503\nslow down"),
        retryDelayMs: 5000,
      }),
    );
    expect(drawn(2800)[1]).toBe("  classify  attempt 1 failed, next in 4.2 s: 503 slow down");
    expect(drawn(9000)[1]).toBe("  classify  attempt 1 failed, next in 0 ms: 503 slow down");
    follow(progress, event("attempt.started", 7000, { ...classify, attempt: 2 }));
    expect(drawn(8000)[1]).toBe("  classify  attempt 2, 1.0 s");
  });

  test("names the backup that stands in, and breakers that are not closed", () => {
    follow(progress, event("node.started", 1000, classify));
    follow(progress, event("breaker.changed", 1100, { policy: "triage/classify", from: "CLOSED", to: "OPEN" }));
    follow(progress, event("node.failed", 1100, { ...classify, attempts: 3, error: new Error("503") }));
    follow(progress, event("node.started", 1100, { nodeId: "classify", invocationId: "classify#0>rules" }));
    expect(drawn(1200).slice(1)).toEqual([
      "  rules (for classify)  attempt 1, 0.1 s",
      "  breaker triage/classify is open",
    ]);
    follow(progress, event("breaker.changed", 1300, { policy: "triage/classify", from: "OPEN", to: "HALF_OPEN" }));
    expect(drawn(1300).at(-1)).toBe("  breaker triage/classify is half-open");
    follow(progress, event("breaker.changed", 1400, { policy: "triage/classify", from: "HALF_OPEN", to: "CLOSED" }));
    expect(drawn(1400)).toHaveLength(2);
  });

  test("fits the screen, says how much it leaves out, and breaks no line", () => {
    for (let i = 0; i < 30; i++)
      follow(progress, event("node.started", 1000, { nodeId: `n${i}\u001b[2J`, invocationId: `n${i}#0` }));
    const lines = drawn(1000, 20, 10);
    expect(lines).toHaveLength(9);
    expect(lines.at(-1)).toBe("  and 23 more");
    expect(lines.every((line) => line.length <= 20 && !line.includes("\u001b"))).toBe(true);
  });

  test("says that a run pauses and counts down to the next try, until it goes on (C6.10)", () => {
    follow(progress, event("node.started", 1000, classify));
    const error = new StoreUnavailableError("The database is locked.");
    follow(progress, event("run.paused", 2000, { error, retryDelayMs: 4000 }));
    expect(drawn(3000).slice(1)).toEqual(["  store in trouble, retrying in 3.0 s: The database is locked."]);
    follow(progress, event("run.resumed", 6000, { interrupted: 1 }));
    expect(drawn(6000)).toHaveLength(1);
  });

  test("leaves out the events of other runs, which a node may carry out", () => {
    const foreign = { ...classify, runId: "other" };
    follow(progress, event("node.started", 1000, foreign));
    expect(drawn(1000)).toHaveLength(1);
    expect(transition(progress, event("node.started", 1000, foreign))).toBeUndefined();
  });

  test("of a resumed run begins with what is done, and with the wait that goes on (C6.3)", async () => {
    const store = new MemoryStore();
    const down = new Workflow({ id: "w" })
      .addNode("a", () => 1)
      .addNode("b", (_: number): number => {
        throw new Error("503");
      })
      .connect("a", "b")
      .configureRetry("b", { maxAttempts: 2, initialDelayMs: 60_000, jitter: "none" });
    let retryAt = 0;
    const engine = createEngine({
      store,
      onEvent: (seen) => {
        if (seen.type === "attempt.failed") retryAt = seen.at + seen.retryDelayMs;
      },
    });
    const run = engine.run(down, undefined, { runId: "r" });
    await expect.poll(() => retryAt).toBeGreaterThan(0);
    const history = await readHistory(store, "r");
    const resumed = newProgress({
      runId: "r",
      plan: planWorkflow(down.definition),
      history,
      now: retryAt - 4000,
      store: [],
    });
    const lines = frame(resumed, retryAt - 3000, 100, 24).split("\n");
    expect(lines).toEqual([
      "w r: 1 of 2 nodes, 1 left, 1.0 s",
      expect.stringMatching(/^ {2}b {2}attempt 1 failed, next in [23]\.\d s: 503$/),
    ]);
    await engine.close();
    await expect(run).rejects.toThrow("closed");
  });
});

describe("a line for each transition", () => {
  test.each([
    [event("run.started", 0, {}), "run m-1 of triage started"],
    [event("run.resumed", 0, { interrupted: 0 }), "run m-1 of triage resumed"],
    [event("run.resumed", 0, { interrupted: 2 }), "run m-1 of triage resumed; 2 nodes had been interrupted"],
    [event("node.started", 0, classify), "classify started"],
    [event("attempt.started", 0, { ...classify, attempt: 2 }), "classify attempt 2"],
    [
      event("attempt.failed", 0, { ...classify, attempt: 2, retryDelayMs: 1500, error: new Error("503") }),
      "classify attempt 2 failed, next in 1.5 s: 503",
    ],
    [
      event("node.completed", 0, { ...classify, attempts: 3, durationMs: 250, servedBy: "classify" }),
      "classify completed after 3 attempts, 0.3 s",
    ],
    [event("node.failed", 0, { ...classify, attempts: 1, error: "gone" }), "classify failed after 1 attempt: gone"],
    [event("breaker.changed", 0, { policy: "p", from: "CLOSED", to: "OPEN" }), "breaker p is open, was closed"],
    [event("dead_letter.entered", 0, { ...classify, deadLetterId: "dl_1" }), "classify left dead letter dl_1"],
    [event("dead_letter.redriven", 0, { nodeId: "classify" }), "run m-1 of triage: classify is redriven"],
    [
      event("dead_letter.settled", 0, { nodeId: "classify", deadLetterId: "dl_1" }),
      "classify settled dead letter dl_1",
    ],
    [
      event("value.large", 0, { nodeId: "fetch", bytes: 3 * 2 ** 20 }),
      "warning: fetch returned 3.0 MB; keep large values elsewhere",
    ],
    [
      event("journal.damaged", 0, { seq: 4, why: "its checksum does not fit" }),
      "warning: the journal of run m-1 is damaged at record 4: its checksum does not fit; the run goes on from before it",
    ],
    [
      event("run.paused", 0, { error: new StoreUnavailableError("The database\nis locked."), retryDelayMs: 500 }),
      "store in trouble, retrying in 0.5 s: The database is locked.",
    ],
    [event("retry.scheduled", 0, { policy: "p" }), undefined],
    [event("run.completed", 0, { degraded: false }), undefined],
  ])("$type", (seen, line) => {
    expect(transition(newProgress({ runId: "m-1", plan, history: undefined, now: 0, store: [] }), seen)).toBe(line);
  });

  test("that another engine has the run is told once, however often it is looked at (C6.10)", () => {
    const error = new RunInUseError("m-1", "Another engine has it.");
    const told = [1, 2, 3].map((at) => {
      const paused = event("run.paused", at, { error, retryDelayMs: 1000 });
      const line = transition(progress, paused);
      follow(progress, paused);
      return line;
    });
    expect(told).toEqual(["carried out elsewhere, waiting for its end: Another engine has it.", undefined, undefined]);
  });

  test("what a person must still see later is not only drawn in the region", () => {
    expect(isLasting(progress, event("node.failed", 0, {}))).toBe(true);
    expect(isLasting(progress, event("node.started", 0, {}))).toBe(false);
  });
});

describe("a node that waits", () => {
  const approval = { nodeId: "approval", invocationId: "approval#0" };
  const asked = (wakeAt: number | null, signal: string | null): HoldfastEvent =>
    event("node.waiting", 1000, { ...approval, wakeAt, signal });

  test("has a row that counts down, or says for what it waits (C5.2)", () => {
    follow(progress, event("node.started", 1000, approval));
    follow(progress, asked(5000, null));
    expect(drawn(2000)[1]).toBe("  approval  waits for another 3.0 s");
    follow(progress, asked(null, "answer"));
    expect(drawn(2000)[1]).toBe("  approval  waits for the signal answer");
    follow(progress, asked(62_000, "answer"));
    expect(drawn(2000)[1]).toBe("  approval  waits for the signal answer, for another 1 min 0 s at most");
    follow(progress, event("node.completed", 2000, { ...approval, attempts: 1 }));
    expect(drawn(2000)).toHaveLength(1);
  });

  test("is told of for good where it waits for a signal, with the command that sends it (C5.2)", () => {
    const told = { ...progress, store: ["--store", "a b.db"] };
    expect(transition(told, asked(null, "answer"))).toBe(
      "approval waits for the signal answer. Send it with:\n  npx holdfast signal m-1 answer --store 'a b.db' --payload JSON",
    );
    expect(transition(told, asked(0, null))).toBe("approval waits until 1970-01-01T00:00:00.000Z");
    expect([isLasting(told, asked(null, "answer")), isLasting(told, asked(0, null))]).toEqual([true, false]);
  });

  test("in a run inside this one is told of under the id of that run, and no other run is (C5.2)", () => {
    const inside = { ...asked(null, "answer"), runId: "m-1/ship#0" } as HoldfastEvent;
    expect(transition(progress, inside)).toBe(
      "approval of m-1/ship#0 waits for the signal answer. Send it with:\n  npx holdfast signal 'm-1/ship#0' answer --payload JSON",
    );
    expect(transition(progress, { ...inside, runId: "m-12" } as HoldfastEvent)).toBeUndefined();
    follow(progress, inside);
    expect(drawn(2000)).toHaveLength(1);
  });
});
