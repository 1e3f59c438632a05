import { deepEqual, equal, match, notEqual, rejects } from "node:assert/strict";
import type { NodeContext } from "../core/node.ts";
import { Broken, type EngineCases, type EngineWorld, gate, type Graph } from "./engine-world.ts";

/** Three nodes in a row, which are undone by name, and one that works until it is told to stop. */
function booking(world: EngineWorld<unknown>, undone: string[]): Graph {
  const undo = (output: string): void => void undone.push(output);
  const book = (what: string) => world.node(() => what);
  return {
    nodes: {
      flight: book("flight"),
      hotel: book("hotel"),
      note: book("note"),
      pay: world.node(
        (_: unknown, { signal }: NodeContext) =>
          new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
      ),
    },
    edges: [
      ["flight", "hotel"],
      ["hotel", "note"],
      ["note", "pay"],
    ],
    forms: { flight: { compensate: undo }, hotel: { compensate: undo }, pay: { compensate: undo } },
  };
}

/** Runs that are cancelled by whoever knows their id, and what becomes of what they have done. */
export const COMPENSATION: EngineCases = {
  "a run is cancelled by its id, with the reason (C5.9)": async (world) => {
    const undone: string[] = [];
    const engine = world.engine();
    const result = engine.run(world.workflow(booking(world, undone)), null, { runId: "r" });
    await world.settle();
    await engine.cancel("r", "the customer called");
    const { status, error } = await result;
    equal(status, "cancelled");
    match(String(error), /Run "r" was cancelled: the customer called/);
    deepEqual([undone, (await engine.get("r"))!.status], [[], "cancelled"]);
    await rejects(engine.cancel("r"), { code: "NOT_FOUND" });
    await rejects(engine.cancel("nobody"), { code: "NOT_FOUND" });
  },

  "a run of another engine is cancelled with its next heartbeat (C5.9)": async (world) => {
    const [here, elsewhere] = [world.engine(), world.engine()];
    const result = here.run(world.workflow(booking(world, [])), null, { runId: "r" });
    await world.settle();
    await elsewhere.cancel("r", "from elsewhere");
    match(String((await world.finish(result)).error), /cancelled: from elsewhere/);
  },

  "a run that nobody carries out, or that is parked, is cancelled too (C5.9)": async (world) => {
    const workflow = world.workflow({ nodes: { ask: { kind: "signal", name: undefined, timeoutMs: Infinity } } });
    const first = world.engine();
    for (const runId of ["left", "parked"]) first.run(workflow, null, { runId }).catch(() => {});
    await world.settle();
    await first.cancel("parked");
    equal((await first.get("parked"))!.status, "cancelled");
    await first.close();
    const second = world.engine({ workflows: [workflow] });
    await second.cancel("left", "nobody needs it");
    equal((await second.get("left"))!.status, "cancelled");
  },

  "what was done is undone in reverse order, where it can be (C5.9)": async (world) => {
    const undone: string[] = [];
    const engine = world.engine();
    const result = engine.run(world.workflow(booking(world, undone)), null, { runId: "r" });
    await world.settle();
    await engine.cancel("r", "changed plans", { compensate: true });
    deepEqual([(await result).status, undone], ["cancelled", ["hotel", "flight"]]);
    deepEqual(
      world.eventsOf("node.compensated").map(({ nodeId, error }) => [nodeId, error]),
      [
        ["hotel", undefined],
        ["flight", undefined],
      ],
    );
  },

  "a node that ends although it was told to stop is undone with the others (C5.9)": async (world) => {
    const undone: string[] = [];
    const door = gate<string>();
    const workflow = world.workflow({
      nodes: { stubborn: () => door.promise },
      forms: { stubborn: { compensate: (output: string) => undone.push(output) } },
    });
    const engine = world.engine();
    const result = engine.run(workflow, null, { runId: "r" });
    await world.settle();
    const cancelled = engine.cancel("r", undefined, { compensate: true });
    await world.settle();
    deepEqual(undone, []);
    door.open("done all the same");
    await cancelled;
    deepEqual([(await result).status, undone], ["cancelled", ["done all the same"]]);
  },

  "a compensation has a key of its own, and the policies of its node (C5.9, C6.1)": async (world) => {
    const keys: string[] = [];
    let tries = 0;
    const workflow = world.workflow({
      nodes: {
        a: (_: unknown, { idempotencyKey }: NodeContext) => keys.push(idempotencyKey),
        b: () => new Promise(() => {}),
      },
      edges: [["a", "b"]],
      forms: {
        a: {
          compensate: (_: unknown, { idempotencyKey, attempt }: NodeContext) => {
            keys.push(idempotencyKey);
            equal(attempt, ++tries);
            if (tries < 3) throw new Broken("not yet");
          },
        },
        b: {},
      },
      policies: { a: { retry: { maxAttempts: 3, initialDelayMs: 10 } } },
    });
    // Its second node never stops, so the run is left and taken up again, as after a crash.
    const handle = world.handle();
    const first = world.engine({ store: handle });
    first.run(workflow, null, { runId: "r" }).catch(() => {});
    await world.settle();
    handle.down = true;
    await world.leasesRunOut();
    await world.leasesRunOut();
    await world.finish(world.engine({ workflows: [workflow] }).cancel("r", "x", { compensate: true }));
    deepEqual([tries, new Set(keys).size, keys.length], [3, 2, 4]);
    notEqual(keys[0], keys[1]);
  },

  "one that cannot be undone is told of, and keeps no other from being undone (C5.9)": async (world) => {
    const undone: string[] = [];
    const graph = booking(world, undone);
    const hotel = { compensate: () => Promise.reject(new Broken("the hotel does not answer")) };
    const engine = world.engine();
    const result = engine.run(world.workflow({ ...graph, forms: { ...graph.forms, hotel } }), null, { runId: "r" });
    await world.settle();
    await engine.cancel("r", "x", { compensate: true });
    deepEqual([(await result).status, undone], ["cancelled", ["flight"]]);
    match(String(world.eventsOf("node.compensated")[0]!.error), /the hotel does not answer/);
  },

  "a process that dies at any write of a cancellation leaves it to the next, which undoes the rest (C5.9)": async (
    world,
  ) => {
    for (const moment of ["asked", "stored"] as const) {
      for (let n = 1; n <= 4; n++) {
        await world.another(async (inner) => {
          const undone: string[] = [];
          const workflow = inner.workflow(booking(inner, undone));
          const handle = inner.handle();
          const first = inner.engine({ store: handle });
          const died = first.run(workflow, null, { runId: "r" });
          died.catch(() => {});
          await inner.settle();
          handle.dieAt(handle.appends + n, moment);
          await first.cancel("r", "x", { compensate: true });
          await inner.leasesRunOut();
          await inner.leasesRunOut();
          const isRecorded = (await inner.store.get("r"))!.status === "cancelled";
          const second = inner.engine({ workflows: [workflow] });
          // A cancellation that was not recorded is asked for again; one that was goes on by itself.
          if (n === 1 && moment === "asked") await inner.finish(second.cancel("r", "x", { compensate: true }));
          else if (!isRecorded) await inner.finish(second.resume(workflow, "r"));
          equal((await second.get("r"))!.status, "cancelled", `died at ${moment} ${n}`);
          deepEqual([...new Set(undone)], ["hotel", "flight"], `died at ${moment} ${n}`);
          // Once more at most for the one that was under way.
          equal(undone.length <= 3, true);
          // One that was recorded is not undone again.
          if (moment === "stored") equal(undone.length, 2);
        });
      }
    }
  },
};
