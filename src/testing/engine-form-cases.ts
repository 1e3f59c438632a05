import { deepEqual, equal, match, rejects } from "node:assert/strict";
import type { NodeContext } from "../core/node.ts";
import { Broken, type EngineCases, fail, gate } from "./engine-world.ts";

/** Ways through a graph that are chosen while it runs: conditions, joins, loops, hand-offs, failures that are passed over. */
export const FORMS: EngineCases = {
  "an edge with a condition is taken where it holds, and what is not taken does not hold a join up (C5.3)": async (
    world,
  ) => {
    const workflow = world.workflow({
      nodes: {
        sort: (n: number) => ({ n }),
        small: world.node(({ n }: { n: number }) => `small ${n}`),
        large: world.node(({ n }: { n: number }) => `large ${n}`),
        after: (input: object) => input,
      },
      edges: [
        ["sort", "small", undefined, ({ n }: { n: number }) => n < 10],
        ["sort", "large", undefined, ({ n }: { n: number }) => n >= 10],
        ["small", "after"],
        ["large", "after"],
      ],
    });
    const engine = world.engine();
    deepEqual((await engine.run(workflow, 3, { runId: "r3" })).output, { small: "small 3" });
    deepEqual((await engine.run(workflow, 30, { runId: "r30" })).output, { large: "large 30" });
    equal(world.log.callsOf("small#0") + world.log.callsOf("large#0"), 2);
  },

  "an end that was passed over has no field in the result (C10.3)": async (world) => {
    const workflow = world.workflow({
      nodes: { a: (n: number) => n, yes: () => "yes", no: () => "no" },
      edges: [
        ["a", "yes", undefined, (n: number) => n === 1],
        ["a", "no", undefined, (n: number) => n !== 1],
      ],
    });
    deepEqual((await world.engine().run(workflow, 1)).output, { yes: "yes" });
  },

  "a condition that throws fails the node that it judges (C5.3)": async (world) => {
    const workflow = world.workflow({
      nodes: { a: () => 1, b: () => 2 },
      edges: [["a", "b", undefined, fail("no such field")]],
    });
    const { error } = await world.engine().run(workflow, null);
    match(String(error), /Node "a" of run .* failed .*no such field/);
  },

  "a node that joins any starts with the first that delivers, once, with that input (C5.3)": async (world) => {
    const slow = gate();
    const workflow = world.workflow({
      nodes: {
        quick: () => "quick",
        slow: async () => {
          await slow.promise;
          return "slow";
        },
        first: world.node((input: string) => {
          slow.open();
          return input;
        }),
      },
      edges: [
        ["quick", "first"],
        ["slow", "first"],
      ],
      forms: { first: { join: "any" } },
    });
    const { output, agentSteps } = await world.engine().run(workflow, null);
    equal(output, "quick");
    deepEqual(agentSteps.map(({ invocationId }) => invocationId).toSorted(), ["first#0", "quick#0", "slow#0"]);
  },

  "a loop goes round while its condition holds, and its visits have keys of their own (C5.3, C6.1)": async (world) => {
    const keys: string[] = [];
    const workflow = world.workflow({
      nodes: {
        draft: (n: number, { idempotencyKey }: NodeContext) => {
          keys.push(idempotencyKey);
          return n + 1;
        },
        check: (n: number) => n,
        publish: (n: number) => `version ${n}`,
      },
      edges: [
        ["draft", "check"],
        ["check", "draft", undefined, (n: number) => n < 4],
        ["check", "publish", undefined, (n: number) => n >= 4],
      ],
    });
    const { output, agentSteps } = await world.engine().run(workflow, 1);
    equal(output, "version 4");
    equal(new Set(keys).size, 3);
    deepEqual(
      agentSteps.map(({ invocationId }) => invocationId),
      ["draft#0", "check#0", "draft#1", "check#1", "draft#2", "check#2", "publish#0"],
    );
  },

  "what leads out of a loop is followed once, from the last visits in it (C5.3)": async (world) => {
    // The loop hands an object to `next` from its second round on.
    const workflow = world.workflow({
      nodes: {
        next: (given: number | { n: number }) => (typeof given === "number" ? given : given.n) + 1,
        left: (n: number) => `l${n}`,
        right: (n: number) => `r${n}`,
        both: ({ left, right }: { left: string; right: string }) => ({ both: left + right, n: Number(left.slice(1)) }),
        report: world.node((all: unknown) => all),
      },
      edges: [
        ["next", "left"],
        ["next", "right"],
        ["left", "both"],
        ["right", "both"],
        ["both", "next", { n: "n" }, ({ n }: { n: number }) => n < 3],
        ["both", "report", { both: "text" }],
      ],
    });
    deepEqual((await world.engine().run(workflow, 0, { runId: "r" })).output, { text: "l3r3" });
    equal(world.log.callsOf("report#0"), 1);
  },

  "an exit from a node that the last round passes over delivers what its last visit gave (C5.3)": async (world) => {
    const workflow = world.workflow({
      nodes: {
        draft: (n: number) => n + 1,
        rewrite: (n: number) => n,
        archive: (n: number) => `rewritten ${n}`,
      },
      edges: [
        ["draft", "rewrite", undefined, (n: number) => n < 3],
        // Each rewrite leads on, so the loop ends with a round that has none.
        ["rewrite", "draft"],
        ["rewrite", "archive"],
      ],
    });
    equal((await world.engine().run(workflow, 0)).output, "rewritten 2");
  },

  "what joins any in a loop gets an output by itself in each round, also one from outside of the loop (C5.3)": async (
    world,
  ) => {
    const seen: unknown[] = [];
    const workflow = world.workflow({
      nodes: {
        brief: () => "brief",
        draft: () => null,
        judge: (input: unknown) => seen.push(input),
      },
      edges: [
        ["brief", "draft"],
        ["brief", "judge"],
        ["draft", "judge", undefined, () => false],
        ["judge", "draft", undefined, (n: number) => n < 3],
      ],
      forms: { judge: { join: "any" } },
    });
    equal((await world.engine().run(workflow, null)).output, 3);
    deepEqual(seen, ["brief", "brief", "brief"]);
  },

  "a loop that nothing stops ends with a clear error and a dead letter (C5.3)": async (world) => {
    const workflow = world.workflow({
      nodes: { a: (n: number) => n + 1 },
      edges: [["a", "a", undefined, () => true]],
      maxNodeInvocations: 20,
    });
    const { status, error, deadLetters } = await world.engine().run(workflow, 0);
    equal(status, "failed");
    match(String(error), /more than 20 invocations.*maxNodeInvocations/);
    deepEqual([deadLetters.length, deadLetters[0]?.payload], [1, "20"]);
  },

  "a node hands off with a message, and the result is that of whoever handed to nobody (C5.3, C10.4)": async (
    world,
  ) => {
    const workflow = world.workflow({
      nodes: {
        triage: (text: string, ctx: NodeContext) =>
          ctx.handoff(text.includes("bill") ? "billing" : "tech", { text, from: ctx.nodeId }),
        billing: ({ text }: { text: string }, ctx: NodeContext) =>
          text.includes("again") ? ctx.handoff("triage", "modem broken") : `billing: ${text}`,
        tech: world.node(({ text, from }: { text: string; from: string }) => `tech: ${text} from ${from}`),
      },
      forms: { triage: { handoffTo: ["billing", "tech"] }, billing: { handoffTo: ["triage"] } },
    });
    const engine = world.engine();
    equal((await engine.run(workflow, "bill", { runId: "1" })).output, "billing: bill");
    const { output, agentSteps } = await engine.run(workflow, "bill again", { runId: "2" });
    equal(output, "tech: modem broken from triage");
    deepEqual(
      agentSteps.map(({ invocationId }) => invocationId),
      ["triage#0", "billing#0", "triage#1", "tech#0"],
    );
  },

  "a hand-off takes no edge, and one to nowhere fails the node (C5.3)": async (world) => {
    const workflow = world.workflow({
      nodes: {
        a: (to: string, ctx: NodeContext) => ctx.handoff(to, "hello"),
        b: world.node(() => "along the edge"),
        c: (message: string) => message,
      },
      edges: [["a", "b"]],
      forms: { a: { handoffTo: ["c"] } },
    });
    const engine = world.engine();
    equal((await engine.run(workflow, "c", { runId: "c" })).output, "hello");
    equal(world.log.callsOf("b#0"), 0);
    match(String((await engine.run(workflow, "nowhere", { runId: "x" })).error), /names no node of workflow "w"/);
  },

  "with onFailure continue a failure skips what depends on it, and no more; it leaves a dead letter (C5.6)": async (
    world,
  ) => {
    let mended = false;
    const workflow = world.workflow({
      nodes: {
        bad: () => {
          if (!mended) throw new Broken("no");
          return "mended";
        },
        dependent: world.node((text: string) => `after ${text}`),
        good: world.node(() => "good"),
        both: world.node((all: object) => all),
      },
      edges: [
        ["bad", "dependent"],
        ["dependent", "both"],
        ["good", "both"],
      ],
      onFailure: "continue",
    });
    const engine = world.engine({ workflows: [workflow] });
    const first = await engine.run(workflow, null, { runId: "r" });
    deepEqual([first.status, first.output, first.degraded], ["completed", undefined, true]);
    equal(world.log.callsOf("dependent#0") + world.log.callsOf("both#0"), 0);
    deepEqual(
      first.deadLetters.map(({ nodeId, status }) => [nodeId, status]),
      [["bad", "pending"]],
    );
    mended = true;
    const again = await engine.deadLetters.redrive(first.deadLetters[0]!.id);
    deepEqual([again.status, again.output], ["completed", { dependent: "after mended", good: "good" }]);
    equal(world.log.callsOf("good#0"), 1);
    equal((await engine.deadLetters.list())[0]?.status, "succeeded");
  },

  "a step is done once, whatever becomes of the node around it (C5.2, C6.1)": async (world) => {
    const done: string[] = [];
    let attempts = 0;
    const workflow = world.workflow({
      nodes: {
        work: async (_: unknown, ctx: NodeContext) => {
          const one = await ctx.step("one", () => done.push("one"));
          const two = await ctx.step("two", async () => new Map([[done.push("two"), "two"]]));
          if (++attempts < 5) throw new Broken("not yet");
          return [one, two];
        },
      },
      policies: { work: { retry: { maxAttempts: 2, initialDelayMs: 1 } } },
    });
    const engine = world.engine({ workflows: [workflow] });
    const { deadLetters } = await world.finish(engine.run(workflow, null, { runId: "r" }));
    await world.finish(engine.deadLetters.redrive(deadLetters[0]!.id));
    const last = await world.finish(engine.deadLetters.redrive(deadLetters[0]!.id));
    deepEqual(last.output, [1, new Map([[2, "two"]])]);
    deepEqual(done, ["one", "two"]);
  },

  "a step that fails is not remembered, and two of one name are a mistake (C5.2)": async (world) => {
    let tries = 0;
    const workflow = world.workflow({
      nodes: {
        work: async (_: unknown, ctx: NodeContext) => {
          const step = ctx.step("s", () => {
            if (++tries === 1) throw new Broken("once");
            return tries;
          });
          const value = await step;
          await rejects(
            ctx.step("s", () => 0),
            /two steps called "s"/,
          );
          return value;
        },
      },
      policies: { work: { retry: { maxAttempts: 3, initialDelayMs: 1 } } },
    });
    equal((await world.finish(world.engine().run(workflow, null))).output, 2);
  },

  "a life that ends between two steps repeats neither, and the next goes on after them (C6.1, C6.2)": async (world) => {
    const done: string[] = [];
    const workflow = world.workflow({
      nodes: {
        work: async (_: unknown, ctx: NodeContext) => {
          for (const name of ["a", "b", "c"]) await ctx.step(name, () => done.push(name));
          return done.length;
        },
      },
    });
    const handle = world.handle();
    handle.dieAt(3, "stored");
    await rejects(world.finish(world.engine({ store: handle }).run(workflow, null, { runId: "r" })));
    deepEqual(done, ["a", "b"]);
    await world.leasesRunOut();
    const { output, resumed } = await world.finish(world.engine().run(workflow, null, { runId: "r" }));
    deepEqual([output, resumed, done], [3, true, ["a", "b", "c"]]);
  },

  "a loop that dies in the middle goes on in its round (C6.2)": async (world) => {
    for (let death = 1; death <= 8; death++) {
      await world.another(async (inner) => {
        const workflow = inner.workflow({
          nodes: { step: inner.node((n: number) => n + 1), judge: inner.node((n: number) => n), end: (n: number) => n },
          edges: [
            ["step", "judge"],
            ["judge", "step", undefined, (n: number) => n < 4],
            ["judge", "end", undefined, (n: number) => n >= 4],
          ],
        });
        const handle = inner.handle();
        handle.dieAt(death, death % 2 === 0 ? "asked" : "stored");
        await inner.finish(inner.engine({ store: handle }).run(workflow, 1, { runId: "r" })).catch(() => {});
        await inner.leasesRunOut();
        equal((await inner.finish(inner.engine().run(workflow, 1, { runId: "r" }))).output, 4);
        deepEqual(inner.log.violations(), []);
      });
    }
  },
};
