import { deepEqual, equal, match, ok } from "node:assert/strict";
import type { NodeContext } from "../core/node.ts";
import { Broken, type EngineCases, fail, gate } from "./engine-world.ts";

/** What becomes of data, failures and fallbacks on the way through a graph. */
export const WALKS: EngineCases = {
  "the input goes to the start nodes, and the output of the only end node is the result (C5.3, C10.3)": async (
    world,
  ) => {
    const workflow = world.workflow({
      nodes: { double: (n: number) => n * 2, show: (n: number) => `got ${n}` },
      edges: [["double", "show"]],
    });
    const { output, success, status, degraded, deadLetters, resumed } = await world.engine().run(workflow, 21);
    deepEqual(
      { output, success, status, degraded, deadLetters, resumed },
      { output: "got 42", success: true, status: "completed", degraded: false, deadLetters: [], resumed: false },
    );
  },

  "the outputs of several end nodes are the result under their ids (C10.3)": async (world) => {
    const workflow = world.workflow({
      nodes: { a: (n: number) => n + 1, b: () => undefined, c: (n: number) => n * 3, "b-2": (n: number) => n },
      edges: [["a", "c"]],
    });
    const { output } = await world.engine().run(workflow, 1);
    deepEqual(output, { b: undefined, c: 6, "b-2": 1 });
  },

  "fields are mapped, and where edges meet a whole output lies under the id of its node (C5.3)": async (world) => {
    const inputs: unknown[] = [];
    const workflow = world.workflow({
      nodes: {
        mail: () => ({ body: "hi", from: "ann" }),
        rank: () => 7,
        route: (input: unknown) => void inputs.push(input),
        only: (input: unknown) => void inputs.push(input),
      },
      edges: [
        ["mail", "route", { body: "text", from: "sender" }],
        ["rank", "route"],
        ["mail", "only", { from: "who" }],
      ],
    });
    await world.engine().run(workflow, null);
    deepEqual(inputs, [{ who: "ann" }, { text: "hi", sender: "ann", rank: 7 }].toSorted(byWho));
  },

  "a mapping from a field that is not there fails the node that it leads to, and names both (C5.3)": async (world) => {
    const workflow = world.workflow({
      nodes: { a: () => ({ text: 1 }), b: world.node(() => 1) },
      edges: [["a", "b", { txet: "t" }]],
    });
    const { error, agentSteps, deadLetters } = await world.engine().run(workflow, null);
    match(String(error), /edge from "a" to "b" maps the field "txet", but the output of "a" has only "text"/);
    deepEqual(
      agentSteps.map(({ nodeId }) => nodeId),
      ["a", "b"],
    );
    equal(world.log.callsOf("b#0"), 0);
    equal(deadLetters[0]?.payload, null);
  },

  "a node starts when all that lead to it are done, and independent nodes run at the same time (C5.3)": async (
    world,
  ) => {
    const doors = { a: gate(), b: gate(), c: gate() };
    const begun: string[] = [];
    const wait = (id: keyof typeof doors) => async () => {
      begun.push(id);
      await doors[id].promise;
      return id;
    };
    const workflow = world.workflow({
      nodes: {
        a: wait("a"),
        b: wait("b"),
        c: wait("c"),
        join: (all: object) => begun.push("join") && Object.keys(all),
      },
      edges: [
        ["a", "join"],
        ["b", "join"],
        ["c", "join"],
      ],
    });
    const result = world.engine().run(workflow, null);
    await world.settle();
    deepEqual(begun, ["a", "b", "c"]);
    doors.c.open();
    doors.a.open();
    await world.settle();
    deepEqual(begun, ["a", "b", "c"]);
    doors.b.open();
    // In the order of the edges, whoever finishes first.
    deepEqual((await result).output, ["a", "b", "c"]);
  },

  "no more nodes of a run work at the same time than its concurrency says (C5.3, C10.4)": async (world) => {
    let working = 0;
    let most = 0;
    const work = async (): Promise<void> => {
      most = Math.max(most, ++working);
      await world.runtime.clock.sleep(10);
      working--;
    };
    const ids = Array.from({ length: 7 }, (_, i) => `n${i}`);
    const workflow = world.workflow({ concurrency: 3, nodes: Object.fromEntries(ids.map((id) => [id, work])) });
    const { status } = await world.finish(world.engine().run(workflow, null));
    deepEqual([status, most], ["completed", 3]);
  },

  "no more runs are carried out at the same time than the engine's concurrency says (C10.5)": async (world) => {
    let working = 0;
    let most = 0;
    const workflow = world.workflow({
      nodes: {
        work: async () => {
          most = Math.max(most, ++working);
          await world.runtime.clock.sleep(10);
          working--;
        },
      },
    });
    const engine = world.engine({ concurrency: 2 });
    const results = await world.finish(Promise.all([1, 2, 3, 4, 5].map((n) => engine.run(workflow, n))));
    deepEqual(
      results.map(({ status }) => status),
      Array(5).fill("completed"),
    );
    equal(most, 2);
  },

  "a node is told which call of what it is (C5.2)": async (world) => {
    const contexts: NodeContext[] = [];
    const workflow = world.workflow({
      id: "w",
      nodes: {
        n: (_: unknown, context: NodeContext) => contexts.push(context) && fail("no")(),
        spare: (_: unknown, context: NodeContext) => contexts.push(context),
      },
      fallbacks: [["n", "spare"]],
      policies: { n: { retry: { maxAttempts: 2, initialDelayMs: 1 }, timeout: { attemptTimeoutMs: 1000 } } },
    });
    await world.finish(world.engine().run(workflow, null, { runId: "r" }));
    const seen = contexts.map(({ runId, workflowId, nodeId, invocationId, attempt, fencingToken }) => ({
      runId,
      workflowId,
      nodeId,
      invocationId,
      attempt,
      fencingToken,
    }));
    const same = { runId: "r", workflowId: "w", fencingToken: 1 };
    deepEqual(seen, [
      { ...same, nodeId: "n", invocationId: "n#0", attempt: 1 },
      { ...same, nodeId: "n", invocationId: "n#0", attempt: 2 },
      { ...same, nodeId: "spare", invocationId: "n#0>spare", attempt: 1 },
    ]);
    equal(contexts[0]!.deadline, 1000);
    ok(contexts[0]!.signal instanceof AbortSignal);
    for (const { idempotencyKey } of contexts) match(idempotencyKey, /^[0-9a-f]{64}$/);
  },

  "each attempt gets an input of its own, whatever an earlier one did to its (C6.6)": async (world) => {
    const seen: number[] = [];
    const workflow = world.workflow({
      nodes: {
        n: (input: { list: number[] }) => {
          seen.push(input.list.length);
          input.list.push(9);
          if (seen.length < 3) throw new Broken("again");
        },
      },
      policies: { n: { retry: { maxAttempts: 3, initialDelayMs: 1 } } },
    });
    await world.finish(world.engine().run(workflow, { list: [1] }));
    deepEqual(seen, [1, 1, 1]);
  },

  "backups are tried in order and depth first, and whoever serves takes the node's place (C5.4)": async (world) => {
    const order: string[] = [];
    const broken = (id: string) => (): never => {
      order.push(id);
      throw new Broken(id);
    };
    const workflow = world.workflow({
      nodes: {
        main: broken("main"),
        first: broken("first"),
        "first-of-first": broken("first-of-first"),
        second: (text: string) => order.push("second") && `${text} by second`,
        never: broken("never"),
        end: (text: string) => text.toUpperCase(),
      },
      edges: [["main", "end"]],
      fallbacks: [
        ["main", "first"],
        ["main", "second"],
        ["main", "never"],
        ["first", "first-of-first"],
      ],
    });
    const { output, degraded, success, agentSteps, nodeFailures } = await world.engine().run(workflow, "done");
    deepEqual(order, ["main", "first", "first-of-first", "second"]);
    deepEqual([output, degraded, success], ["DONE BY SECOND", true, true]);
    deepEqual(
      agentSteps.map(({ nodeId, servedBy, error }) => [nodeId, servedBy, error?.message]),
      [
        ["main", "main", "main"],
        ["main", "first", "first"],
        ["main", "first-of-first", "first-of-first"],
        ["main", "second", undefined],
        ["end", "end", undefined],
      ],
    );
    deepEqual(
      nodeFailures,
      new Map([
        ["main", 1],
        ["first", 1],
        ["first-of-first", 1],
      ]),
    );
  },

  "a backup has policies of its own, and one that nothing leads to runs on failover only (C5.4)": async (world) => {
    const workflow = world.workflow({
      nodes: {
        main: world.node(fail("main")),
        spare: world.node(fail("spare")),
        idle: world.node(() => 1),
        other: world.node(() => 2),
      },
      fallbacks: [
        ["main", "spare"],
        ["other", "idle"],
      ],
      policies: {
        main: { retry: { maxAttempts: 2, initialDelayMs: 1 } },
        spare: { retry: { maxAttempts: 3, initialDelayMs: 1 } },
      },
    });
    const { status, agentSteps } = await world.finish(world.engine().run(workflow, null));
    equal(status, "failed");
    deepEqual([world.log.callsOf("main#0"), world.log.callsOf("main#0>spare")], [2, 3]);
    deepEqual(
      [world.log.callsOf("other#0"), world.log.callsOf("idle#0"), world.log.callsOf("other#0>idle")],
      [1, 0, 0],
    );
    deepEqual(agentSteps.map(({ invocationId, attempts }) => [invocationId, attempts]).toSorted(), [
      ["main#0", 2],
      ["main#0>spare", 3],
      ["other#0", 1],
    ]);
  },

  "a node may stand in for another and have a place of its own in the graph (C5.4)": async (world) => {
    const workflow = world.workflow({
      nodes: {
        main: fail("no"),
        b: world.node((n: number) => n + 1),
        start: (n: number) => n,
        join: (all: unknown) => all,
      },
      edges: [
        ["start", "b"],
        ["b", "join"],
        ["start", "main"],
        ["main", "join"],
      ],
      fallbacks: [["main", "b"]],
    });
    const { output, degraded } = await world.engine().run(workflow, 1);
    deepEqual([output, degraded], [{ b: 2, main: 2 }, true]);
    deepEqual([world.log.callsOf("b#0"), world.log.callsOf("main#0>b")], [1, 1]);
  },

  "a node that has failed for good fails the run, which starts nothing more and keeps what was working (C5.6)": async (
    world,
  ) => {
    const door = gate();
    const workflow = world.workflow({
      nodes: {
        bad: world.node(fail("boom")),
        slow: world.node(async () => door.promise),
        after: world.node(() => 1),
        "after-slow": world.node(() => 1),
      },
      edges: [
        ["bad", "after"],
        ["slow", "after-slow"],
      ],
    });
    const result = world.engine().run(workflow, "in", { runId: "r" });
    await world.settle();
    door.open();
    const { success, status, output, error, agentSteps, deadLetters, nodeFailures } = await result;
    deepEqual([success, status, output], [false, "failed", undefined]);
    deepEqual(
      { ...error, message: "", cause: "" },
      { code: "WORKFLOW_EXECUTION", runId: "r", nodeId: "bad", attempts: 1, message: "", cause: "" },
    );
    match(String(error), /Node "bad" of run "r" failed after 1 attempt: boom/);
    deepEqual([(error?.cause as Error).name, (error?.cause as Error).message], ["Broken", "boom"]);
    deepEqual(
      agentSteps.map(({ nodeId, error: why }) => [nodeId, why?.message]),
      [
        ["bad", "boom"],
        ["slow", undefined],
      ],
    );
    deepEqual(
      deadLetters.map(({ nodeId, status: state }) => [nodeId, state]),
      [["bad", "pending"]],
    );
    deepEqual(nodeFailures, new Map([["bad", 1]]));
    deepEqual([world.log.callsOf("after#0"), world.log.callsOf("after-slow#0")], [0, 0]);
  },

  "a graph that cannot be run is refused before anything is stored (C5.1)": async (world) => {
    const workflow = world.workflow({ nodes: { a: () => 1 }, edges: [["a", "b"]] });
    const result = world.engine().run(workflow, null, { runId: "r" });
    await result.then(
      () => ok(false, "it ran"),
      (error: { code?: string }) => equal(error.code, "WORKFLOW_DEFINITION"),
    );
    equal(await world.store.get("r"), undefined);
  },
};

function byWho(a: object): number {
  return "who" in a ? -1 : 1;
}
