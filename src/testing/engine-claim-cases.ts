import { deepEqual, equal, match, notEqual, ok } from "node:assert/strict";
import type { NodeContext } from "../core/node.ts";
import { rejection } from "./contract-case.ts";
import { type EngineCases, fail, gate } from "./engine-world.ts";

/** Who may carry a run on, and as what. */
export const CLAIMS: EngineCases = {
  "a run is one executor's: another is refused while its lease lasts (C6.4)": async (world) => {
    const door = gate();
    const workflow = world.workflow({ nodes: { n: world.node(() => door.promise) } });
    const first = world.engine().run(workflow, null, { runId: "r" });
    await world.settle();
    // The lease is renewed for as long as the work lasts.
    await world.runtime.clock.advance(60_000);
    await rejection(world.engine().run(workflow, null, { runId: "r" }), "RUN_IN_USE");
    deepEqual(world.eventsOf("run.stopped"), []);
    door.open();
    equal((await first).status, "completed");
    equal(world.log.callsOf("n#0"), 1);
  },

  "a holder that has stalled is refused when it wakes up, says so, and aborts its nodes (C6.4)": async (world) => {
    const doors = [gate<string>(), gate<string>()];
    const signals: AbortSignal[] = [];
    const tokens: number[] = [];
    const workflow = world.workflow({
      nodes: {
        n: (_: unknown, { signal, fencingToken }: NodeContext) => {
          tokens.push(fencingToken);
          signals.push(signal);
          return doors[signals.length - 1]!.promise;
        },
      },
    });
    const stalled = world.handle();
    stalled.renew = () => new Promise(() => {});
    const first = world.engine({ store: stalled }).run(workflow, null, { runId: "r" });
    await world.settle();
    await world.leasesRunOut();
    const second = world.engine().run(workflow, null, { runId: "r" });
    await world.settle();
    const before = await world.store.read("r");
    doors[0]!.open("the stalled one's");
    const error = await rejection(first, "LEASE_LOST");
    deepEqual([(error as { runId?: string }).runId, (error as { token?: number }).token], ["r", 1]);
    deepEqual(await world.store.read("r"), before);
    deepEqual(
      world.eventsOf("lease.lost").map(({ runId, token }) => [runId, token]),
      [["r", 1]],
    );
    deepEqual(
      world.eventsOf("run.stopped").map(({ error: why }) => why),
      [error],
    );
    deepEqual(
      signals.map(({ aborted }) => aborted),
      [true, false],
    );
    doors[1]!.open("the second one's");
    equal((await second).output, "the second one's");
    deepEqual(tokens, [1, 2]);
  },

  "a heartbeat that finds the lease gone stops the run before it writes anything (C6.4)": async (world) => {
    const workflow = world.workflow({ nodes: { n: () => new Promise(() => {}) } });
    const first = rejection(world.engine().run(workflow, null, { runId: "r" }), "LEASE_LOST");
    await world.settle();
    await world.store.claim({
      runId: "r",
      workflowId: "w",
      owner: "thief",
      leaseMs: 60_000,
      isDead: () => true,
      reopen: false,
    });
    await world.runtime.clock.advance(5000);
    await first;
    equal((await world.store.get("r"))?.owner, "thief");
  },

  "no node is started by what was being stored while the lease was lost (C6.4)": async (world) => {
    const handle = world.handle();
    const answer = gate();
    handle.onAppend = (moment, n) => (moment === "stored" && n === 2 ? answer.promise : undefined);
    const workflow = world.workflow({ nodes: { a: () => 1, b: world.node(() => 2) }, edges: [["a", "b"]] });
    const result = rejection(world.engine({ store: handle }).run(workflow, null, { runId: "r" }), "LEASE_LOST");
    await world.settle();
    const thief = { owner: "thief", leaseMs: 60_000, isDead: () => true, reopen: false };
    await world.store.claim({ runId: "r", workflowId: "w", ...thief });
    await world.runtime.clock.advance(5000);
    answer.open();
    await result;
    equal(world.log.callsOf("b#0"), 0);
  },

  "the same run id with another input or for another workflow is refused, and changes nothing (C6.1)": async (
    world,
  ) => {
    const nodes = { n: world.node((n: number) => n) };
    const workflow = world.workflow({ id: "w", nodes });
    await world.engine().run(workflow, { a: 1 }, { runId: "r" });
    const other = await rejection(world.engine().run(workflow, { a: 2 }, { runId: "r" }), "RUN_IN_USE");
    match(other.message, /Run "r" was started with another input/);
    const foreign = await rejection(
      world.engine().run(world.workflow({ id: "v", nodes }), { a: 1 }, { runId: "r" }),
      "RUN_IN_USE",
    );
    match(foreign.message, /Run "r" belongs to workflow "w", not "v"/);
    equal((await world.engine().run(workflow, { a: 1 }, { runId: "r" })).resumed, true);
    equal(world.log.callsOf("n#0"), 1);
  },

  "a run is not carried on with another definition, and the error says what has changed (C5.10)": async (world) => {
    const nodes = { a: (n: number) => n, b: (n: number) => n, c: (n: number) => n };
    const before = {
      id: "w",
      nodes,
      edges: [
        ["a", "b"],
        ["b", "c"],
      ] as [string, string][],
    };
    const handle = world.handle();
    handle.dieAt(2, "asked");
    await rejection(
      world.engine({ store: handle }).run(world.workflow(before), 1, { runId: "r" }),
      "STORE_UNAVAILABLE",
    );
    await world.leasesRunOut();
    const changed = world.workflow({
      ...before,
      edges: [
        ["a", "c"],
        ["b", "c", { x: "y" }],
      ],
      fallbacks: [["b", "c"]],
      version: "2",
    });
    const error = await rejection(world.engine().run(changed, 1, { runId: "r" }), "VERSION_MISMATCH");
    for (const part of [
      'the version "1"',
      'the edge from "a" to "b"',
      'now has the edge from "b" to "c" with "x" to "y"',
      'the fallback from "b" to "c"',
    ])
      ok(error.message.includes(part), `${part} in: ${error.message}`);
    // The lease was given back, so that the right one need not wait for it.
    const right = world.workflow({ ...before, policies: { a: { retry: {} } } });
    equal((await world.engine().run(right, 1, { runId: "r" })).output, 1);
  },

  "a run that has ended gives its stored result, and calls nothing (C6.9)": async (world) => {
    const good = world.workflow({ id: "good", nodes: { n: world.node(() => new Map([["k", 1n]])) } });
    const bad = world.workflow({ id: "bad", nodes: { n: world.node(fail("no")) } });
    for (const [runId, workflow] of [
      ["g", good],
      ["b", bad],
    ] as const) {
      const first = await world.engine().run(workflow, null, { runId });
      const calls = world.log.callsOf("n#0");
      const again = await world.engine().run(workflow, null, { runId });
      deepEqual({ ...again, error: undefined }, { ...first, error: undefined, resumed: true });
      equal(again.error?.message, first.error?.message);
      equal(world.log.callsOf("n#0"), calls);
      notEqual(again, first);
    }
  },
};
