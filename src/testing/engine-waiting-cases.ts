import { deepEqual, equal, match, rejects } from "node:assert/strict";
import { type EngineCases, type EngineWorld, fail, gate, type Graph, type ReadyMade } from "./engine-world.ts";

const LONG = 600_000;

function wait(ms: number): ReadyMade {
  return { kind: "wait", until: (_, now) => now + ms };
}

function signal(name?: string, timeoutMs: number = Infinity): ReadyMade {
  return { kind: "signal", name, timeoutMs };
}

/** A graph with a node on each side of one that waits. */
function around(world: EngineWorld<unknown>, waiting: ReadyMade): Graph {
  return {
    nodes: { before: world.node((n: number) => n + 1), waiting, after: world.node((got: unknown) => got) },
    edges: [
      ["before", "waiting"],
      ["waiting", "after"],
    ],
  };
}

/** Runs that wait for time, or for somebody to tell them something, without a process. */
export const WAITING: EngineCases = {
  "a run that only waits is parked without a lease, and goes on when its time has come (C5.2)": async (world) => {
    const workflow = world.workflow(around(world, wait(LONG)));
    const engine = world.engine();
    const begun = world.runtime.clock.wallNow();
    const result = engine.run(workflow, 1, { runId: "r" });
    await world.settle();
    const row = (await engine.get("r"))!;
    deepEqual([row.status, row.owner, row.wakeAt], ["waiting", null, begun + LONG]);
    await world.runtime.clock.advance(LONG - 1);
    equal(world.log.callsOf("after#0"), 0);
    await world.runtime.clock.advance(1);
    const { output, status } = await world.finish(result);
    deepEqual([status, output, world.runtime.clock.wallNow()], ["completed", 2, begun + LONG]);
    deepEqual([world.log.callsOf("before#0"), world.log.callsOf("after#0")], [1, 1]);
    equal(world.eventsOf("run.waiting").length, 1);
  },

  "a short wait keeps its lease (C5.2)": async (world) => {
    const workflow = world.workflow(around(world, wait(500)));
    const engine = world.engine();
    const result = engine.run(workflow, 1, { runId: "r" });
    await world.settle();
    equal((await engine.get("r"))!.status, "running");
    await world.runtime.clock.advance(500);
    equal((await result).output, 2);
    equal(world.eventsOf("run.waiting").length, 0);
  },

  "a wait that is over at once does not stop the run (C5.2)": async (world) => {
    const workflow = world.workflow(around(world, { kind: "wait", until: () => 0 }));
    equal((await world.finish(world.engine().run(workflow, 1))).output, 2);
  },

  "a run that has failed lets others end, and does not ask again and again for one whose time has come (C5.6)": async (
    world,
  ) => {
    const begun = world.runtime.clock.wallNow();
    let asked = 0;
    const workflow = world.workflow({
      nodes: {
        bad: fail("no"),
        slow: () => world.runtime.clock.sleep(1000),
        wait: { kind: "wait", until: () => begun + 10 },
      },
    });
    const engine = world.engine();
    const result = engine.run(workflow, null);
    const { timer } = world.runtime.clock;
    world.runtime.clock.timer = (...args) => {
      if (++asked > 20) throw new Error("The run goes round and round.");
      return timer.apply(world.runtime.clock, args);
    };
    equal((await world.finish(result)).status, "failed");
  },

  "a restart waits for the rest only (C6.3)": async (world) => {
    const workflow = world.workflow(around(world, wait(LONG)));
    const begun = world.runtime.clock.wallNow();
    const first = world.engine();
    const stopped = first.run(workflow, 1, { runId: "r" });
    await world.settle();
    await first.close();
    await rejects(stopped, { code: "ENGINE_CLOSED" });
    await world.runtime.clock.advance(LONG / 2);
    const result = await world.finish(world.engine().run(workflow, 1, { runId: "r" }));
    deepEqual([result.status, world.runtime.clock.wallNow()], ["completed", begun + LONG]);
    equal(world.log.callsOf("before#0"), 1);
  },

  "another engine takes up a due run that nobody looks after (C5.2, C6.2)": async (world) => {
    const workflow = world.workflow(around(world, wait(LONG)));
    const first = world.engine();
    first.run(workflow, 1, { runId: "r" }).catch(() => {});
    await world.settle();
    await first.close();
    const second = world.engine({ workflows: [workflow] });
    await second.recover();
    await world.runtime.clock.advance(LONG - 2000);
    equal((await second.get("r"))!.status, "waiting");
    await world.runtime.clock.advance(4000);
    await world.settle();
    equal((await second.get("r"))!.status, "completed");
    equal(world.log.callsOf("after#0"), 1);
  },

  "two engines that wait for the same run carry it out once, and both get its result (C6.4)": async (world) => {
    const workflow = world.workflow(around(world, wait(LONG)));
    const engines = [world.engine(), world.engine()];
    const results = [];
    for (const engine of engines) {
      results.push(engine.run(workflow, 1, { runId: "r" }));
      await world.settle();
    }
    const [one, other] = await world.finish(Promise.all(results));
    deepEqual([one!.output, other!.output, world.log.callsOf("after#0")], [2, 2, 1]);
  },

  "a parked run that another engine carries to its end ends here too (C6.4)": async (world) => {
    const workflow = world.workflow(around(world, signal()));
    const here = world.engine().run(workflow, 1, { runId: "r" });
    await world.settle();
    const elsewhere = world.engine();
    const there = elsewhere.run(workflow, 1, { runId: "r" });
    await world.settle();
    await elsewhere.signal("r", "waiting", "yes");
    equal((await there).output, "yes");
    deepEqual([(await world.finish(here)).output, world.log.callsOf("after#0")], ["yes", 1]);
  },

  "what waits takes no slot of the engine, and what works goes on beside it (C5.2)": async (world) => {
    const engine = world.engine({ concurrency: 1 });
    const parked = Array.from({ length: 3 }, (_, i) =>
      engine.run(world.workflow(around(world, wait(LONG))), i, { runId: `r${i}` }),
    );
    await world.settle();
    const quick = world.workflow({ id: "quick", nodes: { n: () => "done" } });
    equal((await engine.run(quick, null)).output, "done");
    deepEqual(
      (await world.finish(Promise.all(parked))).map(({ output }) => output),
      [1, 2, 3],
    );
  },

  "a node works while another one of its run waits (C5.2, C5.3)": async (world) => {
    const door = gate<string>();
    const workflow = world.workflow({ nodes: { pause: wait(LONG), work: () => door.promise } });
    const engine = world.engine();
    const result = engine.run(workflow, 1, { runId: "r" });
    await world.settle();
    // It works, so it keeps its lease.
    equal((await engine.get("r"))!.status, "running");
    await world.runtime.clock.advance(LONG * 2);
    equal(world.eventsOf("node.completed").length, 1);
    door.open("worked");
    deepEqual((await world.finish(result)).output, { pause: 1, work: "worked" });
  },

  "an instant that is none fails the node (C5.6)": async (world) => {
    const workflow = world.workflow(around(world, { kind: "wait", until: () => NaN }));
    const { status, error, deadLetters } = await world.finish(world.engine().run(workflow, 1));
    deepEqual([status, deadLetters.length], ["failed", 1]);
    match(String(error), /wait until NaN, which is no instant/);
  },

  "a signal gives its payload to the node that waits for it (C5.2)": async (world) => {
    const workflow = world.workflow(around(world, signal()));
    const engine = world.engine();
    const result = engine.run(workflow, 1, { runId: "r" });
    await world.settle();
    equal((await engine.get("r"))!.status, "waiting");
    await engine.signal("r", "waiting", { approved: true, by: new Map([["a", 1n]]) });
    const { output, agentSteps } = await world.finish(result);
    deepEqual(output, { approved: true, by: new Map([["a", 1n]]) });
    equal(agentSteps.length, 3);
    deepEqual(await world.store.signals({ runId: "r" }), []);
  },

  "a signal from another process reaches a run that is parked, and one that works (C5.2)": async (world) => {
    const [here, elsewhere] = [world.engine(), world.engine()];
    const parked = here.run(world.workflow(around(world, signal("go"))), 1, { runId: "parked" });
    const door = gate<string>();
    const busy = world.workflow({ id: "busy", nodes: { ask: signal("go"), work: () => door.promise } });
    const working = here.run(busy, 1, { runId: "working" });
    await world.settle();
    await elsewhere.signal("parked", "go", "first");
    await elsewhere.signal("working", "go", "second");
    equal((await world.finish(parked)).output, "first");
    await world.runtime.clock.advance(5000);
    equal(world.eventsOf("node.completed").filter(({ nodeId }) => nodeId === "ask").length, 1);
    door.open("worked");
    deepEqual((await world.finish(working)).output, { ask: "second", work: "worked" });
  },

  "a signal that comes before its node is reached is kept for it, across a restart (C5.2)": async (world) => {
    const door = gate<number>();
    const workflow = world.workflow({
      nodes: { before: () => door.promise, waiting: signal("go") },
      edges: [["before", "waiting"]],
    });
    const first = world.engine();
    const stopped = first.run(workflow, 1, { runId: "r" });
    await world.settle();
    await first.signal("r", "go", "early");
    await first.close();
    await rejects(stopped);
    const result = world.engine().run(workflow, 1, { runId: "r" });
    door.open(1);
    equal((await world.finish(result)).output, "early");
  },

  "a signal that comes while the run is being parked wakes it (C5.2)": async (world) => {
    const handle = world.handle();
    handle.onAppend = async (moment, _, { status }) => {
      if (moment === "asked" && status === "waiting") await elsewhere.signal("r", "waiting", "in time");
    };
    const elsewhere = world.engine();
    const result = world.engine({ store: handle }).run(world.workflow(around(world, signal())), 1, { runId: "r" });
    equal((await world.finish(result)).output, "in time");
  },

  "a signal of another name wakes a parked run once, and it is parked again without a lease (C5.2)": async (world) => {
    const workflow = world.workflow({
      nodes: { first: signal(), second: signal() },
      edges: [["first", "second"]],
    });
    const engine = world.engine();
    const result = engine.run(workflow, 1, { runId: "r" });
    await world.settle();
    await engine.signal("r", "second", "early");
    await world.runtime.clock.advance(LONG);
    await world.settle();
    const { status, owner, wakeAt, version } = (await engine.get("r"))!;
    deepEqual([status, owner, wakeAt], ["waiting", null, null]);
    await world.runtime.clock.advance(LONG);
    await world.settle();
    equal((await engine.get("r"))!.version, version);
    await engine.signal("r", "first", "now");
    equal((await world.finish(result)).output, "early");
  },

  "each signal is taken by one node, in the order in which they came; one id tells once (C5.2)": async (world) => {
    const workflow = world.workflow({
      nodes: { first: signal("go"), second: signal("go") },
      edges: [["first", "second"]],
    });
    const engine = world.engine();
    const result = engine.run(workflow, 1, { runId: "r" });
    await world.settle();
    await engine.signal("r", "go", "one", { id: "same" });
    await engine.signal("r", "go", "one again", { id: "same" });
    await world.runtime.clock.advance(5000);
    equal((await engine.get("r"))!.status, "waiting");
    await engine.signal("r", "go", "two");
    equal((await world.finish(result)).output, "two");
  },

  "a signal that does not come in time fails the node, and a fallback stands in (C5.2, C5.4)": async (world) => {
    const graph = around(world, signal("go", LONG));
    const failing = await world.finish(world.engine().run(world.workflow(graph), 1));
    equal((failing.error!.cause as { code?: string }).code, "SIGNAL_TIMEOUT");
    equal(failing.deadLetters.length, 1);
    const rescued = world.workflow({
      ...graph,
      id: "rescued",
      nodes: { ...graph.nodes, automatic: (n: number) => `automatic ${n}` },
      fallbacks: [["waiting", "automatic"]],
    });
    const { output, degraded } = await world.finish(world.engine().run(rescued, 1));
    deepEqual([output, degraded], ["automatic 2", true]);
  },

  "what no run and no node takes is refused at once (C5.2)": async (world) => {
    const workflow = world.workflow(around(world, signal()));
    const engine = world.engine();
    await rejects(engine.signal("nobody", "waiting"), { code: "NOT_FOUND" });
    const result = engine.run(workflow, 1, { runId: "r" });
    await world.settle();
    await rejects(engine.signal("r", "wating"), /waits for the signal "wating"\. There are: "waiting"/);
    await rejects(engine.signal("r", "$cancel"), { code: "CONFIG" });
    await engine.signal("r", "waiting");
    await world.finish(result);
    await rejects(engine.signal("r", "waiting"), { code: "NOT_FOUND" });
  },

  "a run that failed beside a node that waits goes on when it is redriven (C5.6, C7.2)": async (world) => {
    let mended = false;
    const workflow = world.workflow({
      nodes: { ask: signal("go"), bad: (n: number) => (mended ? n : fail("not yet")()) },
    });
    const engine = world.engine({ workflows: [workflow] });
    const { status, deadLetters } = await world.finish(engine.run(workflow, 1, { runId: "r" }));
    equal(status, "failed");
    mended = true;
    const redriven = engine.deadLetters.redrive(deadLetters[0]!.id);
    await world.settle();
    await engine.signal("r", "go", "answer");
    deepEqual((await world.finish(redriven)).output, { ask: "answer", bad: 1 });
  },

  "a signal that was sent before its run failed, or after it, is taken when that is redriven (C5.2, C7.2)": async (
    world,
  ) => {
    let mended = false;
    const workflow = world.workflow({
      nodes: { ask: signal("go"), after: signal("then"), bad: (n: number) => (mended ? n : fail("not yet")()) },
      edges: [["ask", "after"]],
      policies: { bad: { retry: { maxAttempts: 2, initialDelayMs: 1000, jitter: "none" } } },
    });
    const engine = world.engine({ workflows: [workflow] });
    const failing = engine.run(workflow, 1, { runId: "r" });
    await world.settle();
    await engine.signal("r", "then", "early");
    const { deadLetters } = await world.finish(failing);
    await engine.signal("r", "go", "late");
    mended = true;
    const { output } = await world.finish(engine.deadLetters.redrive(deadLetters[0]!.id));
    deepEqual(output, { after: "early", bad: 1 });
    await rejects(engine.signal("r", "go"), { code: "NOT_FOUND" });
  },

  "a run that dies at any write around its waits ends as if it had not (C6.2)": async (world) => {
    for (const moment of ["asked", "stored"] as const) {
      for (let n = 1; n < 9; n++) {
        await world.another(async (inner) => {
          const workflow = inner.workflow({
            nodes: {
              a: inner.node(() => "a"),
              pause: wait(LONG),
              ask: signal("go"),
              end: inner.node(({ pause, ask }: { pause: string; ask: string }) => `${pause} ${ask}`),
            },
            edges: [
              ["a", "pause"],
              ["a", "ask"],
              ["pause", "end"],
              ["ask", "end"],
            ],
          });
          const handle = inner.handle();
          handle.dieAt(n, moment);
          const died = inner.engine({ store: handle }).run(workflow, null, { runId: "r" });
          died.catch(() => {});
          await inner.settle();
          await inner.runtime.clock.advance(10_000);
          const next = inner.engine();
          const result = next.run(workflow, null, { runId: "r" });
          await inner.settle();
          await next.signal("r", "go", "yes", { id: "once" });
          equal((await inner.finish(result)).output, "a yes", `died at ${moment} ${n}`);
          // What was acknowledged is not repeated.
          equal(inner.log.callsOf("end#0") <= 2, true);
        });
      }
    }
  },
};
