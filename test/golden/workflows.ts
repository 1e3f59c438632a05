import type * as Holdfast from "../../src/index.ts";
import type { NodeContext } from "../../src/core/node.ts";
import type { ValueType } from "../../src/core/codec.ts";
import type { Runnable } from "../../src/engine/runnable.ts";

/*
 * The code of the runs in the golden stores. It stays as it is for ever: the stores hold runs of exactly these
 * workflows, and what they show is that such a run goes on. New workflows may be added, for stores of later versions;
 * a change to one that is here would show that a run goes on with other code, which is something else.
 */

/** Told of each piece of work before it is done: may note it, throw, or never settle, as a process that is killed. */
export type Work = (runId: string, what: string) => unknown;

/** The package that carries the runs out: the built one where a store is written, the sources where it is read. */
export type Package = Pick<typeof Holdfast, "Workflow" | "map" | "subWorkflow" | "wait" | "waitForSignal">;

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** One more try, after an hour. */
const RETRY = {
  maxAttempts: 2,
  strategy: "fixed",
  initialDelayMs: HOUR_MS,
  maxDelayMs: HOUR_MS,
  jitter: "none",
} as const;
const BREAKER = { failureThreshold: 1, recoveryTimeoutMs: 300 * DAY_MS };

/** All workflows of the golden stores, by their ids; `earlier` has older versions of some of them. */
export function goldenWorkflows(
  { Workflow, map, subWorkflow, wait, waitForSignal }: Package,
  work: Work,
): { current: Record<string, Runnable>; earlier: Record<string, Runnable> } {
  const at = async ({ runId, nodeId }: NodeContext, more = ""): Promise<void> =>
    void (await work(runId, nodeId + more));

  const line = new Workflow({ id: "line" })
    .addNode("a", async (n: number, ctx) => {
      await at(ctx);
      return { n: n + 1, by: ctx.nodeId };
    })
    .addNode("b", async ({ m }: { m: number }, ctx) => {
      await at(ctx);
      return m * 10;
    })
    .addNode("c", async (n: number, ctx) => {
      await at(ctx);
      return `${n}, with ${ctx.idempotencyKey.slice(0, 8)}`;
    })
    .connect("a", "b", { n: "m" })
    .connect("b", "c");

  const retry = new Workflow({ id: "retry" }).addNode(
    "call",
    async (_: unknown, ctx) => {
      await at(ctx);
      return `attempt ${ctx.attempt}`;
    },
    { retry: RETRY },
  );

  const items = new Workflow({ id: "items" }).addNode(
    "each",
    map({
      concurrency: 1,
      run: async (item: string, { index, node, idempotencyKey }) => {
        await at(node, ` ${index}`);
        return `${item} ${idempotencyKey.slice(0, 8)}`;
      },
    }),
  );

  const steps = Workflow.from("steps", async (name: string, ctx: NodeContext) => {
    const one = await ctx.step("one", async ({ idempotencyKey }) => {
      await at(ctx, " one");
      return { name, key: idempotencyKey.slice(0, 8) };
    });
    await at(ctx, " between");
    const two = await ctx.step("two", async () => {
      await at(ctx, " two");
      return new Set([name]);
    });
    return { one, two };
  });

  const pause = new Workflow({ id: "pause" })
    .addNode("before", async (n: number, ctx) => {
      await at(ctx);
      return n + 1;
    })
    .addNode("rest", wait<number>({ ms: 3 * DAY_MS }))
    .addNode("after", async (n: number, ctx) => {
      await at(ctx);
      return n * 2;
    })
    .connect("before", "rest")
    .connect("rest", "after");

  const approve = new Workflow({ id: "approve" })
    .addNode("ask", async (_: unknown, ctx) => at(ctx))
    .addNode("approval", waitForSignal<{ by: string }>())
    .addNode("comment", waitForSignal<string>({ name: "remark", timeoutMs: 300 * DAY_MS }))
    .addNode("file", async (all: { approval: { by: string }; comment: string }, ctx) => {
      await at(ctx);
      return `${all.approval.by}: ${all.comment}`;
    })
    .connect("ask", "approval")
    .connect("approval", "comment")
    .connect("approval", "file")
    .connect("comment", "file");

  const sorting = new Workflow({ id: "sorting" })
    .addNode("sort", async (n: number, ctx) => {
      await at(ctx);
      return { n };
    })
    .addNode("small", async ({ n }: { n: number }, ctx) => {
      await at(ctx);
      return `small ${n}`;
    })
    .addNode("large", async ({ n }: { n: number }, ctx) => {
      await at(ctx);
      return `large ${n}`;
    })
    .connect("sort", "small", undefined, { when: ({ n }) => n < 10 })
    .connect("sort", "large", undefined, { when: ({ n }) => n >= 10 });

  const rounds = new Workflow({ id: "rounds" })
    .addNode("begin", async (n: number, ctx) => {
      await at(ctx);
      return { n };
    })
    .addNode(
      "draft",
      async ({ n }: { n: number }, ctx) => {
        await at(ctx, ` ${n}`);
        return { n: n + 1 };
      },
      { join: "any" },
    )
    .addNode("review", async ({ n }: { n: number }, ctx) => {
      await at(ctx, ` ${n}`);
      return { n };
    })
    .addNode("publish", async ({ n }: { n: number }, ctx) => {
      await at(ctx);
      return `draft ${n}`;
    })
    .connect("begin", "draft")
    .connect("draft", "review")
    .connect("review", "draft", undefined, { when: ({ n }) => n < 3 })
    .connect("review", "publish", undefined, { when: ({ n }) => n >= 3 });

  const desk = new Workflow({ id: "desk" })
    .addNode(
      "triage",
      async (mail: string, ctx) => {
        await at(ctx);
        return ctx.handoff("billing", { mail, urgent: true });
      },
      { handoffTo: ["billing"] },
    )
    .addNode(
      "billing",
      async ({ mail }: { mail: string }, ctx) => {
        await at(ctx);
        return ctx.handoff("support", { mail: `${mail}!` });
      },
      { handoffTo: ["support"] },
    )
    .addNode("support", async ({ mail }: { mail: string }, ctx) => {
      await at(ctx);
      return `answered ${mail}`;
    });

  const race = new Workflow({ id: "race" })
    .addNode("quick", async (_: unknown, ctx) => {
      await at(ctx);
      return "quick";
    })
    .addNode("slow", async (_: unknown, ctx) => {
      await at(ctx);
      return "slow";
    })
    .addNode(
      "first",
      async (winner: string, ctx) => {
        await at(ctx);
        return winner;
      },
      { join: "any" },
    )
    .connect("quick", "first")
    .connect("slow", "first");

  const inner = new Workflow({ id: "inner" })
    .addNode("x", async (n: number, ctx) => {
      await at(ctx);
      return n + 1;
    })
    .addNode("y", async (n: number, ctx) => {
      await at(ctx);
      return n + 10;
    })
    .connect("x", "y");
  const outer = new Workflow({ id: "outer" })
    .addNode("nested", subWorkflow(inner))
    .addNode("end", async (n: number, ctx) => {
      await at(ctx);
      return n + 100;
    })
    .connect("nested", "end");

  const backup = new Workflow({ id: "backup" })
    .addNode("main", async (n: number, ctx) => {
      await at(ctx);
      return `main ${n}`;
    })
    .addNode("other", async (n: number, ctx) => {
      await at(ctx);
      return `other ${n}`;
    })
    .addFallback("main", "other");

  const saga = new Workflow({ id: "saga" })
    .addNode(
      "book",
      async (_: unknown, ctx) => {
        await at(ctx);
        return "booking";
      },
      { compensate: (output, ctx) => at(ctx, ` undoes ${output}`) },
    )
    .addNode(
      "pay",
      async (_: unknown, ctx) => {
        await at(ctx);
        return "payment";
      },
      { compensate: (output, ctx) => at(ctx, ` undoes ${output}`) },
    )
    .addNode("confirmation", waitForSignal<string>())
    .connect("book", "pay")
    .connect("pay", "confirmation");

  const money = new Workflow({ id: "money" })
    .addNode("ask", async (_: unknown, ctx) => {
      const { remaining } = ctx.budget;
      ctx.budget.charge(0.25);
      await at(ctx);
      return remaining;
    })
    .configureRetry("ask", RETRY)
    .configureBudget("ask", { limitUsd: 1 });

  const circuit = new Workflow({ id: "circuit" })
    .addNode("call", async (_: unknown, ctx) => {
      await at(ctx);
      return "served";
    })
    .configureRetry("call", RETRY)
    .configureCircuitBreaker("call", BREAKER);

  const fuse = new Workflow({ id: "fuse" })
    .addNode("call", async (_: unknown, ctx) => {
      ctx.budget.charge(0.5);
      await at(ctx);
      return "served";
    })
    .configureBudget("call", { limitUsd: 2 })
    .configureCircuitBreaker("call", BREAKER);

  const large = new Workflow({ id: "large" })
    .addNode("make", async (n: number, ctx) => {
      await at(ctx);
      return { text: "large ".repeat(n) };
    })
    .addNode("measure", async ({ text }: { text: string }, ctx) => {
      await at(ctx);
      return text.length;
    })
    .connect("make", "measure");

  const values = new Workflow({ id: "values" })
    .addNode("make", async (_: unknown, ctx) => {
      await at(ctx);
      return everyValue();
    })
    .addNode("take", async (all: Record<string, unknown>, ctx) => {
      await at(ctx);
      return all;
    })
    .connect("make", "take");

  const movedBefore = new Workflow({ id: "moved", version: "1" })
    .addNode("old", async (n: number, ctx) => {
      await at(ctx);
      return n + 1;
    })
    .addNode("last", async (n: number, ctx) => {
      await at(ctx);
      return `old ${n}`;
    })
    .connect("old", "last");
  const moved = new Workflow({
    id: "moved",
    version: "2",
    migrations: [{ from: "1", rename: { old: "new" }, outputs: { new: (n: number) => ({ n }) } }],
  })
    .addNode("new", async (n: number, ctx) => {
      await at(ctx);
      return { n: n + 1 };
    })
    .addNode("last", async ({ n }: { n: number }, ctx) => {
      await at(ctx);
      return `new ${n}`;
    })
    .connect("new", "last");

  const report = new Workflow({ id: "report" }).addNode("write", async (of: string, ctx) => {
    await at(ctx);
    return `report of ${of}`;
  });

  const forms = [line, retry, items, steps, pause, approve, sorting, rounds, desk, race, inner, outer, backup];
  const rest = [saga, money, circuit, fuse, large, values, moved, report];
  const byId = (workflows: readonly Runnable[]): Record<string, Runnable> =>
    Object.fromEntries(workflows.map((workflow) => [workflow.definition.id, workflow]));
  return { current: byId([...forms, ...rest]), earlier: byId([movedBefore]) };
}

/** Of a class that the engine is told of. */
class Amount {
  readonly cents: bigint;

  constructor(cents: bigint) {
    this.cents = cents;
  }
}

export const TYPES: readonly ValueType[] = [
  {
    name: "Amount",
    is: (value): value is Amount => value instanceof Amount,
    encode: (amount) => (amount as Amount).cents,
    decode: (cents) => new Amount(cents as bigint),
  },
];

/** A value of each kind that the codec of 0.1.0 knows. */
export function everyValue(): Record<string, unknown> {
  const bytes = Uint8Array.of(0, 1, 2, 3, 252, 253, 254, 255);
  const { buffer } = bytes;
  const cause = Object.assign(new TypeError("the cause"), { code: "E_CAUSE", status: 503 });
  const sparse: unknown[] = [];
  sparse[2] = "third";
  return {
    plain: { text: "ä\u2028🪸", number: 1.5, yes: true, none: null, list: [1, [2]] },
    missing: undefined,
    numbers: [-0, NaN, Infinity, -Infinity],
    bigint: 2n ** 80n,
    dates: [new Date(1_767_225_600_123), new Date(NaN)],
    map: new Map<unknown, unknown>([
      ["a", 1],
      [{ key: true }, new Set([undefined])],
    ]),
    set: new Set(["b", 2n]),
    pattern: /a(b)?/giu,
    url: new URL("https://example.com/a?b=c#d"),
    error: new RangeError("out of range", { cause }),
    errors: new AggregateError([new Error("one"), cause], "two of them"),
    dollar: { $: "Date", v: 1 },
    bare: Object.assign(Object.create(null) as object, { a: 1 }),
    sparse,
    buffer: Buffer.from("buffer"),
    arrayBuffer: buffer.slice(0),
    arrays: [
      new Int8Array(buffer),
      new Uint8Array(buffer),
      new Uint8ClampedArray(buffer),
      new Int16Array(buffer),
      new Uint16Array(buffer),
      new Int32Array(buffer),
      new Uint32Array(buffer),
      new Float32Array([1.5, -2]),
      new Float64Array([Math.PI]),
      new BigInt64Array([-1n]),
      new BigUint64Array([2n ** 64n - 1n]),
    ],
    amount: new Amount(1999n),
  };
}
