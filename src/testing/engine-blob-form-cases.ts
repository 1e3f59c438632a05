import { deepEqual, equal, match, notEqual } from "node:assert/strict";
import type { NodeContext } from "../core/node.ts";
import { rejection } from "./contract-case.ts";
import type { StandardSchema } from "../core/schema.ts";
import { type EngineCases, type EngineWorld, gate } from "./engine-world.ts";

const LARGE = "large ".repeat(100);
const LIMITS = { journaledBytes: 200 };
const LONG = 600_000;

/** Makes a large text of a number. */
const LENGTHENING: StandardSchema<number, string> = {
  "~standard": { version: 1, vendor: "test", validate: (times) => ({ value: "large ".repeat(times as number) }) },
};

/** What the store holds of a run that must not hold a large value: its records. */
async function journaled(world: EngineWorld<unknown>, runId: string): Promise<string> {
  const records = await world.store.read(runId);
  return records.map(({ body }) => new TextDecoder().decode(body)).join("");
}

/** What becomes of large values where a graph waits, judges, undoes or runs another one. */
export const BLOB_FORMS: EngineCases = {
  "a wait decides by its large input, and passes it on after a restart (C5.2, C6.6)": async (world) => {
    const blobs = await world.blobs();
    const workflow = world.workflow({
      nodes: {
        make: world.node(() => ({ text: LARGE, ms: LONG })),
        pause: { kind: "wait", until: ({ ms }: { ms: number }, now) => now + ms },
        end: world.node(({ text }: { text: string }) => text.length),
      },
      edges: [
        ["make", "pause"],
        ["pause", "end"],
      ],
    });
    const begun = world.runtime.clock.wallNow();
    const first = world.engine({ ...LIMITS, blobs: blobs() });
    first.run(workflow, null, { runId: "r" }).catch(() => {});
    await world.settle();
    equal((await first.get("r"))!.wakeAt, begun + LONG);
    await first.close();
    const second = world.engine({ ...LIMITS, blobs: blobs() }).run(workflow, null, { runId: "r" });
    equal((await world.finish(second)).output, LARGE.length);
    equal(/large /.test(await journaled(world, "r")), false, "a large value is in the journal");
  },

  "a wait whose input is gone stops the run, and goes on with it; one for a signal needs none (C6.6, C6.10)": async (
    world,
  ) => {
    for (const [kind, stops] of [
      ["wait", true],
      ["signal", false],
    ] as const) {
      await world.another(async (other) => {
        const blobs = await other.blobs();
        const faulty = blobs();
        const waiting =
          kind === "wait"
            ? { kind, until: (text: string, now: number) => now + text.length }
            : { kind, name: "go", timeoutMs: Infinity };
        const workflow = other.workflow({
          nodes: { make: other.node(() => LARGE), waiting },
          edges: [["make", "waiting"]],
        });
        faulty.onPut = () => {
          faulty.get = () => Promise.reject(new Error("nobody answers"));
        };
        const stopped = other.engine({ ...LIMITS, blobs: faulty }).run(workflow, null, { runId: "r" });
        if (stops) await rejection(stopped, "STORE_UNAVAILABLE");
        else await other.settle();
        deepEqual([await other.store.deadLetters(), other.eventsOf("node.failed")], [[], []]);
        if (!stops) return equal((await other.store.get("r"))?.status, "waiting");
        const again = other.engine({ ...LIMITS, blobs: blobs() }).run(workflow, null, { runId: "r" });
        equal((await other.finish(again)).output, LARGE);
        equal(other.log.callsOf("make#0"), 1);
      });
    }
  },

  "a wait that has slept and cannot read what it passes on stops the run, and blames no node (C6.10)": async (
    world,
  ) => {
    const blobs = await world.blobs();
    const faulty = blobs();
    const workflow = world.workflow({
      nodes: { make: world.node(() => LARGE), pause: { kind: "wait", until: (_, now) => now + 500 } },
      edges: [["make", "pause"]],
    });
    const stopped = world.engine({ ...LIMITS, blobs: faulty }).run(workflow, null, { runId: "r" });
    await world.settle();
    faulty.down = true;
    await rejection(world.finish(stopped), "STORE_UNAVAILABLE");
    deepEqual([await world.store.deadLetters(), world.eventsOf("node.failed")], [[], []]);
    const again = world.engine({ ...LIMITS, blobs: blobs() }).run(workflow, null, { runId: "r" });
    equal((await world.finish(again)).output, LARGE);
    equal(world.log.callsOf("make#0"), 1);
  },

  "a large payload of a signal waits among the blobs, and no sweep deletes it (C5.2, C6.6)": async (world) => {
    const blobs = await world.blobs();
    const workflow = world.workflow({ nodes: { ask: { kind: "signal", name: undefined, timeoutMs: Infinity } } });
    const first = world.engine({ ...LIMITS, blobs: blobs() });
    first.run(workflow, null, { runId: "r" }).catch(() => {});
    await world.settle();
    await first.close();
    // Whoever tells it knows neither the workflow nor the run.
    const other = world.engine({ ...LIMITS, blobs: blobs() });
    await other.signal("r", "ask", LARGE);
    match((await world.store.signals({ runId: "r" }))[0]!.payload, /^blob:/);
    await world.runtime.clock.advance(60_000);
    deepEqual(await other.sweepBlobs({ olderThanMs: 0 }), []);
    equal((await world.finish(other.run(workflow, null, { runId: "r" }))).output, LARGE);
    equal(/large /.test(await journaled(world, "r")), false, "a large value is in the journal");
  },

  "a signal that cannot be kept is an error of whoever sends it, and disturbs no run (C6.10)": async (world) => {
    const blobs = await world.blobs();
    const workflow = world.workflow({ nodes: { ask: { kind: "signal", name: undefined, timeoutMs: Infinity } } });
    const faulty = blobs();
    const engine = world.engine({ ...LIMITS, blobs: faulty });
    const result = engine.run(workflow, null, { runId: "r" });
    await world.settle();
    faulty.down = true;
    await rejection(engine.signal("r", "ask", LARGE), "STORE_UNAVAILABLE");
    faulty.down = false;
    await engine.signal("r", "ask", "short");
    equal((await world.finish(result)).output, "short");
  },

  "what is too large for an engine without blobs is refused: a payload, and the input of an inner run (C6.6)": async (
    world,
  ) => {
    const ask = world.workflow({ id: "ask", nodes: { ask: { kind: "signal", name: undefined, timeoutMs: Infinity } } });
    const engine = world.engine(LIMITS);
    const asking = engine.run(ask, null, { runId: "asking" });
    await world.settle();
    await rejection(engine.signal("asking", "ask", LARGE), "UNSERIALIZABLE_VALUE");
    await engine.signal("asking", "ask", "short");
    equal((await world.finish(asking)).output, "short");
    const inner = world.workflow({ id: "inner", input: LENGTHENING, nodes: { n: (text: string) => text.length } });
    const outer = world.workflow({ nodes: { n: { kind: "workflow", workflow: inner } } });
    const { status, deadLetters } = await world.finish(engine.run(outer, 100, { runId: "r" }));
    deepEqual([status, deadLetters[0]?.errorDetail.code], ["failed", "UNSERIALIZABLE_VALUE"]);
    equal(await engine.get("r/n#0"), undefined);
  },

  "a large payload that cannot be read stops the run, which takes it later (C6.10)": async (world) => {
    const blobs = await world.blobs();
    const workflow = world.workflow({ nodes: { ask: { kind: "signal", name: undefined, timeoutMs: Infinity } } });
    const faulty = blobs();
    const first = world.engine({ ...LIMITS, blobs: faulty });
    const stopped = first.run(workflow, null, { runId: "r" });
    await world.settle();
    const get = faulty.get.bind(faulty);
    faulty.get = () => Promise.reject(new Error("nobody answers"));
    await first.signal("r", "ask", LARGE);
    await rejection(world.finish(stopped), "STORE_UNAVAILABLE");
    deepEqual([await world.store.deadLetters(), (await world.store.signals({ runId: "r" })).length], [[], 1]);
    faulty.get = get;
    equal((await world.finish(first.run(workflow, null, { runId: "r" }))).output, LARGE);
  },

  "what the schema of a workflow makes of its output is kept among the blobs (C5.1, C6.6)": async (world) => {
    const blobs = await world.blobs();
    const workflow = world.workflow({ output: LENGTHENING, nodes: { n: () => 100 } });
    const engine = world.engine({ ...LIMITS, blobs: blobs() });
    equal((await engine.run(workflow, null, { runId: "r" })).output, LARGE);
    equal(/large /.test(await journaled(world, "r")), false, "a large value is in the journal");
  },

  "a large output is undone as it was, and only when it can be read (C5.9, C6.10)": async (world) => {
    const blobs = await world.blobs();
    const undone: unknown[] = [];
    const working = gate();
    const workflow = world.workflow({
      nodes: {
        book: world.node(() => LARGE),
        pay: (_: unknown, { signal }: NodeContext) => {
          working.open();
          return new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
        },
      },
      edges: [["book", "pay"]],
      forms: { book: { compensate: (output: unknown) => void undone.push(output) } },
    });
    const faulty = blobs();
    const first = world.engine({ ...LIMITS, blobs: faulty });
    const stopped = first.run(workflow, null, { runId: "r" });
    await working.promise;
    faulty.down = true;
    const cancelling = first.cancel("r", "never mind", { compensate: true });
    await rejection(stopped, "STORE_UNAVAILABLE");
    await cancelling.catch(() => {});
    deepEqual([undone, (await world.store.get("r"))!.status], [[], "running"]);
    const again = world.engine({ ...LIMITS, blobs: blobs() }).run(workflow, null, { runId: "r" });
    deepEqual([(await world.finish(again)).status, undone], ["cancelled", [LARGE]]);
  },

  "large values go into inner runs and come out of them (C5.2, C6.6)": async (world) => {
    const blobs = await world.blobs();
    const inner = world.workflow({ id: "inner", nodes: { turn: (text: string) => text.toUpperCase() } });
    const outer = world.workflow({ nodes: { n: { kind: "workflow", workflow: inner } } });
    const run = world.engine({ ...LIMITS, blobs: blobs() }).run(outer, LARGE, { runId: "r" });
    equal((await world.finish(run)).output, LARGE.toUpperCase());
    for (const runId of ["r", "r/n#0"])
      equal(/large /i.test(await journaled(world, runId)), false, "a large value is in the journal");
  },

  "blobs in trouble in an inner run stop the outer one too, and blame none of its nodes (C6.10)": async (world) => {
    const blobs = await world.blobs();
    const inner = world.workflow({ id: "inner", nodes: { make: world.node(() => LARGE) } });
    const outer = world.workflow({ nodes: { n: { kind: "workflow", workflow: inner } } });
    const faulty = blobs();
    faulty.onPut = () => void (faulty.down = true);
    const stopped = world.engine({ ...LIMITS, blobs: faulty }).run(outer, null, { runId: "r" });
    await rejection(world.finish(stopped), "STORE_UNAVAILABLE");
    deepEqual([await world.store.deadLetters(), world.eventsOf("node.failed")], [[], []]);
    const again = world.engine({ ...LIMITS, blobs: blobs() }).run(outer, null, { runId: "r" });
    equal((await world.finish(again)).output, LARGE);
  },

  "a run that is parked keeps its large input through all its lives (C5.2, C6.6)": async (world) => {
    const blobs = await world.blobs();
    const workflow = world.workflow({
      nodes: {
        pause: { kind: "wait", until: (_, now) => now + LONG },
        again: { kind: "wait", until: (_, now) => now + LONG },
      },
      edges: [["pause", "again"]],
    });
    const engine = world.engine({ ...LIMITS, blobs: blobs() });
    const result = engine.run(workflow, LARGE, { runId: "r" });
    await world.settle();
    // Somebody who resumes it by its id alone joins it.
    const resumed = engine.resume(workflow, "r");
    equal((await world.finish(result)).output, LARGE);
    equal((await resumed).output, LARGE);
    await rejection(engine.run(workflow, `${LARGE}.`, { runId: "r" }), "RUN_IN_USE");
    notEqual((await world.blobsOf(blobs())).length, 0);
  },
};
