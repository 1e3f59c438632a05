import { deepEqual, equal, match } from "node:assert/strict";
import type { NodeContext } from "../core/node.ts";
import { rejection } from "./contract-case.ts";
import { Broken, type EngineCases, type EngineWorld, fail, gate } from "./engine-world.ts";

/** One node that fails until it is mended, with what it was given. */
function mendable(world: EngineWorld<unknown>) {
  const state = { broken: true };
  const workflow = world.workflow({
    id: "w",
    nodes: {
      work: world.node((n: number) => {
        if (state.broken) throw new Broken("not yet");
        return n * 2;
      }),
    },
  });
  return { workflow, state };
}

/** Redrives against each other, against those who discard, and against crashes. */
export const REDRIVES: EngineCases = {
  "a redrive keeps the steps that the failed node had done, each of them paid once (C6.1, C7.2)": async (world) => {
    const paid: string[] = [];
    let broken = true;
    const workflow = world.workflow({
      nodes: {
        order: world.node(async (n: number, ctx: NodeContext) => {
          const charge = await ctx.step("charge", () => {
            paid.push(`charge ${n}`);
            return { id: 17 };
          });
          const label = await ctx.step("label", () => {
            if (broken) throw new Broken("printer");
            paid.push("label");
            return "L-1";
          });
          return `${charge.id} ${label}`;
        }),
      },
    });
    const { deadLetters } = await world.engine().run(workflow, 5, { runId: "r" });
    const id = deadLetters[0]!.id;
    const engine = world.engine({ workflows: [workflow] });
    equal((await engine.deadLetters.redrive(id)).success, false);
    broken = false;
    equal((await engine.deadLetters.redrive(id)).output, "17 L-1");
    deepEqual(paid, ["charge 5", "label"]);
    deepEqual([(await engine.deadLetters.get(id))?.retryCount, world.log.callsOf("order#0")], [2, 3]);
  },

  "a quarantined entry is redriven by force, which counts, and it stays quarantined where it fails again (C7.2)":
    async (world) => {
      const { workflow, state } = mendable(world);
      const engine = world.engine({ maxRetries: 0, workflows: [workflow] });
      const { deadLetters } = await engine.run(workflow, 4, { runId: "r" });
      const { id, status } = deadLetters[0]!;
      equal(status, "permanent_failure");
      match((await rejection(engine.deadLetters.redrive(id), "DEAD_LETTER_QUARANTINED")).message, /force: true/);
      equal(world.log.callsOf("work#0"), 1);
      equal((await engine.deadLetters.redrive(id, { force: true })).success, false);
      const again = await engine.deadLetters.get(id);
      deepEqual([again?.status, again?.retryCount, again?.nextRetryAt], ["permanent_failure", 1, null]);
      await rejection(engine.deadLetters.redrive(id), "DEAD_LETTER_QUARANTINED");
      state.broken = false;
      equal((await engine.deadLetters.redrive(id, { force: true })).output, 8);
      equal((await engine.deadLetters.get(id))?.status, "succeeded");
      await rejection(engine.deadLetters.redrive(id, { force: true }), "DEAD_LETTER_SETTLED");
    },

  "a redrive by force that died goes on without force, and counts once (C7.2)": async (world) => {
    const { workflow, state } = mendable(world);
    const { deadLetters } = await world.engine({ maxRetries: 0 }).run(workflow, 4, { runId: "r" });
    const id = deadLetters[0]!.id;
    state.broken = false;
    const handle = world.handle();
    handle.dieAt(1, "stored");
    const dying = world.engine({ store: handle, maxRetries: 0, workflows: [workflow] });
    await rejection(dying.deadLetters.redrive(id, { force: true }), "STORE_UNAVAILABLE");
    await world.leasesRunOut();
    const engine = world.engine({ maxRetries: 0, workflows: [workflow] });
    equal((await engine.deadLetters.redrive(id)).output, 8);
    equal((await engine.deadLetters.get(id))?.retryCount, 1);
  },

  "a discarded entry keeps why and when, and is redriven by nobody (C7.2)": async (world) => {
    const { workflow } = mendable(world);
    const engine = world.engine({ workflows: [workflow] });
    const { deadLetters } = await engine.run(workflow, 4, { runId: "r" });
    const [letter] = deadLetters;
    await world.runtime.clock.advance(500);
    const discarded = await engine.deadLetters.discard(letter!.id, "the customer has left");
    deepEqual(discarded, {
      ...letter,
      status: "permanent_failure",
      nextRetryAt: null,
      discarded: { reason: "the customer has left", at: world.runtime.clock.wallNow() },
    });
    deepEqual(await engine.deadLetters.get(letter!.id), discarded);
    for (const force of [false, true]) {
      const refused = await rejection(engine.deadLetters.redrive(letter!.id, { force }), "DEAD_LETTER_DISCARDED");
      match(refused.message, /the customer has left/);
    }
    equal(world.log.callsOf("work#0"), 1);
    // It can be asked again, and says what was said first.
    await world.runtime.clock.advance(500);
    deepEqual(await engine.deadLetters.discard(letter!.id, "another reason"), discarded);
    deepEqual(
      world.eventsOf("dead_letter.discarded").map(({ deadLetterId, reason }) => [deadLetterId, reason]),
      [[letter!.id, "the customer has left"]],
    );
    // The run is as it was, and whole: who asks for it gets its failure.
    const again = await world.engine().run(workflow, 4, { runId: "r" });
    deepEqual([again.status, again.deadLetters], ["failed", [discarded]]);
    deepEqual([(await world.store.get("r"))?.owner, world.eventsOf("journal.damaged")], [null, []]);
    deepEqual(await world.store.prune({ keep: 0 }), ["r"]);
  },

  "beside a discarded entry the others of its run are redriven as before (C7.2)": async (world) => {
    let broken = true;
    const flaky = (text: string) => world.node(() => (broken ? fail(text)() : text));
    const workflow = world.workflow({ nodes: { a: flaky("a"), b: flaky("b") }, concurrency: 2 });
    const engine = world.engine({ workflows: [workflow] });
    const { deadLetters } = await engine.run(workflow, null, { runId: "r" });
    const [ofA, ofB] = ["a", "b"].map((node) => deadLetters.find(({ nodeId }) => nodeId === node)!.id);
    await engine.deadLetters.discard(ofA!, "not wanted");
    broken = false;
    equal((await engine.deadLetters.redrive(ofB!)).status, "failed");
    const letters = [await engine.deadLetters.get(ofA!), await engine.deadLetters.get(ofB!)];
    deepEqual(
      letters.map((letter) => [letter?.status, letter?.discarded?.reason]),
      [
        ["permanent_failure", "not wanted"],
        ["succeeded", undefined],
      ],
    );
    await rejection(engine.deadLetters.discard(ofB!, "too late"), "DEAD_LETTER_SETTLED");
  },

  "what is being redriven is not discarded, nor is that of a run that has not ended (C7.2)": async (world) => {
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
    const engine = world.engine({ workflows: [workflow] });
    const { deadLetters } = await engine.run(workflow, null, { runId: "r" });
    const id = deadLetters[0]!.id;
    const redriven = engine.deadLetters.redrive(id);
    await world.settle();
    for (const other of [engine, world.engine()]) {
      const refused = await rejection(other.deadLetters.discard(id, "no"), "RUN_IN_USE");
      match(refused.message, /has not ended/);
    }
    equal((await engine.deadLetters.get(id))?.discarded, undefined);
    door.open();
    equal((await redriven).output, 2);
    equal((await engine.deadLetters.get(id))?.status, "succeeded");
    match((await rejection(engine.deadLetters.discard("dl_none", "no"), "NOT_FOUND")).message, /"dl_none"/);
  },

  "of one who redrives and one who discards at the same time, one comes too late and undoes nothing (C7.2)": async (
    outer,
  ) => {
    for (const slow of ["redriver", "discarder", "stalled discarder"] as const) {
      await outer.another(async (world) => {
        const { workflow, state } = mendable(world);
        const { deadLetters } = await world.engine().run(workflow, 4, { runId: "r" });
        const id = deadLetters[0]!.id;
        state.broken = false;
        const door = gate();
        const handle = world.handle();
        const late = world.engine({ store: handle, workflows: [workflow] });
        const prompt = world.engine({ workflows: [workflow] });
        if (slow === "stalled discarder") handle.onAppend = (moment) => (moment === "asked" ? door.promise : undefined);
        else {
          const claim = handle.claim.bind(handle);
          handle.claim = async (wanted) => door.promise.then(() => claim(wanted));
        }
        if (slow === "redriver") {
          const refused = rejection(late.deadLetters.redrive(id), "DEAD_LETTER_DISCARDED");
          await world.settle();
          await prompt.deadLetters.discard(id, "given up");
          door.open();
          await refused;
          equal(world.log.callsOf("work#0"), 1);
        } else {
          const wanted = slow === "discarder" ? "DEAD_LETTER_SETTLED" : "LEASE_LOST";
          const refused = rejection(late.deadLetters.discard(id, "given up"), wanted);
          await world.settle();
          if (slow === "stalled discarder") {
            await rejection(prompt.deadLetters.redrive(id), "RUN_IN_USE");
            await world.leasesRunOut();
          }
          equal((await prompt.deadLetters.redrive(id)).output, 8);
          door.open();
          await refused;
        }
        const letter = await world.store.deadLetter(id);
        deepEqual(
          [letter?.status, letter?.discarded?.reason],
          slow === "redriver" ? ["permanent_failure", "given up"] : ["succeeded", undefined],
          slow,
        );
        equal((await world.store.get("r"))?.owner, null, slow);
      });
    }
  },

  "whoever dies over a discard has discarded the entry or has not, and it can be asked again (C7.2)": async (outer) => {
    for (const moment of ["asked", "stored"] as const) {
      await outer.another(async (world) => {
        const { workflow } = mendable(world);
        const { deadLetters } = await world.engine().run(workflow, 4, { runId: "r" });
        const id = deadLetters[0]!.id;
        const handle = world.handle();
        handle.dieAt(1, moment);
        await rejection(world.engine({ store: handle }).deadLetters.discard(id, "first"), "STORE_UNAVAILABLE");
        const left = await world.store.deadLetter(id);
        equal(left?.discarded?.reason, moment === "stored" ? "first" : undefined);
        await world.leasesRunOut();
        const discarded = await world.engine().deadLetters.discard(id, "second");
        equal(discarded.discarded?.reason, moment === "stored" ? "first" : "second");
        equal((await world.engine().run(workflow, 4, { runId: "r" })).status, "failed");
      });
    }
  },

  "of two who redrive everything, each entry is redriven by one, and the other passes it over (C7.2)": async (
    world,
  ) => {
    const { workflow, state } = mendable(world);
    const first = world.engine({ workflows: [workflow] });
    for (let n = 0; n < 20; n++) await first.run(workflow, n, { runId: `r${n}` });
    state.broken = false;
    const engines = [first, world.engine({ workflows: [workflow] })];
    const reports = await world.finish(
      Promise.all(engines.map((engine) => engine.deadLetters.redriveAll({}, { concurrency: 4 }))),
    );
    equal(world.log.callsOf("work#0"), 40);
    equal(
      reports.reduce((sum, { succeeded }) => sum + succeeded, 0),
      20,
    );
    for (const { entries, failed } of reports) {
      deepEqual([entries.length, failed], [20, 0]);
      for (const { outcome, skipped } of entries)
        if (outcome !== "succeeded") match(String(skipped?.code), /^(RUN_IN_USE|DEAD_LETTER_SETTLED)$/);
    }
    for (const { status, retryCount } of await first.deadLetters.list())
      deepEqual([status, retryCount], ["succeeded", 1]);
  },

  "what cannot be stored as a dead letter is refused loudly, and is not lost (C7.2)": async (world) => {
    const { workflow } = mendable(world);
    const handle = world.handle();
    handle.onAppend = (moment, _, { deadLetters }) => {
      if (moment === "asked" && deadLetters !== undefined) handle.down = true;
    };
    await rejection(world.engine({ store: handle }).run(workflow, 4, { runId: "r" }), "STORE_UNAVAILABLE");
    deepEqual([await world.store.deadLetters(), (await world.store.get("r"))?.status], [[], "running"]);
    deepEqual(world.eventsOf("node.failed"), []);
    await world.leasesRunOut();
    const { status, deadLetters } = await world.engine().run(workflow, 4, { runId: "r" });
    deepEqual([status, deadLetters.length, (await world.store.deadLetters()).length], ["failed", 1, 1]);
  },

  "no number of entries makes an older one go (C7.2)": async (world) => {
    const workflow = world.workflow({ id: "w", nodes: { n: fail("no") } });
    const engine = world.engine();
    for (let n = 0; n < 250; n++) await engine.run(workflow, n, { runId: `r${n}` });
    const all = await engine.deadLetters.list({ limit: Infinity });
    deepEqual(
      all.map(({ runId, status }) => `${runId} ${status}`),
      Array.from({ length: 250 }, (_, n) => `r${249 - n} pending`),
    );
  },
};
