import { deepEqual, equal, rejects } from "node:assert/strict";
import { type EngineCases, type EngineWorld, gate } from "./engine-world.ts";

/** Three nodes in a row. */
function chain(world: EngineWorld<unknown>) {
  return world.workflow({
    nodes: {
      a: world.node((n: number) => n + 1),
      b: world.node((n: number) => n * 2),
      c: world.node((n: number) => n - 3),
    },
    edges: [
      ["a", "b"],
      ["b", "c"],
    ],
  });
}

/** Stores that fail for a while. */
export const PAUSES: EngineCases = {
  "a run pauses while its store is in trouble, at any write, and goes on when it is back (C6.10)": async (world) => {
    for (const moment of ["asked", "stored"] as const) {
      for (let n = 2; n <= 4; n++) {
        await world.another(async (inner) => {
          const handle = inner.handle();
          handle.dieAt(n, moment);
          const engine = inner.engine({ store: handle, pauseMs: Infinity });
          const result = engine.run(chain(inner), 5, { runId: "r" });
          await inner.settle();
          await inner.runtime.clock.advance(60_000);
          equal(handle.down, true);
          handle.down = false;
          const { output, status, nodeFailures, deadLetters, agentSteps } = await inner.finish(result);
          // No node is blamed, and none that was acknowledged is called again.
          deepEqual([status, output, nodeFailures.size, deadLetters], ["completed", 9, 0, []], `${moment} ${n}`);
          deepEqual([inner.log.violations(), agentSteps.length], [[], 3]);
          equal(inner.eventsOf("run.paused").length > 0, true);
          equal(inner.eventsOf("run.stopped").length, 0);
        });
      }
    }
  },

  "a process that was only kept from its store is no crash of the nodes that were at work (C6.3, C6.10)": async (
    world,
  ) => {
    const door = gate<string>();
    const handle = world.handle();
    const engine = world.engine({ store: handle, pauseMs: Infinity, maxCrashes: 0 });
    let calls = 0;
    const workflow = world.workflow({
      nodes: { quick: () => 1, slow: () => (++calls === 1 ? door.promise : "the second call") },
    });
    handle.dieAt(2, "asked");
    const result = engine.run(workflow, null, { runId: "r" });
    await world.settle();
    handle.down = false;
    deepEqual((await world.finish(result)).output, { quick: 1, slow: "the second call" });
    door.open("too late");
  },

  "a run stops when its store does not come back in time, and can be taken up later (C6.10)": async (world) => {
    const handle = world.handle();
    handle.dieAt(2, "asked");
    const engine = world.engine({ store: handle, pauseMs: 30_000 });
    const result = engine.run(chain(world), 5, { runId: "r" });
    await world.settle();
    await rejects(world.finish(result), { code: "STORE_UNAVAILABLE" });
    equal(world.eventsOf("run.stopped").length, 1);
    await world.leasesRunOut();
    equal((await world.finish(world.engine().run(chain(world), 5, { runId: "r" }))).output, 9);
  },

  "a run whose start cannot be stored has not begun, and is refused at once (C6.10)": async (world) => {
    const handle = world.handle();
    handle.dieAt(1, "asked");
    const engine = world.engine({ store: handle, pauseMs: Infinity });
    await rejects(engine.run(chain(world), 5), { code: "STORE_UNAVAILABLE" });
    equal(world.log.callsOf("a#0"), 0);
  },

  "a run that pauses ends with its engine, and with its caller (C0.8, C6.10)": async (world) => {
    const handle = world.handle();
    handle.dieAt(2, "asked");
    const engine = world.engine({ store: handle, pauseMs: Infinity });
    const controller = new AbortController();
    const one = engine.run(chain(world), 5, { runId: "one", signal: controller.signal });
    const other = engine.run(chain(world), 5, { runId: "other" });
    await world.settle();
    controller.abort(new Error("enough"));
    await rejects(one, { code: "STORE_UNAVAILABLE" });
    await engine.close();
    await rejects(other);
  },
};
