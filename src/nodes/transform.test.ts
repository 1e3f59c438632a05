import { describe, expect, expectTypeOf, test } from "vitest";
import { HoldfastError } from "../core/errors.ts";
import type { NodeContext, NodeFunction } from "../core/node.ts";
import { CircuitBreaker } from "../policies/circuit-breaker.ts";
import { RetryPolicy } from "../policies/retry.ts";
import { fakeRuntime } from "../testing/fake-clock.ts";
import { transform, type TransformFields } from "./transform.ts";

interface Order {
  id: string;
  customer: { name: string; email?: string };
  lines: { price: number }[];
}

const order: Order = { id: "o-1", customer: { name: "Ada" }, lines: [{ price: 2 }, { price: 3 }] };

/** What a node makes of an input; a transform needs nothing of the context. */
const run = <In, Out>(node: NodeFunction<In, Out>, input: In): Out => node(input, {} as NodeContext) as Out;

const fieldsOf = (fields: Record<string, unknown>): NodeFunction<unknown> =>
  transform(fields as TransformFields<unknown, object>);

function errorOf(node: NodeFunction<unknown>, input: unknown): HoldfastError {
  try {
    run(node, input);
  } catch (error) {
    expect(error).toBeInstanceOf(HoldfastError);
    return error as HoldfastError;
  }
  throw new Error("It did not fail.");
}

test("a transform makes its output by a function of the input (C5.2)", () => {
  const total = transform((all: Order) => all.lines.reduce((sum, { price }) => sum + price, 0));
  expect(run(total, order)).toBe(5);
});

test("a transform fills fields from paths into the input and from functions of it (C5.2)", () => {
  const bill = transform<Order, { to: string; first: number; sum: number }>({
    to: "customer.name",
    first: "lines.0.price",
    sum: ({ lines }) => lines.length,
  });
  expect(run(bill, order)).toEqual({ to: "Ada", first: 2, sum: 2 });
});

test("paths and functions are checked by the compiler where it knows the types (C5.1)", () => {
  expectTypeOf(transform((all: Order) => all.id)).toEqualTypeOf<NodeFunction<Order, string>>();
  const mixed = transform({ who: "customer.name", size: (all: Order) => all.lines.length });
  expectTypeOf(mixed).toEqualTypeOf<NodeFunction<Order, { who: unknown; size: number }>>();
  expectTypeOf(transform({ who: "customer.name" })).toEqualTypeOf<NodeFunction<unknown, { who: unknown }>>();
  void (() => {
    transform<Order, { price: number | undefined }>({ price: "lines.1.price" });
    // @ts-expect-error "custumer" is no field
    transform<Order, { to: string }>({ to: "custumer.name" });
    // @ts-expect-error a number is no text
    transform<Order, { to: string }>({ to: "lines.0.price" });
    // @ts-expect-error the email may be missing
    transform<Order, { to: string }>({ to: "customer.email" });
    // @ts-expect-error the output has no field "too"
    transform<Order, { to: string }>({ to: "id", too: "id" });
    // @ts-expect-error the output needs "to"
    transform<Order, { to: string }>({});
    const both = transform({ size: (all: Order) => all.lines.length, tag: (all: { tag: string }) => all.tag });
    expectTypeOf(both).toEqualTypeOf<NodeFunction<Order & { tag: string }, { size: number; tag: string }>>();
    // @ts-expect-error "custumer" is no field of what the function takes
    transform({ who: "custumer.name", size: (all: Order) => all.lines.length });
  });
});

test("values that are there but empty are taken as they are (C5.2)", () => {
  const input = { none: undefined, no: null, zero: 0 };
  expect(run(fieldsOf({ a: "none", b: "no", c: "zero" }), input)).toEqual({ a: undefined, b: null, c: 0 });
});

test("fields and keys of any name are safe (C0.7)", () => {
  const input = JSON.parse('{"__proto__": {"deep": 1}}') as unknown;
  const output = run(fieldsOf({ ["__proto__"]: "__proto__.deep" }), input) as object;
  expect(Object.entries(output)).toEqual([["__proto__", 1]]);
  expect(Object.getPrototypeOf(output)).toBe(Object.prototype);
  expect(errorOf(fieldsOf({ a: "constructor.name" }), {}).message).toContain('has no "constructor"');
});

test("a later change to the fields changes no node (C5.2)", () => {
  const fields: Record<string, string> = { a: "id" };
  const node = fieldsOf(fields);
  fields.b = "nothing.at.all";
  expect(run(node, { id: 1 })).toEqual({ a: 1 });
});

describe("an error of a transform names the field", () => {
  test.each<[string, unknown, string]>([
    ["id", undefined, "the input is of type undefined."],
    ["id", "text", "the input is of type string."],
    ["id", {}, 'the input has no "id": it is empty.'],
    ["user.id", { user: { name: 1, age: 2 } }, '"user" of the input has no "id": only "name", "age".'],
    ["user.id", { user: null }, '"user" of the input is null.'],
    ["lines.2", { lines: [1, 2] }, '"lines" of the input has no "2": only "0", "1".'],
  ])("whose path %s leads nowhere in %o (C0.5)", (path, input, said) => {
    const { code, message } = errorOf(fieldsOf({ ok: () => 1, total: path }), input);
    expect(code).toBe("TRANSFORM");
    expect(message).toBe(
      `The field "total" of a transform comes from "${path}", but ${said} Mend the path, or give a function for what may be missing. No retry repeats it.`,
    );
  });

  test("whose function throws, with what it threw as the cause (C0.5)", () => {
    const broken = new Error("no such currency");
    const fail = (): never => {
      throw broken;
    };
    const error = errorOf(fieldsOf({ total: fail }), {});
    expect(error.message).toContain('The field "total" of a transform failed: no such currency. ');
    expect(error.cause).toBe(broken);
    expect(errorOf(transform(fail), {})).toMatchObject({ code: "TRANSFORM", cause: broken });
  });

  test("whose function gives a promise, which nobody else will await (C0.5)", () => {
    const late = (): Promise<never> => Promise.reject(new Error("late"));
    const { message } = errorOf(fieldsOf({ total: late }), {});
    expect(message).toContain('The field "total" of a transform gave a promise. ');
    expect(errorOf(transform(late), {}).message).toContain("A transform gave a promise. ");
  });
});

test.each<[string, NodeFunction<unknown>]>([
  ["a function that throws", transform(() => JSON.parse("{") as unknown)],
  ["a path that leads nowhere", fieldsOf({ a: "b" })],
])("a transform that fails is not tried again, and no breaker counts it: %s (C0.8)", async (_, node) => {
  const runtime = fakeRuntime();
  const retry = new RetryPolicy({ maxAttempts: 100, retryableErrors: () => true }, runtime);
  const breaker = new CircuitBreaker({ failureThreshold: 1 }, runtime);
  let calls = 0;
  const call = breaker.execute(() => retry.execute(() => (calls++, run(node, {}))));
  await expect(call).rejects.toMatchObject({ code: "TRANSFORM" });
  expect(calls).toBe(1);
  expect(breaker.state).toBe("CLOSED");
});

test.each<[string, unknown, string]>([
  ["nothing", undefined, "must be given a function or an object of fields, got undefined"],
  ["null", null, "got null"],
  ["no fields", {}, "got an object"],
  ["a text", "id", 'got "id"'],
  ["a list", ["id"], "got an array"],
  ["a field that is no source", { total: 3 }, 'transform.total must be a path into the input, such as "order.id", or'],
  ["an empty path", { total: "" }, "transform.total must be"],
])("%s is no transform (C0.3)", (_, how, said) => {
  expect(() => transform(how as () => void)).toThrow(
    expect.objectContaining({ code: "CONFIG", message: expect.stringContaining(said) as string }),
  );
});
