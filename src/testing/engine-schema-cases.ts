import { deepEqual, doesNotMatch, equal, match } from "node:assert/strict";
import type { NodeContext } from "../core/node.ts";
import type { StandardSchema } from "../core/schema.ts";
import { rejection } from "./contract-case.ts";
import { Broken, type EngineCases, gate } from "./engine-world.ts";

/** A schema that counts how often it is asked. It may be changed, as a person does who mends it. */
interface CountingSchema extends StandardSchema {
  asked: number;
  check: (value: unknown) => unknown;
}

/** What `check` throws where a value does not fit. */
class Misfit extends Error {}

/** A schema that makes of a value what `check` does, at once or late. */
function schema(check: (value: unknown) => unknown, isLate = false): CountingSchema {
  const own: CountingSchema = {
    asked: 0,
    check,
    "~standard": {
      version: 1,
      vendor: "test",
      validate: (value) => {
        const verdict = judge(value);
        return isLate ? Promise.resolve().then(() => verdict) : verdict;
      },
    },
  };
  function judge(value: unknown): ReturnType<StandardSchema["~standard"]["validate"]> {
    own.asked++;
    try {
      return { value: own.check(value) };
    } catch (thrown) {
      if (!(thrown instanceof Misfit)) throw thrown;
      return { issues: [{ message: thrown.message, path: ["items", 0] }] };
    }
  }
  return own;
}

function refuse(message: string): () => never {
  return () => {
    throw new Misfit(message);
  };
}

const RETRY = { retry: { maxAttempts: 5, initialDelayMs: 10 } };

/** What schemas make of the values of a run, and what becomes of values that do not fit (C10.4). */
export const SCHEMAS: EngineCases = {
  "a node gets what its schema makes of its input, anew for each attempt (C10.4)": async (world) => {
    const input = schema((value) => ({ ...(value as object), note: "none" }));
    const workflow = world.workflow({
      nodes: {
        n: (given: { id: string; note: string; used?: boolean }, { attempt }: NodeContext) => {
          equal(given.used, undefined);
          given.used = true;
          if (attempt < 3) throw new Broken("not yet");
          return given.note;
        },
      },
      forms: { n: { input } },
      policies: { n: RETRY },
    });
    const { output } = await world.finish(world.engine().run(workflow, { id: "o-1" }));
    equal(output, "none");
    equal(input.asked, 3);
  },

  "an input that does not fit is not tried again, calls no function, and is kept with what is wrong (C7.1, C10.4)":
    async (world) => {
      const workflow = world.workflow({
        nodes: { n: world.node(() => 1) },
        forms: { n: { input: schema(refuse("no price")) } },
        policies: { n: RETRY },
      });
      const { error, deadLetters, nodeFailures } = await world.engine().run(workflow, { items: [{}] });
      equal(world.log.callsOf("n#0"), 0);
      equal(nodeFailures.get("n"), 1);
      match(
        String(error),
        /Node "n" .* failed after 1 attempt: The input of node "n" does not fit .*items\[0\]: no price.* repeats this\. Its input/,
      );
      const { errorDetail, payload, attempts } = deadLetters[0]!;
      deepEqual(
        [errorDetail.name, errorDetail.code, errorDetail.issues],
        ["SchemaError", "SCHEMA_MISMATCH", [{ path: "items[0]", message: "no price" }]],
      );
      deepEqual([payload, attempts], ['{"items":[{}]}', 1]);
    },

  "an output is stored as its schema makes it, before anybody gets it, and is not asked for again (C6.1, C10.4)":
    async (world) => {
      const output = schema((text) => `${String(text)}, checked`, true);
      const workflow = world.workflow({
        nodes: { a: () => "unseen", b: world.node((text: string) => text) },
        edges: [["a", "b"]],
        forms: { a: { output } },
      });
      equal((await world.engine().run(workflow, null, { runId: "r" })).output, "unseen, checked");
      equal((await world.engine().run(workflow, null, { runId: "r" })).output, "unseen, checked");
      equal(output.asked, 1);
      for (const { body } of await world.store.read("r"))
        doesNotMatch(new TextDecoder().decode(body), /unseen(?!, checked)/);
    },

  "an output that does not fit is not tried again, and a redrive takes the node up when that is mended (C7.2, C10.4)":
    async (world) => {
      const output = schema(refuse("no label"));
      const workflow = world.workflow({
        nodes: { a: world.node((n: number) => n + 1), b: world.node((n: number) => n * 2) },
        edges: [["a", "b"]],
        forms: { a: { output } },
        policies: { a: RETRY },
      });
      const engine = world.engine();
      const { error, deadLetters } = await engine.run(workflow, 1, { runId: "r" });
      match(String(error), /Node "a" .* failed after 1 attempt: The output of node "a" does not fit/);
      deepEqual([world.log.callsOf("a#0"), world.log.callsOf("b#0")], [1, 0]);
      output.check = (value) => value;
      equal((await engine.deadLetters.redrive(deadLetters[0]!.id)).output, 4);
    },

  "a backup stands in for a node whose output does not fit (C5.4, C10.4)": async (world) => {
    const workflow = world.workflow({
      nodes: { model: () => "eggs", rules: () => "ham" },
      fallbacks: [["model", "rules"]],
      forms: { model: { output: schema(refuse("no label")) } },
    });
    const { output, degraded } = await world.engine().run(workflow, null);
    deepEqual([output, degraded], ["ham", true]);
  },

  "what the code of a schema throws is tried again like any error (C10.4)": async (world) => {
    const output = schema((value) => {
      if (output.asked < 3) throw new Broken("the dictionary does not answer");
      return value;
    });
    const workflow = world.workflow({ nodes: { n: () => 7 }, forms: { n: { output } }, policies: { n: RETRY } });
    equal((await world.finish(world.engine().run(workflow, null))).output, 7);
  },

  "a function is not called for an input whose schema took longer than the attempt may (C3.1, C10.4)": async (
    world,
  ) => {
    const slow = gate();
    const input: StandardSchema = {
      "~standard": { version: 1, vendor: "test", validate: (value) => slow.promise.then(() => ({ value })) },
    };
    const workflow = world.workflow({
      nodes: { n: world.node(() => 1) },
      forms: { n: { input } },
      policies: { n: { timeout: { attemptTimeoutMs: 100 } } },
    });
    match(String((await world.finish(world.engine().run(workflow, null))).error), /100 ms/);
    slow.open();
    await world.settle();
    equal(world.log.callsOf("n#0"), 0);
  },

  "an input that the workflow does not take rejects the run before anything is stored (C10.4)": async (world) => {
    const input = schema(refuse("no price"), true);
    const workflow = world.workflow({ id: "bill", input, nodes: { n: world.node((n: number) => n) } });
    const engine = world.engine();
    const error = await rejection(engine.run(workflow, 1, { runId: "r" }), "SCHEMA_MISMATCH");
    match(error.message, /^The input of workflow "bill" does not fit its schema: items\[0\]: no price/);
    equal(await world.store.get("r"), undefined);
    deepEqual([await engine.deadLetters.list(), world.events, world.log.callsOf("n#0")], [[], [], 0]);
    input.check = (value) => value;
    equal((await engine.run(workflow, 1, { runId: "r" })).output, 1);
  },

  "a run is started with what the schema makes of its input, and known again by it (C6.2, C10.4)": async (world) => {
    const input = schema((value) => ({ ...(value as object), note: "none" }), true);
    const workflow = world.workflow({
      input,
      nodes: { a: world.node((given: object) => given), b: (given: object) => given },
      edges: [["a", "b"]],
    });
    const handle = world.handle();
    handle.dieAt(2, "stored");
    await world.finish(world.engine({ store: handle }).run(workflow, { id: 1 }, { runId: "r" })).catch(() => {});
    await world.leasesRunOut();
    const { output } = await world.finish(world.engine().run(workflow, { id: 1 }, { runId: "r" }));
    deepEqual(output, { id: 1, note: "none" });
    await rejection(world.engine().run(workflow, { id: 2 }, { runId: "r" }), "RUN_IN_USE");
  },

  "a run gives what the schema of its workflow makes of its output, the same whenever it is read (C10.3, C10.4)":
    async (world) => {
      const output = schema((n) => ({ total: n }), true);
      const workflow = world.workflow({
        output,
        nodes: { a: (n: number) => n + 1, b: (n: number) => n * 2 },
        edges: [["a", "b"]],
        forms: { b: { output: schema((n) => (n as number) + 0.5) } },
      });
      for (let reading = 0; reading < 2; reading++)
        deepEqual((await world.engine().run(workflow, 1, { runId: "r" })).output, { total: 4.5 });
      equal(output.asked, 1);
    },

  "a run whose output does not fit fails at its end node, which is not called again (C5.6, C10.4)": async (world) => {
    const output = schema(refuse("no total"));
    const workflow = world.workflow({
      id: "bill",
      output,
      nodes: { a: world.node((n: number) => n + 1), b: world.node((n: number) => n * 2) },
      edges: [["a", "b"]],
      policies: { b: RETRY },
    });
    const engine = world.engine();
    const { status, error, deadLetters } = await engine.run(workflow, 1);
    equal(status, "failed");
    match(String(error), /Node "b" .* failed after 1 attempt: The output of workflow "bill" does not fit its schema/);
    equal(world.log.callsOf("b#0"), 1);
    output.check = (value) => value;
    equal((await engine.deadLetters.redrive(deadLetters[0]!.id)).output, 4);
  },

  "a loop is judged as the output of the run when it has ended (C5.3, C10.4)": async (world) => {
    const output = schema((n) => ((n as number) < 3 ? refuse("too small")() : n));
    const workflow = world.workflow({
      output,
      nodes: { step: (n: number) => n + 1 },
      edges: [["step", "step", undefined, (n: number) => n < 3]],
    });
    equal((await world.engine().run(workflow, 0)).output, 3);
    equal(output.asked, 1);
  },

  "a node whose edges are not taken gives the run nothing that its schema would judge (C5.3, C10.4)": async (world) => {
    const output = schema(refuse("no text"));
    const workflow = world.workflow({
      output,
      nodes: { a: () => 1, end: () => "text" },
      edges: [["a", "end", undefined, () => false]],
    });
    const { status, output: given } = await world.engine().run(workflow, null);
    deepEqual([status, given, output.asked], ["completed", undefined, 0]);
  },

  "a message that is handed on is judged by who gets it, and what nobody hands on as the output of the run (C5.3, C10.4)":
    async (world) => {
      const output = schema((text) => `answer: ${String(text)}`);
      const workflow = world.workflow({
        output,
        nodes: {
          triage: (text: string, ctx: NodeContext) => (text === "hi" ? "hello" : ctx.handoff("expert", { text })),
          expert: ({ text, calm }: { text: string; calm: boolean }) => `${text} ${calm}`,
        },
        forms: {
          triage: {
            handoffTo: ["expert"],
            output: schema((value) => (typeof value === "string" ? value : refuse("no text")())),
          },
          expert: { input: schema((value) => ({ ...(value as object), calm: true })) },
        },
      });
      equal((await world.engine().run(workflow, "fire")).output, "answer: fire true");
      equal((await world.engine().run(workflow, "hi")).output, "answer: hello");
    },
};
