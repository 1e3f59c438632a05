import { deepEqual, equal, match, ok } from "node:assert/strict";
import type { NodeContext } from "../core/node.ts";
import { rejection } from "./contract-case.ts";
import { Broken, type EngineCases, type EngineWorld, fail, gate, type RunOutcome } from "./engine-world.ts";

/** A graph with branches, a join, retries and a fallback, whose nodes only depend on what they are given. */
function sturdy(world: EngineWorld<unknown>): unknown {
  const flaky = (n: number, { attempt }: NodeContext): number => {
    if (attempt < 3) throw new Broken(`attempt ${attempt}`);
    return n * 2;
  };
  return world.workflow({
    concurrency: 2,
    nodes: {
      start: world.node(async (n: number) => n + 1),
      flaky: world.node(flaky),
      doomed: world.node(fail("doomed")),
      spare: world.node(async (n: number) => n * 100),
      third: world.node((n: number) => n - 1),
      join: world.node((all: Record<string, number>) => all),
      end: world.node((all: Record<string, number>) => JSON.stringify(all)),
    },
    edges: [
      ["start", "flaky"],
      ["start", "doomed"],
      ["start", "third"],
      ["flaky", "join"],
      ["doomed", "join"],
      ["third", "join"],
      ["join", "end"],
    ],
    fallbacks: [["doomed", "spare"]],
    policies: {
      flaky: { retry: { maxAttempts: 3, initialDelayMs: 1000 } },
      doomed: { retry: { maxAttempts: 2, initialDelayMs: 500 } },
    },
  });
}

/** What a run must come to, however often it was interrupted. */
function essence({ output, status, degraded, nodeFailures, deadLetters, agentSteps }: RunOutcome): unknown {
  const steps = agentSteps.map(({ invocationId, servedBy, error }) => [invocationId, servedBy, error?.message]);
  return { output, status, degraded, nodeFailures, deadLetters: deadLetters.length, steps: steps.toSorted() };
}

const UNDISTURBED = {
  output: '{"flaky":4,"doomed":200,"third":1}',
  status: "completed",
  degraded: true,
  nodeFailures: new Map([["doomed", 1]]),
  deadLetters: 0,
  steps: [
    ["doomed#0", "doomed", "doomed"],
    ["doomed#0>spare", "spare", undefined],
    ["end#0", "end", undefined],
    ["flaky#0", "flaky", undefined],
    ["join#0", "join", undefined],
    ["start#0", "start", undefined],
    ["third#0", "third", undefined],
  ],
};

type Death = readonly [n: number, moment: "asked" | "stored"];

/** Runs until it has ended, dying at one append of each life; tells whether all of these deaths came. */
async function withDeaths(world: EngineWorld<unknown>, workflow: unknown, deaths: readonly Death[]): Promise<boolean> {
  const runId = `died at ${JSON.stringify(deaths)}`;
  for (const [n, moment] of deaths) {
    const handle = world.handle();
    handle.dieAt(n, moment);
    const life = world.finish(world.engine({ store: handle }).run(workflow, 1, { runId }));
    const isDead = await life.then(
      () => false,
      () => true,
    );
    if (!isDead) return false;
    await world.leasesRunOut();
  }
  const outcome = await world.finish(world.engine().run(workflow, 1, { runId }));
  deepEqual(essence(outcome), UNDISTURBED, runId);
  deepEqual(world.log.violations(), []);
  return true;
}

/** What becomes of a run when a process dies, stalls or stops, and somebody carries it on. */
export const RECOVERY: EngineCases = {
  "a run that is not interrupted ends like this (C6.2)": async (world) => {
    const outcome = await world.finish(world.engine().run(sturdy(world), 1, { runId: "r" }));
    deepEqual(essence(outcome), UNDISTURBED);
    deepEqual(world.log.violations(), []);
  },

  "whichever write a process dies at, the run ends as if it had not, and nothing acknowledged is called again (C6.1, C6.2)":
    async (world) => {
      const workflow = sturdy(world);
      for (const moment of ["asked", "stored"] as const) {
        let n = 0;
        while (await withDeaths(world, workflow, [[n + 1, moment]])) n++;
        ok(n >= 8, `the run makes at least eight writes, and it was interrupted at ${n}`);
      }
    },

  "so does a run whose recovery is interrupted too (C6.1, C6.2)": async (world) => {
    const workflow = sturdy(world);
    for (let first = 1; first <= 9; first += 2) {
      for (let second = 1; second <= 4; second++)
        await withDeaths(world, workflow, [
          [first, "stored"],
          [second, "asked"],
        ]);
    }
    const often: Death[] = [
      [1, "asked"],
      [1, "stored"],
      [1, "asked"],
      [2, "stored"],
      [2, "asked"],
    ];
    ok(await withDeaths(world, workflow, often));
  },

  "an invocation in flight is called again with the key it had, and attempts are counted on (C6.1, C6.3)": async (
    world,
  ) => {
    const seen: { key: string; attempt: number; token: number }[] = [];
    const stuck = gate();
    const workflow = world.workflow({
      nodes: {
        n: async (_: unknown, { idempotencyKey: key, attempt, fencingToken: token }: NodeContext) => {
          seen.push({ key, attempt, token });
          if (seen.length === 1) await stuck.promise;
          if (seen.length === 2) throw new Broken("once");
          return "done";
        },
      },
      policies: { n: { retry: { maxAttempts: 2, initialDelayMs: 10 } } },
    });
    const handle = world.handle();
    const first = world.engine({ store: handle }).run(workflow, null, { runId: "r" });
    await world.settle();
    handle.down = true;
    stuck.open();
    await rejection(first, "STORE_UNAVAILABLE");
    await world.leasesRunOut();
    const { output, agentSteps } = await world.finish(world.engine().run(workflow, null, { runId: "r" }));
    equal(output, "done");
    deepEqual(
      seen.map(({ attempt, token }) => [attempt, token]),
      [
        [1, 1],
        [2, 2],
        [3, 2],
      ],
    );
    equal(new Set(seen.map(({ key }) => key)).size, 1);
    equal(agentSteps[0]?.attempts, 3);
  },

  "keys differ between runs and between nodes, and a backup has that of the node it stands in for (C6.1)": async (
    world,
  ) => {
    const keys = new Map<string, string>();
    const note = (_: unknown, { runId, invocationId, idempotencyKey }: NodeContext): void =>
      void keys.set(`${runId} ${invocationId}`, idempotencyKey);
    const stand = (_: unknown, { idempotencyKey }: NodeContext): never => {
      keys.set("main", idempotencyKey);
      throw new Broken("main");
    };
    const workflow = world.workflow({
      nodes: { a: note, xa: note, 'a","b': note, main: stand, spare: note },
      fallbacks: [["main", "spare"]],
    });
    for (const runId of ["r", "rx", 'r","a']) {
      await world.engine().run(workflow, null, { runId });
      equal(keys.get(`${runId} main#0>spare`), keys.get("main"));
      keys.delete("main");
    }
    equal(keys.size, 12);
    equal(new Set(keys.values()).size, 12);
  },

  "a wait between attempts that is interrupted lasts only for what was left of it (C6.3)": async (world) => {
    const { clock } = world.runtime;
    const calls: number[] = [];
    const began = clock.now();
    const workflow = world.workflow({
      nodes: {
        n: () => {
          calls.push(clock.now() - began);
          if (calls.length < 2) throw new Broken("wait");
        },
      },
      policies: { n: { retry: { maxAttempts: 2, initialDelayMs: 60_000, maxDelayMs: 60_000, jitter: "none" } } },
    });
    const engine = world.engine();
    const first = engine.run(workflow, null, { runId: "r" });
    await clock.advance(20_000);
    const stopped = rejection(first, "ENGINE_CLOSED");
    await engine.close();
    await stopped;
    await clock.advance(15_000);
    const second = world.engine().run(workflow, null, { runId: "r" });
    await clock.advance(24_999);
    deepEqual(calls, [0]);
    await clock.advance(1);
    equal((await second).status, "completed");
    deepEqual(calls, [0, 60_000]);
  },

  "tries that were used up before a crash are not given again (C6.3)": async (world) => {
    const workflow = world.workflow({
      nodes: { n: world.node(fail("always")) },
      policies: { n: { retry: { maxAttempts: 3, initialDelayMs: 1000, jitter: "none" } } },
    });
    const handle = world.handle();
    // The second failure is recorded; then the process dies in the wait that follows.
    handle.onAppend = (moment, _n, { body }) => {
      if (moment === "stored" && text(body).includes('"failures":2')) handle.down = true;
    };
    await rejection(
      world.finish(world.engine({ store: handle }).run(workflow, null, { runId: "r" })),
      "STORE_UNAVAILABLE",
    );
    await world.leasesRunOut();
    const { deadLetters } = await world.finish(world.engine().run(workflow, null, { runId: "r" }));
    equal(world.log.callsOf("n#0"), 3);
    equal(deadLetters[0]?.attempts, 3);
  },

  "a node that kills its process is given up after its allowance, with a dead letter that says so (C6.3)": async (
    world,
  ) => {
    const stuck = gate();
    const workflow = world.workflow({ nodes: { n: world.node(() => stuck.promise) } });
    for (let life = 0; life < 3; life++) {
      const handle = world.handle();
      void world
        .engine({ store: handle, maxCrashes: 2 })
        .run(workflow, null, { runId: "r" })
        .catch(() => {});
      await world.settle();
      handle.down = true;
      await world.leasesRunOut();
    }
    equal(world.log.callsOf("n#0"), 3);
    const { status, error, deadLetters } = await world.engine({ maxCrashes: 2 }).run(workflow, null, { runId: "r" });
    equal(status, "failed");
    equal((error?.cause as { code?: string }).code, "NODE_CRASHED");
    match(String(error), /running each of the 3 times that its process died/);
    deepEqual(
      deadLetters.map(({ nodeId, attempts, errorDetail }) => [nodeId, attempts, errorDetail.code]),
      [["n", 3, "NODE_CRASHED"]],
    );
    equal(world.log.callsOf("n#0"), 3);
  },

  "an engine that is closed, or whose store was away, is not held against the node that was running (C6.3, C6.10)":
    async (world) => {
      const stuck = gate();
      const workflow = world.workflow({ nodes: { n: world.node(async () => stuck.promise) } });
      for (let life = 0; life < 4; life++) {
        const engine = world.engine({ maxCrashes: 1 });
        const stopped = rejection(engine.run(workflow, null, { runId: "r" }), "ENGINE_CLOSED");
        await world.settle();
        await engine.close();
        await stopped;
      }
      const handle = world.handle();
      const engine = world.engine({ store: handle, maxCrashes: 1 });
      for (let trouble = 0; trouble < 4; trouble++) {
        handle.onAppend = (moment, n) => {
          if (n > 1 && moment === "asked") throw new Error("the disk is full");
        };
        handle.appends = 0;
        const away = rejection(engine.run(workflow, null, { runId: "r" }), "STORE_UNAVAILABLE");
        await world.settle();
        if (trouble === 0) stuck.open();
        await away;
      }
      handle.onAppend = () => {};
      equal((await engine.run(workflow, null, { runId: "r" })).status, "completed");
    },

  "when the store fails, the run stops with a typed error, blames no node, and goes on when it is back (C6.10)": async (
    world,
  ) => {
    const workflow = world.workflow({
      nodes: { a: world.node(() => 1), b: world.node((n: number) => n + 1) },
      edges: [["a", "b"]],
      policies: { a: { retry: {} } },
    });
    const handle = world.handle();
    const engine = world.engine({ store: handle });
    handle.onAppend = (moment, n) => {
      if (moment === "asked" && n === 3) throw Object.assign(new Error("no space left"), { code: "ENOSPC" });
    };
    const error = await rejection(engine.run(workflow, null, { runId: "r" }), "STORE_UNAVAILABLE");
    match(String((error.cause as Error).message), /no space left/);
    deepEqual(world.eventsOf("node.failed"), []);
    deepEqual(
      world.eventsOf("run.stopped").map(({ runId }) => runId),
      ["r"],
    );
    equal((await world.store.get("r"))?.status, "running");
    deepEqual(await world.store.deadLetters(), []);
    const { output, resumed } = await engine.run(workflow, null, { runId: "r" });
    deepEqual([output, resumed], [2, true]);
    equal(world.log.callsOf("a#0"), 1);
    deepEqual(world.log.violations(), []);
  },

  "a resumed run says how many invocations were interrupted (C8.2)": async (world) => {
    const nodes = { a: () => new Promise(() => {}), b: world.node(() => new Promise(() => {})) };
    const handle = world.handle();
    void world.engine({ store: handle }).run(world.workflow({ concurrency: 1, nodes }), null, { runId: "r" });
    await world.settle();
    handle.down = true;
    await world.leasesRunOut();
    // Only a was at work. b is started now, in the same write, since the graph has been given more room.
    void world.engine().run(world.workflow({ concurrency: 2, nodes }), null, { runId: "r" });
    await world.settle();
    deepEqual(
      [world.log.callsOf("b#0"), world.eventsOf("run.resumed").map(({ interrupted }) => interrupted)],
      [1, [1]],
    );
  },
};

function text(body: Uint8Array): string {
  return new TextDecoder().decode(body);
}
