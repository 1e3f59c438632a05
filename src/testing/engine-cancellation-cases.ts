import { deepEqual, equal, match, notEqual } from "node:assert/strict";
import type { NodeContext } from "../core/node.ts";
import { rejection } from "./contract-case.ts";
import { Broken, type EngineCases, type EngineWorld, gate } from "./engine-world.ts";

/** A node that works until it is told to stop, and then fails as such functions do. */
function untilStopped(world: EngineWorld<unknown>, signals: AbortSignal[] = []) {
  return world.node((_: unknown, { signal }: NodeContext) => {
    signals.push(signal);
    return new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  });
}

/** How a run is stopped: by its caller, by closing the engine; and how callers share one. */
export const CANCELLATION: EngineCases = {
  "a run that its caller aborts is cancelled, and its nodes are told (C0.8)": async (world) => {
    const signals: AbortSignal[] = [];
    const workflow = world.workflow({
      nodes: { done: () => 1, slow: untilStopped(world, signals), next: world.node(() => 2) },
      edges: [["slow", "next"]],
      policies: { slow: { retry: { maxAttempts: 5 }, circuitBreaker: { failureThreshold: 1 } } },
    });
    const controller = new AbortController();
    const reason = new Error("the user left");
    const result = world.engine().run(workflow, null, { runId: "r", signal: controller.signal });
    await world.settle();
    controller.abort(reason);
    const { status, success, error, agentSteps, deadLetters, nodeFailures } = await result;
    deepEqual([status, success, signals.map(({ aborted }) => aborted)], ["cancelled", false, [true]]);
    deepEqual([signals[0]!.reason, (error as { nodeId?: string }).nodeId], [reason, undefined]);
    match(String(error), /Run "r" was cancelled: the user left/);
    // No node is blamed, counted or left for a redrive.
    deepEqual(
      agentSteps.map(({ nodeId }) => nodeId),
      ["done"],
    );
    deepEqual([deadLetters, nodeFailures, await world.store.deadLetters()], [[], new Map(), []]);
    deepEqual([world.eventsOf("node.failed"), world.eventsOf("breaker.changed")], [[], []]);
    deepEqual([world.log.callsOf("slow#0"), world.log.callsOf("next#0")], [1, 0]);
    equal(world.eventsOf("run.cancelled").length, 1);
    // It has ended: asked for again, it is still cancelled.
    equal((await world.engine().run(workflow, null, { runId: "r" })).status, "cancelled");
    equal(world.log.callsOf("slow#0"), 1);
  },

  "a signal that was aborted beforehand keeps every node from being called (C0.8, C1.6)": async (world) => {
    const workflow = world.workflow({ nodes: { n: world.node(() => 1) } });
    const { status } = await world.engine().run(workflow, null, { signal: AbortSignal.abort() });
    deepEqual([status, world.log.callsOf("n#0")], ["cancelled", 0]);
  },

  "an abort while a start is being stored keeps its node from being called (C1.6)": async (world) => {
    const handle = world.handle();
    const door = gate();
    handle.onAppend = (_moment, n) => (n === 2 ? door.promise : undefined);
    const workflow = world.workflow({ nodes: { a: () => 1, b: world.node(() => 2) }, edges: [["a", "b"]] });
    const controller = new AbortController();
    const result = world.engine({ store: handle }).run(workflow, null, { signal: controller.signal });
    await world.settle();
    controller.abort();
    door.open();
    deepEqual([(await result).status, world.log.callsOf("b#0")], ["cancelled", 0]);
  },

  "an abort during the wait for a retry cancels at once (C1.6)": async (world) => {
    const workflow = world.workflow({
      nodes: {
        n: world.node(() => {
          throw new Broken("again");
        }),
      },
      policies: { n: { retry: { initialDelayMs: 30_000, jitter: "none" } } },
    });
    const controller = new AbortController();
    const result = world.engine().run(workflow, null, { signal: controller.signal });
    await world.settle();
    controller.abort();
    deepEqual([(await result).status, world.log.callsOf("n#0")], ["cancelled", 1]);
    equal(world.runtime.clock.pendingTimers, 0);
  },

  "what nodes have finished when a run is aborted is kept (C6.1)": async (world) => {
    const handle = world.handle();
    const storing = gate();
    handle.onAppend = (moment, n) => (moment === "asked" && n === 2 ? storing.promise : undefined);
    const door = gate();
    const workflow = world.workflow({ nodes: { a: () => 1, b: async () => door.promise, c: untilStopped(world) } });
    const controller = new AbortController();
    const result = world.engine({ store: handle }).run(workflow, null, { signal: controller.signal });
    await world.settle();
    // While the end of a is being stored, b ends as well, and then the caller gives up.
    door.open();
    await world.settle();
    controller.abort();
    storing.open();
    const { status, agentSteps } = await result;
    deepEqual([status, agentSteps.map(({ nodeId }) => nodeId)], ["cancelled", ["a", "b"]]);
  },

  "closing the engine stops its runs, which anyone may carry on at once (C6.4)": async (world) => {
    const signals: AbortSignal[] = [];
    let isFirst = true;
    const stopped = untilStopped(world, signals);
    const workflow = world.workflow({
      nodes: {
        a: world.node(() => 1),
        b: (input: never, context: NodeContext) => (isFirst ? stopped(input, context) : "b"),
      },
      edges: [["a", "b"]],
    });
    const engine = world.engine();
    const result = rejection(engine.run(workflow, null, { runId: "r" }), "ENGINE_CLOSED");
    await world.settle();
    await engine.close();
    await result;
    equal(signals[0]!.aborted, true);
    const row = await world.store.get("r");
    deepEqual([row?.status, row?.owner], ["running", null]);
    deepEqual([world.eventsOf("run.cancelled"), world.eventsOf("node.failed")], [[], []]);
    isFirst = false;
    const { output } = await world.engine().run(workflow, null, { runId: "r" });
    deepEqual([output, world.log.callsOf("a#0")], ["b", 1]);
    await rejection(engine.run(workflow, null), "ENGINE_CLOSED");
    await engine.close();
  },

  "a run that waits for its turn or is being opened when the engine closes is not cancelled (C6.4)": async (world) => {
    const workflow = world.workflow({ nodes: { n: untilStopped(world) } });
    const slow = world.handle();
    const door = gate();
    const claim = slow.claim.bind(slow);
    slow.claim = async (wanted) => {
      if (wanted.runId === "opening") await door.promise;
      return claim(wanted);
    };
    const engine = world.engine({ store: slow, concurrency: 1 });
    const runs = ["working", "opening", "waiting"].map((runId) =>
      rejection(engine.run(workflow, null, { runId }), "ENGINE_CLOSED"),
    );
    await world.settle();
    const closed = engine.close();
    door.open();
    await Promise.all(runs);
    await closed;
    deepEqual(world.eventsOf("run.cancelled"), []);
    for (const row of await world.store.list())
      deepEqual([row.runId, row.status, row.owner], [row.runId, "running", null]);
    // What waits for its turn has been recorded, and what was being opened has not begun.
    deepEqual([(await world.store.get("waiting"))?.version, (await world.store.get("opening"))?.version], [1, 0]);
    equal(world.log.callsOf("n#0"), 1);
  },

  "no node is started by what was being stored while the engine closed (C6.4)": async (world) => {
    const handle = world.handle();
    const door = gate();
    handle.onAppend = (_moment, n) => (n === 1 ? door.promise : undefined);
    const workflow = world.workflow({ nodes: { n: world.node(() => 1) } });
    const engine = world.engine({ store: handle });
    const result = rejection(engine.run(workflow, null, { runId: "r" }), "ENGINE_CLOSED");
    await world.settle();
    const closed = engine.close();
    door.open();
    await Promise.all([result, closed]);
    equal(world.log.callsOf("n#0"), 0);
  },

  "a run that is under way here is joined, and done once (C5.5)": async (world) => {
    const door = gate();
    const workflow = world.workflow({ nodes: { n: world.node(async () => door.promise.then(() => "once")) } });
    const engine = world.engine();
    const first = engine.run(workflow, { a: 1 }, { runId: "r" });
    await world.settle();
    const second = engine.run(workflow, { a: 1 }, { runId: "r" });
    await rejection(engine.run(workflow, { a: 2 }, { runId: "r" }), "RUN_IN_USE");
    const other = world.workflow({ version: "2", nodes: { n: () => 1 } });
    await rejection(engine.run(other, { a: 1 }, { runId: "r" }), "VERSION_MISMATCH");
    const foreign = world.workflow({ id: "other", nodes: { n: () => 1 } });
    await rejection(engine.run(foreign, { a: 1 }, { runId: "r" }), "RUN_IN_USE");
    door.open();
    deepEqual([(await first).output, (await second).output, world.log.callsOf("n#0")], ["once", "once", 1]);
  },

  "whoever has joined a run may cancel it too (C5.5)": async (world) => {
    const workflow = world.workflow({ nodes: { n: untilStopped(world) } });
    const engine = world.engine();
    const controller = new AbortController();
    const first = engine.run(workflow, null, { runId: "r" });
    const second = engine.run(workflow, null, { runId: "r", signal: controller.signal });
    await world.settle();
    controller.abort();
    deepEqual([(await first).status, (await second).status], ["cancelled", "cancelled"]);
  },

  "runs without an id are runs of their own (C5.5)": async (world) => {
    const workflow = world.workflow({ nodes: { n: () => 1 } });
    const engine = world.engine();
    const [one, two] = await Promise.all([engine.run(workflow, null), engine.run(workflow, null)]);
    notEqual(one.runId, two.runId);
  },

  "a run leaves no timer and no listener behind (C0.4)": async (world) => {
    const workflow = world.workflow({
      nodes: {
        n: () => 1,
        flaky: world.node((_: unknown, { attempt }: NodeContext) =>
          attempt < 2 ? Promise.reject(new Broken("once")) : 1,
        ),
      },
      policies: { flaky: { retry: { initialDelayMs: 10 }, timeout: { attemptTimeoutMs: 500 }, circuitBreaker: {} } },
    });
    const { signal } = new AbortController();
    let listeners = 0;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>) => (listeners++, add(...args));
    signal.removeEventListener = (...args: Parameters<typeof remove>) => (listeners--, remove(...args));
    const engine = world.engine();
    equal((await world.finish(engine.run(workflow, null, { signal }))).status, "completed");
    await world.settle();
    deepEqual([world.runtime.clock.pendingTimers, listeners], [0, 0]);
  },
};
