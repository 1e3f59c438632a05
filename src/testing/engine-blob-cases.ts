import { deepEqual, equal, match } from "node:assert/strict";
import type { NodeContext } from "../core/node.ts";
import { rejection } from "./contract-case.ts";
import { type EngineCases, type EngineWorld, fail } from "./engine-world.ts";

const LARGE = "large ".repeat(100);

/** In these worlds a value above 200 bytes is a large one. */
const LIMITS = { journaledBytes: 200 };

function graph(world: EngineWorld<unknown>): unknown {
  return world.workflow({
    nodes: {
      make: world.node((text: string) => ({ text: text.toUpperCase(), short: 1 })),
      step: world.node(({ text }: { text: string }, ctx: NodeContext) =>
        ctx.step("turn", () => [...text].reverse().join("")),
      ),
      end: world.node((text: string) => `${text}!`),
    },
    edges: [
      ["make", "step"],
      ["step", "end"],
    ],
  });
}

const OUTPUT = `${[...LARGE.toUpperCase()].reverse().join("")}!`;

/** What becomes of values that are too large for a journal. */
export const BLOBS: EngineCases = {
  "large values are kept outside the journal, and come to nodes and callers as they were (C6.6)": async (world) => {
    const blobs = await world.blobs();
    const run = world.engine({ ...LIMITS, blobs: blobs() }).run(graph(world), LARGE, { runId: "r" });
    equal((await run).output, OUTPUT);
    const records = await world.store.read("r");
    equal(
      records.every(({ body }) => body.length < 3000),
      true,
    );
    const text = records.map(({ body }) => new TextDecoder().decode(body)).join("");
    equal(/large |LARGE |EGRAL/.test(text), false, "a large value is in the journal");
    const again = world.engine({ ...LIMITS, blobs: blobs() }).run(graph(world), LARGE, { runId: "r" });
    equal((await again).output, OUTPUT);
  },

  "a large value is durable before the record that names it, whichever write or blob a process dies at (C6.1, C6.6)":
    async (world) => {
      for (const moment of ["put", "asked", "stored"] as const) {
        for (let n = 1; n <= 5; n++) {
          await world.another(async (other) => {
            const blobs = await other.blobs();
            const [handle, faulty] = [other.handle(), blobs()];
            if (moment === "put") {
              faulty.onPut = () => {
                if (faulty.puts === n) faulty.down = handle.down = true;
              };
            } else {
              handle.onAppend = (now, count) => {
                if (now === moment && count === n) faulty.down = handle.down = true;
              };
            }
            const first = other
              .engine({ ...LIMITS, store: handle, blobs: faulty })
              .run(graph(other), LARGE, { runId: "r" });
            const died = await first.then(
              () => false,
              () => true,
            );
            await other.leasesRunOut();
            const second = await other.engine({ ...LIMITS, blobs: blobs() }).run(graph(other), LARGE, { runId: "r" });
            deepEqual([second.status, second.output], ["completed", OUTPUT], `${moment} ${n}`);
            deepEqual(other.log.violations(), [], `${moment} ${n}`);
            if (n === 1) equal(died, true, `${moment} ${n} was no death`);
          });
        }
      }
    },

  "an engine that keeps more in its journal, or less, carries the run on all the same (C6.6)": async (world) => {
    for (const [first, second] of [
      [200, 100_000],
      [100_000, 0],
    ] as const) {
      await world.another(async (other) => {
        const blobs = await other.blobs();
        const handle = other.handle();
        handle.dieAt(3, "asked");
        const run = other.engine({ journaledBytes: first, store: handle, blobs: blobs() });
        await run.run(graph(other), LARGE, { runId: "r" }).catch(() => {});
        await other.leasesRunOut();
        const engine = other.engine({ journaledBytes: second, blobs: blobs() });
        equal((await engine.run(graph(other), LARGE, { runId: "r" })).output, OUTPUT);
        await rejection(engine.run(graph(other), `${LARGE}.`, { runId: "r" }), "RUN_IN_USE");
      });
    }
  },

  "a blob that is gone stops the run with an error that names it, and nothing is lost: with the blob it goes on (C6.6, C6.7)":
    async (world) => {
      const blobs = await world.blobs();
      const workflow = world.workflow({
        nodes: { make: world.node(() => LARGE), look: world.node((text: string) => text.length) },
        edges: [["make", "look"]],
      });
      const handle = world.handle();
      handle.dieAt(3, "asked");
      await world
        .engine({ ...LIMITS, store: handle, blobs: blobs() })
        .run(workflow, null, { runId: "r" })
        .catch(() => {});
      await world.leasesRunOut();
      const [{ name } = { name: "" }] = await world.blobsOf(blobs());
      const bytes = await blobs().get(name);
      await blobs().delete(name);
      for (let i = 0; i < 2; i++) {
        const stopped = world.engine({ ...LIMITS, blobs: blobs() }).run(workflow, null, { runId: "r" });
        const error = await rejection(stopped, "STORE_CORRUPT");
        match(error.message, new RegExp(`there is no blob ${name}`));
      }
      // Without any blobs it is the engine that lacks something.
      await rejection(world.engine(LIMITS).run(workflow, null, { runId: "r" }), "STORE_UNAVAILABLE");
      deepEqual([(await world.store.get("r"))?.status, await world.store.deadLetters()], ["running", []]);
      equal(world.log.callsOf("look#0"), 1);
      await blobs().put(bytes!);
      const again = world.engine({ ...LIMITS, blobs: blobs() }).run(workflow, null, { runId: "r" });
      const { status, output } = await again;
      deepEqual([status, output], ["completed", LARGE.length]);
      equal(world.log.callsOf("make#0"), 1);
    },

  "blobs in trouble stop the run and blame no node, in a step too; it goes on when they are back (C6.10)": async (
    world,
  ) => {
    for (const failing of [1, 2, 3, 4]) {
      await world.another(async (other) => {
        const blobs = await other.blobs();
        const faulty = blobs();
        faulty.onPut = () => {
          if (faulty.puts === failing) faulty.down = true;
        };
        const run = other.engine({ ...LIMITS, blobs: faulty }).run(graph(other), LARGE, { runId: "r" });
        await rejection(run, "STORE_UNAVAILABLE");
        deepEqual(await other.store.deadLetters(), []);
        deepEqual(other.eventsOf("node.failed"), []);
        equal(
          (await other.engine({ ...LIMITS, blobs: blobs() }).run(graph(other), LARGE, { runId: "r" })).output,
          OUTPUT,
        );
      });
    }
  },

  "the dead letter of a node with a large input names the blob, and is redriven from it (C6.6, C7.2)": async (
    world,
  ) => {
    const blobs = await world.blobs();
    let works = false;
    const workflow = world.workflow({
      nodes: { n: (text: string) => (works ? text.length : fail("no")()) },
    });
    const engine = world.engine({ ...LIMITS, blobs: blobs(), workflows: [workflow] });
    const { deadLetters } = await engine.run(workflow, LARGE, { runId: "r" });
    match(deadLetters[0]?.payload ?? "", /^blob:[0-9a-f]{64}$/);
    works = true;
    equal((await engine.deadLetters.redrive(deadLetters[0]!.id)).output, LARGE.length);
  },

  "a sweep finds the blobs that nothing refers to, and deletes only those that are old enough (C6.6)": async (
    world,
  ) => {
    const blobs = await world.blobs();
    const [handle, faulty] = [world.handle(), blobs()];
    faulty.onPut = () => {
      if (faulty.puts === 2) faulty.down = handle.down = true;
    };
    // The output of `make` is put, and the process dies before the record.
    await world
      .engine({ ...LIMITS, store: handle, blobs: faulty })
      .run(graph(world), LARGE, { runId: "died" })
      .catch(() => {});
    // The input of its node is nowhere but in the dead letter: the field of the output has another name.
    const broken = world.workflow({
      id: "broken",
      nodes: { make: () => ({ text: LARGE }), n: fail("no") },
      edges: [["make", "n", { text: "letter" }]],
    });
    const engine = world.engine({ ...LIMITS, blobs: blobs() });
    await engine.run(broken, null, { runId: "failed" });
    const stray = await blobs().put(new TextEncoder().encode("a stray"));
    const before = await world.blobsOf(blobs());
    equal(before.length, 5);
    await world.runtime.clock.advance(60_000);
    deepEqual(await engine.sweepBlobs(), []);
    deepEqual(await engine.sweepBlobs({ olderThanMs: 60_000 }), []);
    const found = await engine.sweepBlobs({ olderThanMs: 59_999, dryRun: true });
    equal(found.length, 2);
    equal((await world.blobsOf(blobs())).length, 5);
    // One of them comes into use again: the run that died is carried on.
    equal((await engine.run(graph(world), LARGE, { runId: "died" })).output, OUTPUT);
    deepEqual(
      (await engine.sweepBlobs({ olderThanMs: 59_999 })).map(({ name }) => name),
      [stray],
    );
    equal(await blobs().get(stray), undefined);
    equal((await engine.run(graph(world), LARGE, { runId: "died" })).output, OUTPUT);
    const [letter] = await engine.deadLetters.list();
    equal((await blobs().get(letter!.payload!.slice("blob:".length))) === undefined, false);
  },
};
