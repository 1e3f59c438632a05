import { deepEqual, equal, match } from "node:assert/strict";
import type { NodeContext } from "../core/node.ts";
import { Broken, type EngineCases, type EngineWorld } from "./engine-world.ts";

/** A workflow with another one as its node, whose second node fails until it is mended. */
function nested(world: EngineWorld<unknown>, inner: { mended: boolean }, retry?: object) {
  const ship = world.workflow({
    id: "ship",
    nodes: {
      pack: world.node((n: number) => n * 10),
      send: world.node((n: number) => {
        if (!inner.mended) throw new Broken("the carrier is on strike");
        return `sent ${n}`;
      }),
    },
    edges: [["pack", "send"]],
  });
  const sale = world.workflow({
    id: "sale",
    nodes: { order: world.node((n: number) => n + 1), ship: { kind: "workflow", workflow: ship } },
    edges: [["order", "ship"]],
    policies: retry === undefined ? {} : { ship: { retry } },
  });
  return { ship, sale };
}

/** Workflows as nodes of others: runs of their own. */
export const INNER_RUNS: EngineCases = {
  "a workflow that is a node runs as a run of its own, whose output is that of the node (C5.2)": async (world) => {
    const { sale } = nested(world, { mended: true });
    // Its inner run needs no slot of its own, or this would wait for ever.
    const engine = world.engine({ concurrency: 1 });
    const { output, agentSteps } = await world.finish(engine.run(sale, 1, { runId: "r" }));
    equal(output, "sent 20");
    deepEqual(
      agentSteps.map(({ nodeId }) => nodeId),
      ["order", "ship"],
    );
    const row = (await engine.get("r/ship#0"))!;
    deepEqual([row.workflowId, row.status], ["ship", "completed"]);
  },

  "a redrive of the node takes the inner run up where it failed, and keeps what it has done (C5.2, C7.2)": async (
    world,
  ) => {
    const inner = { mended: false };
    const { sale } = nested(world, inner);
    const engine = world.engine({ workflows: [sale] });
    const { status, error, deadLetters } = await world.finish(engine.run(sale, 1, { runId: "r" }));
    equal(status, "failed");
    match(String(error), /the carrier is on strike/);
    inner.mended = true;
    const redriven = await world.finish(engine.deadLetters.redrive(deadLetters[0]!.id));
    equal(redriven.output, "sent 20");
    deepEqual([world.log.callsOf("pack#0"), world.log.callsOf("send#0")], [1, 2]);
    const all = await engine.deadLetters.list();
    deepEqual(
      all.map((letter) => letter.status),
      ["succeeded", "succeeded"],
    );
  },

  "a retry of the node does the same (C5.2)": async (world) => {
    const inner = { mended: false };
    const { sale } = nested(world, inner, { maxAttempts: 2, initialDelayMs: 10_000 });
    const result = world.engine().run(sale, 1);
    await world.settle();
    inner.mended = true;
    equal((await world.finish(result)).output, "sent 20");
    deepEqual([world.log.callsOf("pack#0"), world.log.callsOf("send#0")], [1, 2]);
  },

  "a run that dies at any write of the inner or the outer one ends as if it had not (C6.2)": async (world) => {
    for (const moment of ["asked", "stored"] as const) {
      for (let n = 1; n < 8; n++) {
        await world.another(async (one) => {
          const { sale } = nested(one, { mended: true });
          const handle = one.handle();
          handle.dieAt(n, moment);
          const died = one.engine({ store: handle }).run(sale, 1, { runId: "r" });
          died.catch(() => {});
          await one.finish(died.catch(() => {}));
          await one.leasesRunOut();
          const result = one.engine().run(sale, 1, { runId: "r" });
          equal((await one.finish(result)).output, "sent 20", `died at ${moment} ${n}`);
          deepEqual(one.log.violations(), []);
        });
      }
    }
  },

  "cancelling the outer run cancels the inner one, stopping it stops it (C5.9, C6.2)": async (world) => {
    const slow = (_: unknown, { signal }: NodeContext): Promise<never> =>
      new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    const ship = world.workflow({ id: "ship", nodes: { slow } });
    const sale = world.workflow({ id: "sale", nodes: { ship: { kind: "workflow", workflow: ship } } });
    const first = world.engine();
    const cancelled = first.run(sale, 1, { runId: "cancelled" });
    first.run(sale, 1, { runId: "stopped" }).catch(() => {});
    await world.settle();
    await first.cancel("cancelled", "enough");
    equal((await cancelled).status, "cancelled");
    await world.settle();
    equal((await first.get("cancelled/ship#0"))!.status, "cancelled");
    await first.close();
    const row = (await world.store.get("stopped/ship#0"))!;
    deepEqual([row.status, row.owner], ["running", null]);
  },

  "cancelling an outer run that was interrupted ends the inner one too, which no longer has a process (C5.9)": async (
    world,
  ) => {
    const undone: string[] = [];
    const ask = world.workflow({
      id: "ask",
      nodes: { before: () => "room", ask: { kind: "signal", name: "go", timeoutMs: Infinity } },
      edges: [["before", "ask"]],
      forms: { before: { compensate: (room: string) => undone.push(room) } },
    });
    const outer = world.workflow({ id: "outer", nodes: { inner: { kind: "workflow", workflow: ask } } });
    for (const [runId, compensate] of [
      ["plain", false],
      ["undone", true],
    ] as const) {
      const first = world.engine();
      first.run(outer, 1, { runId }).catch(() => {});
      await world.settle();
      await first.close();
      equal((await world.store.get(`${runId}/inner#0`))!.status, "waiting");
      const second = world.engine({ workflows: [outer] });
      await world.finish(second.cancel(runId, "enough", { compensate }));
      const statuses = [await second.get(runId), await second.get(`${runId}/inner#0`)].map((row) => row!.status);
      deepEqual(statuses, ["cancelled", "cancelled"], runId);
      deepEqual(undone, compensate ? ["room"] : []);
    }
  },

  "an inner run that waits for a signal is told by its own id (C5.2)": async (world) => {
    const ask = world.workflow({ id: "ask", nodes: { ask: { kind: "signal", name: "go", timeoutMs: Infinity } } });
    const outer = world.workflow({ id: "outer", nodes: { inner: { kind: "workflow", workflow: ask } } });
    const engine = world.engine();
    const result = engine.run(outer, 1, { runId: "r" });
    await world.settle();
    await engine.signal("r/inner#0", "go", 42);
    equal((await world.finish(result)).output, 42);
  },
};
