import { type } from "arktype";
import * as v from "valibot";
import { expectTypeOf, it } from "vitest";
import { z } from "zod";
import { httpRequest } from "./nodes/http-request.ts";
import { resilientQueueRun } from "./entry-points.ts";
import { type DynamicWorkflow, Workflow } from "./workflow.ts";

// What is checked here is checked by the compiler: each function below is compiled and never called.

interface Mail {
  id: string;
}

function triage() {
  return new Workflow({ id: "triage" })
    .addNode("fetch", async (mail: Mail) => ({ body: "text", size: 3, from: mail.id }))
    .addNode(
      "classify",
      ({ text }: { text: string; sender?: string }) => (text === "" ? "spam" : "ham") as "spam" | "ham",
    )
    .addNode("rules", (_: { text: string; sender?: string }): "ham" => "ham")
    .addNode("route", (label: "spam" | "ham") => label.length);
}

it("names of nodes are checked (C5.1)", () => {
  void (() => {
    // @ts-expect-error "fetsh" is no node
    triage().connect("fetsh", "classify", { body: "text" });
    // @ts-expect-error "clasify" is no node
    triage().connect("fetch", "clasify", { body: "text" });
    // @ts-expect-error "ruels" is no node
    triage().addFallback("classify", "ruels");
    // @ts-expect-error a node is not its own fallback
    triage().addFallback("classify", "classify");
    // @ts-expect-error "roote" is no node
    triage().configureRetry("roote", { maxAttempts: 2 });
    // @ts-expect-error "roote" is no node
    triage().configureTimeout("roote", { attemptTimeoutMs: 2 });
    // @ts-expect-error "roote" is no node
    triage().configureCircuitBreaker("roote", {});
    // @ts-expect-error "roote" is no node
    triage().resetCircuitBreaker("roote");
    triage().configureRetry("route", {}).configureTimeout("route", { totalTimeoutMs: 1 }).resetCircuitBreaker("fetch");
  });
});

it("mappings are checked: the field that is taken, the field that is filled, and what fits (C5.1)", () => {
  void (() => {
    triage().connect("fetch", "classify", { body: "text", from: "sender" });
    // @ts-expect-error the output has no field "bodi"
    triage().connect("fetch", "classify", { bodi: "text" });
    // @ts-expect-error the input has no field "txt"
    triage().connect("fetch", "classify", { body: "txt" });
    // @ts-expect-error a number does not go where a text is wanted
    triage().connect("fetch", "classify", { size: "text" });
    // @ts-expect-error the whole output does not fit, so a mapping is needed
    triage().connect("fetch", "classify");
    // @ts-expect-error a text has no fields to map
    triage().connect("classify", "route", { length: "x" });
    triage().connect("classify", "route");
  });
});

it("where edges meet, an output goes into the field that is named after its node (C5.3)", () => {
  void (() => {
    const join = new Workflow({ id: "w" })
      .addNode("a", () => 1)
      .addNode("b", () => "text")
      .addNode("c", () => true)
      .addNode("sum", (all: { a: number; b: string }) => all.a + all.b.length);
    join.connect("a", "sum").connect("b", "sum");
    // @ts-expect-error the input has no field "c", and is no boolean
    join.connect("c", "sum");
  });
});

it("the input is that of the start nodes, and the result that of the end nodes (C10.3)", () => {
  void (async () => {
    const chain = triage()
      .connect("fetch", "classify", { body: "text" })
      .connect("classify", "route")
      .addFallback("classify", "rules");
    expectTypeOf(await chain.execute({ id: "m-1" })).toEqualTypeOf<number>();
    // @ts-expect-error the input is a mail
    await chain.execute({ name: "m-1" });
    // @ts-expect-error the input is wanted
    await chain.execute();
    const { finalWorkflowOutput } = await resilientQueueRun({ workflow: chain, workflowInput: { id: "m-1" } });
    expectTypeOf(finalWorkflowOutput).toEqualTypeOf<number | undefined>();
    // @ts-expect-error the input is a mail
    await resilientQueueRun({ workflow: chain, workflowInput: 7 });

    const fork = new Workflow({ id: "w" })
      .addNode("a", (n: number) => `${n}`)
      .addNode("b", (text: string) => text.length > 3)
      .addNode("c", async (text: string) => [text])
      .connect("a", "b")
      .connect("a", "c");
    expectTypeOf(await fork.execute(1)).toEqualTypeOf<{ b: boolean; c: string[] }>();

    const both = new Workflow({ id: "w" })
      .addNode("x", ({ one }: { one: number }) => one)
      .addNode("y", ({ two }: { two: string }) => two);
    await both.execute({ one: 1, two: "2" });
    // @ts-expect-error each start node wants its own
    await both.execute({ one: 1 });

    const free = new Workflow({ id: "w" }).addNode("n", () => 1);
    expectTypeOf(await free.execute()).toEqualTypeOf<number>();
  });
});

it("a stand-in takes what its node takes, and gives what may stand for the node's output (C5.4)", () => {
  void (() => {
    const workflow = new Workflow({ id: "w" })
      .addNode("main", (n: number) => `${n}`)
      .addNode("good", (n: number | string) => `${n}`)
      .addNode("other input", (text: string) => text)
      .addNode("other output", (n: number) => n);
    workflow.addFallback("main", "good");
    // @ts-expect-error it takes no number
    workflow.addFallback("main", "other input");
    // @ts-expect-error it gives no text
    workflow.addFallback("main", "other output");
  });
});

it("a node function gets a typed context (C5.2)", () => {
  void (() => {
    new Workflow({ id: "w" }).addNode("n", (_: null, context) => {
      expectTypeOf(context.idempotencyKey).toEqualTypeOf<string>();
      expectTypeOf(context.attempt).toEqualTypeOf<number>();
      expectTypeOf(context.fencingToken).toEqualTypeOf<number>();
      expectTypeOf(context.signal).toEqualTypeOf<AbortSignal>();
      // @ts-expect-error there is no such field
      return context.retries as unknown;
    });
  });
});

it("options are checked (C10.4)", () => {
  void (() => {
    // @ts-expect-error a workflow has an id
    new Workflow({ name: "w" });
    // @ts-expect-error there is no such option
    new Workflow({ id: "w", retires: 3 });
    // @ts-expect-error there is no such policy
    new Workflow({ id: "w" }).addNode("n", () => 1, { retires: {} });
    // @ts-expect-error there is no such option
    triage().configureRetry("fetch", { attempts: 3 });
    new Workflow({ id: "w", name: "W", version: "2", concurrency: 4 }).addNode("n", () => 1, {
      retry: { maxAttempts: 2 },
    });
  });
});

it("a graph that is put together at run time is a dynamic workflow (C5.1)", () => {
  void (async () => {
    const workflow: DynamicWorkflow = new Workflow({ id: "w" });
    for (const id of ["a", "b"]) workflow.addNode(id, (input: unknown) => input);
    workflow.connect("a", "b").addFallback("a", "b").configureRetry("a", {});
    expectTypeOf(await workflow.execute(1)).toEqualTypeOf<unknown>();
    const typed: DynamicWorkflow = triage().connect("fetch", "classify", { body: "text" }) as never;
    void typed;
  });
});

it("what is handed to takes no input of the run, and the run gives the output of whoever handed to nobody (C5.1)", () => {
  void (async () => {
    const desk = new Workflow({ id: "desk" })
      .addNode("desk", (text: string, ctx) => (text === "" ? 0 : ctx.handoff("clerk", { text })), {
        handoffTo: ["clerk"],
      })
      .addNode("clerk", ({ text }: { text: string }) => [text]);
    expectTypeOf(await desk.execute("a")).toEqualTypeOf<number | string[]>();
    // @ts-expect-error only the desk gets what the run is given
    await desk.execute({ text: "a" });
  });
});

const Order = z.object({ id: z.string(), note: z.string().default("") });
const Label = z.object({ label: z.enum(["spam", "ham"]), sure: z.number().default(1) });

it("the function of a node takes what its schema makes of what is delivered (C10.4)", () => {
  void (async () => {
    const workflow = new Workflow({ id: "w" }).addNode(
      "n",
      (order) => {
        expectTypeOf(order).toEqualTypeOf<{ id: string; note: string }>();
        return 1;
      },
      { input: Order, retry: { maxAttempts: 2 } },
    );
    expectTypeOf(await workflow.execute({ id: "o-1" })).toEqualTypeOf<number>();
    // @ts-expect-error an order has an id
    await workflow.execute({ note: "" });
    new Workflow({ id: "w" })
      .addNode("text", () => "o-1")
      .addNode("order", ({ id }: { id: string }) => id, { input: Order })
      // @ts-expect-error a text is no order
      .connect("text", "order");
    // @ts-expect-error the schema makes a text of the note
    new Workflow({ id: "w" }).addNode("n", ({ note }: { note: number }) => note, { input: Order });
  });
});

it("a node gives what its schema makes of what its function returns (C10.4)", () => {
  void (async () => {
    const workflow = new Workflow({ id: "w" }).addNode("n", (text: string) => ({ label: text }), { output: Label });
    expectTypeOf(await workflow.execute("ham")).toEqualTypeOf<{ label: "spam" | "ham"; sure: number }>();
    workflow.addNode("next", ({ sure }: { sure: number }) => sure).connect("n", "next");
    workflow
      .addNode("next", ({ sure }: { sure: string }) => sure)
      // @ts-expect-error the schema makes a number of it
      .connect("n", "next");
    new Workflow({ id: "w" }).addNode("n", async (text: string) => JSON.parse(text) as unknown, { output: Label });
    new Workflow({ id: "w" }).addNode("n", (text: string, ctx) => ctx.handoff("m", text), { output: Label });
    const Answer = z.object({ status: z.literal(200), body: z.object({ celsius: z.number() }) });
    new Workflow({ id: "w" }).addNode("n", httpRequest({ url: "http://x", response: "json" }), { output: Answer });
    // @ts-expect-error the body is a text
    new Workflow({ id: "w" }).addNode("n", httpRequest({ url: "http://x", response: "text" }), { output: Answer });
    new Workflow({ id: "w" }).addNode("n", () => [{ at: new Date(), by: new Map([["a", [1]]]), b: new Uint8Array() }], {
      output: z.array(
        z.object({
          at: z.date(),
          by: z.map(z.string(), z.tuple([z.number()])),
          b: z.instanceof(Uint8Array),
          c: z.null().optional(),
        }),
      ),
    });
    // @ts-expect-error the schema wants a text
    new Workflow({ id: "w" }).addNode("n", () => ({ label: 7 }), { output: Label });
    // @ts-expect-error there is no label
    new Workflow({ id: "w" }).addNode("n", () => ({ name: "ham" }), { output: Label });
    // @ts-expect-error that is no schema
    new Workflow({ id: "w" }).addNode("n", () => 1, { output: Number });
  });
});

it("a run takes and gives what the schemas of its workflow say (C10.4)", () => {
  void (async () => {
    const workflow = new Workflow({ id: "w", input: Order, output: v.object({ size: v.optional(v.number(), 0) }) })
      .addNode("n", ({ note }: { note: string }) => ({ size: note.length }))
      .addNode("m", (given: { size: number }) => given)
      .addNode("backup", (given: { size: number }) => given)
      .connect("n", "m")
      .addFallback("m", "backup")
      .configureRetry("n", {});
    expectTypeOf(await workflow.execute({ id: "o-1" })).toEqualTypeOf<{ size: number }>();
    // @ts-expect-error an order has an id
    await workflow.execute({ note: "" });
    await resilientQueueRun({ workflow, workflowInput: { id: "o-1" } });
    // @ts-expect-error an order has an id
    await resilientQueueRun({ workflow, workflowInput: {} });

    const misfit = new Workflow({ id: "w", input: Order }).addNode("n", (text: string) => text);
    // @ts-expect-error the schema makes no text, which the node takes
    await misfit.execute({ id: "o-1" });
    const dynamic: DynamicWorkflow = new Workflow({ id: "w", input: Order, output: type("number") });
    dynamic.addNode("n", (order: unknown) => order, { input: Order, output: type("number") });
    expectTypeOf(await dynamic.execute(1)).toEqualTypeOf<unknown>();
    // @ts-expect-error that is no schema
    new Workflow({ id: "w", input: "order" });
  });
});
