import { deepEqual, equal, match, ok } from "node:assert/strict";
import type { NodeContext } from "../core/node.ts";
import { rejection } from "./contract-case.ts";
import { Broken, type EngineCases, type EngineWorld, fail, gate } from "./engine-world.ts";

/** A chain whose middle node fails until it is mended. */
function mendable(world: EngineWorld<unknown>) {
  const keys: string[] = [];
  const state = { broken: true };
  const workflow = world.workflow({
    id: "w",
    nodes: {
      before: world.node((n: number) => n + 1),
      middle: world.node((n: number, { idempotencyKey }: NodeContext) => {
        keys.push(idempotencyKey);
        if (state.broken) throw new Broken("not yet");
        return n * 2;
      }),
      after: world.node((n: number) => `got ${n}`),
    },
    edges: [
      ["before", "middle"],
      ["middle", "after"],
    ],
  });
  return { workflow, keys, state };
}

/** What a run leaves that has failed, and how it is taken up again. */
export const DEAD_LETTERS: EngineCases = {
  "an entry tells what failed, where, why, how often and on what (C7.1)": async (world) => {
    const cause = Object.assign(new Error("socket closed"), { code: "ECONNRESET" });
    const error = Object.assign(new TypeError("call failed", { cause }), {
      status: 502,
      headers: { authorization: "secret" },
    });
    const workflow = world.workflow({
      id: "w",
      nodes: {
        a: () => ({ q: "text" }),
        b: () => {
          throw error;
        },
        spare: fail("spare failed too"),
      },
      edges: [["a", "b", { q: "question" }]],
      fallbacks: [["b", "spare"]],
      policies: { b: { retry: { maxAttempts: 2, initialDelayMs: 1000, jitter: "none" } } },
    });
    const failedAt = world.runtime.clock.wallNow() + 1000;
    const { deadLetters } = await world.finish(world.engine({ maxRetries: 4 }).run(workflow, null, { runId: "r" }));
    const [letter] = deadLetters;
    const { stack, ...detail } = letter!.errorDetail;
    deepEqual(
      { ...letter, errorDetail: undefined, id: undefined },
      {
        ...{ id: undefined, timestamp: failedAt, workflowId: "w", runId: "r", nodeId: "b", invocationId: "b#0" },
        ...{ error: "call failed", errorDetail: undefined, attempts: 2, retryCount: 0, maxRetries: 4 },
        ...{ nextRetryAt: failedAt + 60_000, status: "pending", payload: '{"question":"text"}' },
      },
    );
    match(letter!.id, /^dl_[0-9a-f]{24}$/);
    match(String(stack), /^TypeError: call failed\n/);
    const { stack: _, ...why } = detail.cause!;
    deepEqual(
      { ...detail, cause: why },
      {
        name: "TypeError",
        message: "call failed",
        status: 502,
        cause: { name: "Error", message: "socket closed", code: "ECONNRESET" },
      },
    );
    deepEqual(await world.store.deadLetters(), deadLetters);
    ok(!JSON.stringify(deadLetters).includes("secret"));
    deepEqual(
      world.eventsOf("dead_letter.entered").map(({ deadLetterId, nodeId }) => [deadLetterId, nodeId]),
      [[letter!.id, "b"]],
    );
  },

  "the entry is stored in the write that records the failure, whichever write a process dies at (C7.1)": async (
    outer,
  ) => {
    for (const moment of ["asked", "stored"] as const) {
      for (let n = 1; n <= 4; n++) {
        await outer.another(async (world) => {
          const { workflow } = mendable(world);
          const handle = world.handle();
          handle.dieAt(n, moment);
          await world
            .engine({ store: handle })
            .run(workflow, 1, { runId: "r" })
            .catch(() => {});
          const journal = (await world.store.read("r")).map(({ body }) => new TextDecoder().decode(body)).join();
          equal(
            (await world.store.deadLetters()).length,
            journal.includes('"invocation_failed"') ? 1 : 0,
            `${moment} ${n}`,
          );
          await world.leasesRunOut();
          const { deadLetters, success } = await world.engine().run(workflow, 1, { runId: "r" });
          deepEqual([success, deadLetters.length, (await world.store.deadLetters()).length], [false, 1, 1]);
        });
      }
    }
  },

  "a payload that cannot be had does not prevent the entry (C7.1)": async (world) => {
    const workflow = world.workflow({ nodes: { a: () => 5, b: () => 1 }, edges: [["a", "b", { x: "y" }]] });
    const { deadLetters } = await world.engine().run(workflow, null);
    deepEqual(
      deadLetters.map(({ nodeId, payload }) => [nodeId, payload]),
      [["b", null]],
    );
  },

  "a redrive goes on from the failed node, with its key, and keeps what was done before (C7.2)": async (world) => {
    const { workflow, keys, state } = mendable(world);
    const failed = await world.engine().run(workflow, 1, { runId: "r" });
    state.broken = false;
    const engine = world.engine({ workflows: [workflow] });
    const id = failed.deadLetters[0]!.id;
    const redriven = await engine.deadLetters.redrive(id);
    deepEqual([redriven.status, redriven.output, redriven.resumed], ["completed", "got 4", true]);
    deepEqual(
      ["before#0", "middle#0", "after#0"].map((of) => world.log.callsOf(of)),
      [1, 2, 1],
    );
    equal(new Set(keys).size, 1);
    const letter = await engine.deadLetters.get(id);
    deepEqual([letter?.status, letter?.retryCount, letter?.attempts, letter?.nextRetryAt], ["succeeded", 1, 1, null]);
    deepEqual(
      world.eventsOf("dead_letter.redriven").map(({ runId, nodeId }) => [runId, nodeId]),
      [["r", "middle"]],
    );
    deepEqual(
      world.eventsOf("dead_letter.settled").map(({ deadLetterId }) => deadLetterId),
      [id],
    );
    // The run has its result now, whoever asks for it.
    equal((await world.engine().run(workflow, 1, { runId: "r" })).output, "got 4");
    equal((await rejection(engine.deadLetters.redrive(id), "DEAD_LETTER_SETTLED")).message.includes(id), true);
  },

  "a redrive is counted and put off longer each time, and past its allowance the entry is quarantined (C7.2)": async (
    world,
  ) => {
    const { workflow } = mendable(world);
    const engine = world.engine({ maxRetries: 2 });
    const { deadLetters } = await engine.run(workflow, 1, { runId: "r" });
    const { id, timestamp } = deadLetters[0]!;
    const seen: unknown[] = [];
    for (let i = 0; i < 2; i++) {
      await world.runtime.clock.advance(1000);
      const { success, deadLetters: left } = await engine.deadLetters.redrive(id);
      equal(success, false);
      const [letter, ...others] = left;
      deepEqual(others, []);
      const waitMs = letter!.nextRetryAt && letter!.nextRetryAt - world.runtime.clock.wallNow();
      seen.push([letter!.id, letter!.status, letter!.retryCount, letter!.attempts, waitMs, letter!.timestamp]);
    }
    deepEqual(seen, [
      [id, "pending", 1, 2, 120_000, timestamp],
      [id, "permanent_failure", 2, 3, null, timestamp],
    ]);
    const refused = await rejection(engine.deadLetters.redrive(id), "DEAD_LETTER_QUARANTINED");
    match(refused.message, /was redriven 2 times without success/);
    equal(world.log.callsOf("middle#0"), 3);
  },

  "an entry is never taken by two redrivers (C7.2)": async (world) => {
    const door = gate();
    let calls = 0;
    const workflow = world.workflow({
      nodes: {
        n: async () => {
          if (++calls === 1) throw new Broken("first");
          await door.promise;
          return calls;
        },
      },
    });
    const { deadLetters } = await world.engine().run(workflow, null, { runId: "r" });
    const [one, two] = [world.engine({ workflows: [workflow] }), world.engine({ workflows: [workflow] })];
    const id = deadLetters[0]!.id;
    const outcomes = [one.deadLetters.redrive(id), two.deadLetters.redrive(id), one.deadLetters.redrive(id)];
    const settled = Promise.allSettled(outcomes);
    await world.settle();
    door.open();
    const codes = (await settled).map((outcome) =>
      outcome.status === "rejected" ? (outcome.reason as { code: string }).code : "redriven",
    );
    deepEqual(codes, ["redriven", "RUN_IN_USE", "RUN_IN_USE"]);
    deepEqual([calls, (await one.deadLetters.get(id))?.retryCount], [2, 1]);
  },

  "a redriver that comes late finds what the earlier one has left, not what it had read before (C7.2)": async (
    world,
  ) => {
    const { workflow, state } = mendable(world);
    const { deadLetters } = await world.engine({ maxRetries: 1 }).run(workflow, 1, { runId: "r" });
    const id = deadLetters[0]!.id;
    // The late one reads the entry, and then has to wait for a moment before it claims the run.
    const late = world.handle();
    const door = gate();
    const claim = late.claim.bind(late);
    late.claim = async (wanted) => door.promise.then(() => claim(wanted));
    const quarantined = world.engine({ store: late, maxRetries: 1, workflows: [workflow] }).deadLetters.redrive(id);
    await world.settle();
    await world.engine({ maxRetries: 1, workflows: [workflow] }).deadLetters.redrive(id);
    state.broken = false;
    door.open();
    await rejection(quarantined, "DEAD_LETTER_QUARANTINED");
    deepEqual([world.log.callsOf("middle#0"), (await world.store.deadLetter(id))?.retryCount], [2, 1]);
    deepEqual([(await world.store.get("r"))?.status, (await world.store.get("r"))?.owner], ["failed", null]);
  },

  "a redrive whose process died goes on when it is asked for again, and counts once (C7.2)": async (outer) => {
    for (const again of ["redrive", "run"] as const) {
      for (let n = 1; n <= 3; n++) {
        await outer.another(async (world) => {
          const { workflow, state } = mendable(world);
          const { deadLetters } = await world.engine().run(workflow, 1, { runId: "r" });
          const id = deadLetters[0]!.id;
          state.broken = false;
          const handle = world.handle();
          handle.dieAt(n, "stored");
          await rejection(
            world.engine({ store: handle, workflows: [workflow] }).deadLetters.redrive(id),
            "STORE_UNAVAILABLE",
          );
          await world.leasesRunOut();
          const engine = world.engine({ workflows: [workflow] });
          // The second write settles the entry; what is then left of the run is carried on by running it.
          const isSettled = (await engine.deadLetters.get(id))?.status === "succeeded";
          equal(isSettled, n >= 2);
          const next =
            again === "run" || isSettled ? engine.run(workflow, 1, { runId: "r" }) : engine.deadLetters.redrive(id);
          deepEqual([(await next).output, (await next).success], ["got 4", true], `${again} ${n}`);
          const letter = await engine.deadLetters.get(id);
          deepEqual([letter?.status, letter?.retryCount], ["succeeded", 1], `${again} ${n}`);
          deepEqual(
            ["before#0", "after#0"].map((of) => world.log.callsOf(of)),
            [1, 1],
          );
        });
      }
    }
  },

  "of several nodes that failed each has an entry, and each is redriven by itself (C7.2)": async (world) => {
    const broken = new Set(["a", "b"]);
    const door = gate();
    const node = (id: string) =>
      world.node(async () => {
        await door.promise;
        if (broken.has(id)) throw new Broken(id);
        return id;
      });
    const workflow = world.workflow({
      nodes: {
        a: node("a"),
        b: node("b"),
        "after-a": node("after-a"),
        join: world.node((all: object) => Object.keys(all).length),
      },
      edges: [
        ["a", "after-a"],
        ["after-a", "join"],
        ["b", "join"],
      ],
    });
    const engine = world.engine({ workflows: [workflow] });
    const result = engine.run(workflow, null, { runId: "r" });
    await world.settle();
    door.open();
    const { deadLetters } = await result;
    deepEqual(
      deadLetters.map(({ nodeId }) => nodeId),
      ["b", "a"],
    );
    const [ofB, ofA] = deadLetters;
    broken.clear();
    const first = await engine.deadLetters.redrive(ofA!.id);
    deepEqual([first.status, (first.error as { nodeId?: string }).nodeId], ["failed", "b"]);
    deepEqual(
      ["a#0", "b#0", "after-a#0"].map((of) => world.log.callsOf(of)),
      [2, 1, 1],
    );
    deepEqual(
      [(await engine.deadLetters.get(ofA!.id))?.status, (await engine.deadLetters.get(ofB!.id))?.status],
      ["succeeded", "pending"],
    );
    const second = await engine.deadLetters.redrive(ofB!.id);
    deepEqual([second.status, second.output], ["completed", 2]);
    equal((await engine.deadLetters.get(ofB!.id))?.status, "succeeded");
    deepEqual(
      ["a#0", "b#0", "after-a#0", "join#0"].map((of) => world.log.callsOf(of)),
      [2, 2, 1, 1],
    );
  },

  "a backup that serves at a redrive settles the entry too (C5.4, C7.2)": async (world) => {
    let down = true;
    const workflow = world.workflow({
      nodes: { main: world.node(fail("main")), spare: world.node(() => (down ? fail("spare")() : "spare")) },
      fallbacks: [["main", "spare"]],
    });
    const engine = world.engine();
    const { deadLetters } = await engine.run(workflow, null, { runId: "r" });
    down = false;
    const { output, degraded } = await engine.deadLetters.redrive(deadLetters[0]!.id);
    deepEqual([output, degraded], ["spare", true]);
    equal((await engine.deadLetters.get(deadLetters[0]!.id))?.status, "succeeded");
    deepEqual([world.log.callsOf("main#0"), world.log.callsOf("main#0>spare")], [2, 2]);
  },

  "what cannot be redriven is refused with the reason, and stays as it is (C7.2)": async (world) => {
    const door = gate();
    const workflow = world.workflow({ id: "w", nodes: { bad: fail("no"), slow: () => door.promise } });
    const engine = world.engine();
    match((await rejection(engine.deadLetters.redrive("dl_none"), "NOT_FOUND")).message, /no dead letter "dl_none"/);
    const controller = new AbortController();
    const result = engine.run(workflow, null, { runId: "r", signal: controller.signal });
    await world.settle();
    const [letter] = await engine.deadLetters.list();
    await rejection(engine.deadLetters.redrive(letter!.id), "RUN_IN_USE");
    const stranger = await rejection(world.engine().deadLetters.redrive(letter!.id), "NOT_FOUND");
    match(stranger.message, /does not know the workflow "w"/);
    controller.abort(new Error("enough"));
    equal((await result).status, "cancelled");
    match(
      (await rejection(engine.deadLetters.redrive(letter!.id), "RUN_IN_USE")).message,
      /is cancelled: nothing of it is left/,
    );
    deepEqual(await engine.deadLetters.get(letter!.id), letter);
    deepEqual([(await world.store.get("r"))?.status, (await world.store.get("r"))?.owner], ["cancelled", null]);
  },

  "entries are listed newest first, by workflow, node, run and status (C7.2, C10.8)": async (world) => {
    const engine = world.engine();
    for (const id of ["v", "w"]) {
      const workflow = world.workflow({ id, nodes: { a: fail("no"), b: fail("no") }, concurrency: 2 });
      await engine.run(workflow, null, { runId: `of ${id}` });
    }
    const list = async (...filter: Parameters<typeof engine.deadLetters.list>): Promise<string[]> =>
      (await engine.deadLetters.list(...filter)).map(({ workflowId, nodeId }) => workflowId + nodeId);
    deepEqual(
      (await list()).map((text) => text[0]),
      ["w", "w", "v", "v"],
    );
    deepEqual(await list({ workflowId: "v", nodeId: "a" }), ["va"]);
    deepEqual((await list({ runId: "of w" })).toSorted(), ["wa", "wb"]);
    deepEqual(await list({ status: "succeeded" }), []);
    deepEqual((await list({ limit: 1 })).length, 1);
  },
};
