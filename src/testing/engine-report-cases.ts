import { deepEqual, equal, ok } from "node:assert/strict";
import { Broken, fail, type EngineCases, gate } from "./engine-world.ts";

/** What a run tells of itself: steps, events and names. */
export const REPORTS: EngineCases = {
  "the breaker of a node is named after workflow and node, and is shared by the runs of an engine (C10.10)": async (
    world,
  ) => {
    const workflow = world.workflow({
      id: "w",
      nodes: { n: world.node(fail("down")) },
      policies: { n: { circuitBreaker: { failureThreshold: 2 } } },
    });
    const engine = world.engine();
    for (let i = 0; i < 3; i++) await engine.run(workflow, i);
    deepEqual(
      world.eventsOf("breaker.changed").map(({ policy, to }) => [policy, to]),
      [["w/n", "OPEN"]],
    );
    const refused = await engine.run(workflow, 9);
    equal((refused.error?.cause as { code?: string }).code, "CIRCUIT_OPEN");
    equal(world.log.callsOf("n#0"), 2);
    // C0.2: calls that were really made.
    deepEqual([refused.agentSteps[0]?.attempts, refused.deadLetters[0]?.attempts], [0, 0]);
  },

  "steps tell node, invocation, attempts, who served and for how long (C10.3)": async (world) => {
    const { clock } = world.runtime;
    const workflow = world.workflow({
      nodes: { a: async () => clock.sleep(3000), b: fail("no"), spare: async () => clock.sleep(1000) },
      edges: [["a", "b"]],
      fallbacks: [["b", "spare"]],
      policies: { a: { retry: {} } },
    });
    const startedAt = clock.wallNow();
    const result = await world.finish(world.engine().run(workflow, null));
    const ofA = { nodeId: "a", invocationId: "a#0", attempts: 1, servedBy: "a", durationMs: 3000, costUsd: 0 };
    const [a, b, spare] = result.agentSteps;
    deepEqual(a, ofA);
    deepEqual(
      { ...b, error: undefined },
      { ...ofA, nodeId: "b", invocationId: "b#0", servedBy: "b", durationMs: 0, error: undefined },
    );
    deepEqual([b?.error?.name, b?.error?.message], ["Broken", "no"]);
    deepEqual(spare, { ...ofA, nodeId: "b", invocationId: "b#0>spare", servedBy: "spare", durationMs: 1000 });
    deepEqual([result.startedAt, result.endedAt], [startedAt, startedAt + 4000]);
  },

  "what happens is announced once, in order, with its fields (C8.2, C10.6)": async (world) => {
    const workflow = world.workflow({
      id: "w",
      nodes: { a: fail("no"), spare: () => 1, b: fail("never") },
      edges: [["a", "b"]],
      fallbacks: [["a", "spare"]],
      policies: { a: { retry: { maxAttempts: 2, initialDelayMs: 10, jitter: "none" } } },
    });
    await world.finish(world.engine().run(workflow, null, { runId: "r" }));
    const told = world.events.filter(({ type }) => !type.startsWith("retry."));
    deepEqual(
      told.map(({ type }) => type),
      [
        "run.started",
        "node.started",
        "attempt.failed",
        "attempt.started",
        "node.failed",
        "node.started",
        "node.completed",
        "node.started",
        "node.failed",
        "run.failed",
        "dead_letter.entered",
      ],
    );
    for (const event of told)
      deepEqual([(event as { runId?: string }).runId, (event as { workflowId?: string }).workflowId], ["r", "w"]);
    const [completed] = world.eventsOf("node.completed");
    deepEqual(
      [completed?.nodeId, completed?.invocationId, completed?.servedBy, completed?.attempts],
      ["a", "a#0>spare", "spare", 1],
    );
    deepEqual(
      world.eventsOf("attempt.failed").map(({ attempt, retryDelayMs }) => [attempt, retryDelayMs]),
      [[1, 10]],
    );
    deepEqual(
      world.events.map(({ seq }) => seq),
      world.events.map((_, i) => i + 1),
    );
  },

  "nothing is announced before it is stored (C6.1, C8.2)": async (world) => {
    const handle = world.handle();
    const door = gate();
    handle.onAppend = async (moment, n) => {
      if (moment === "asked" && n === 2) await door.promise;
    };
    const workflow = world.workflow({ nodes: { a: () => 1, b: world.node(() => 2) }, edges: [["a", "b"]] });
    const result = world.engine({ store: handle }).run(workflow, null);
    await world.settle();
    deepEqual(
      world.events.map(({ type }) => type),
      ["run.started", "node.started"],
    );
    equal(world.log.callsOf("b#0"), 0);
    door.open();
    await result;
    ok(world.eventsOf("node.completed").length === 2);
  },

  "a listener that throws changes nothing and is reported once (C0.6)": async (world) => {
    world.runtime.events.on(() => {
      throw new Broken("listener");
    });
    const workflow = world.workflow({ nodes: { a: () => 1 } });
    equal((await world.engine().run(workflow, null)).output, 1);
    equal(world.eventsOf("listener.failed").length, 1);
  },

  "any text is the id of a run and of a node (C0.7)": async (world) => {
    const ids = ["__proto__", "constructor", "../x", "a\0b", "🪸", "a#0>b", "%23", "A", "a", "x".repeat(512)];
    const nodes = Object.create(null) as Record<string, () => string>;
    for (const id of ids) Object.defineProperty(nodes, id, { value: () => id, enumerable: true });
    const workflow = world.workflow({ nodes });
    const engine = world.engine();
    for (const runId of ids) {
      const { output, agentSteps } = await engine.run(workflow, runId, { runId });
      deepEqual(Object.entries(output as object).toSorted(), ids.map((id) => [id, id]).toSorted());
      deepEqual(
        agentSteps.map(({ nodeId }) => nodeId),
        ids,
      );
      equal(new Set(agentSteps.map(({ invocationId }) => invocationId)).size, ids.length);
    }
  },
};
