import { type } from "arktype";
import * as v from "valibot";
import { describe, expect, expectTypeOf, test } from "vitest";
import { z } from "zod";
import { CircuitBreaker } from "../policies/circuit-breaker.ts";
import { RetryPolicy } from "../policies/retry.ts";
import { fakeRuntime } from "../testing/fake-clock.ts";
import { isFinal, revivedError, storedError } from "./errors.ts";
import {
  aSchema,
  type InferInput,
  type InferOutput,
  SchemaError,
  type SchemaSubject,
  type StandardSchema,
  validate,
} from "./schema.ts";

const SUBJECT: SchemaSubject = 'the input of node "bill"';

/** Orders, as four ways to write schemas say it: `note` has a default, which makes the output another type. */
const zodOrder = z.object({
  id: z.string(),
  lines: z.array(z.object({ price: z.number() })),
  note: z.string().default(""),
});
const valibotOrder = v.object({
  id: v.string(),
  lines: v.array(v.object({ price: v.number() })),
  note: v.optional(v.string(), ""),
});
const arktypeOrder = type({ id: "string", lines: type({ price: "number" }).array(), note: "string = ''" });

interface Order {
  id: string;
  lines: { price: number }[];
  note: string;
}

/** One that asks somebody else first. */
const askingOrder: StandardSchema<Omit<Order, "note">, Order> = {
  "~standard": {
    version: 1,
    vendor: "by hand",
    validate: async (value) => {
      await new Promise((resolve) => setImmediate(resolve));
      const { id, lines } = value as Order;
      const wrong = lines.findIndex(({ price }) => typeof price !== "number");
      return wrong === -1
        ? { value: { id, lines, note: "" } }
        : { issues: [{ message: "no number", path: [{ key: "lines" }, wrong, "price"] }] };
    },
  },
};

const SCHEMAS: [string, StandardSchema<unknown, Order>][] = [
  ["zod", zodOrder],
  ["valibot", valibotOrder],
  ["arktype", arktypeOrder],
  ["one by hand that takes its time", askingOrder],
];

const wrong = { id: "o-1", lines: [{ price: 1 }, { price: "dear" }] };

async function errorOf(schema: StandardSchema, value: unknown, subject = SUBJECT): Promise<SchemaError> {
  try {
    await validate(schema, value, subject);
  } catch (error) {
    expect(error).toBeInstanceOf(SchemaError);
    return error as SchemaError;
  }
  throw new Error("The value fits.");
}

/** A schema that finds these issues in everything. */
function refusing(...issues: { message: string; path?: (PropertyKey | { key: PropertyKey })[] }[]): StandardSchema {
  return { "~standard": { version: 1, vendor: "by hand", validate: () => ({ issues }) } };
}

describe.each(SCHEMAS)("a schema of %s", (_, schema) => {
  test("gives what it makes of a value that fits (C10.4)", async () => {
    const order = { id: "o-1", lines: [{ price: 1 }] };
    expect(await validate(schema, order, SUBJECT)).toEqual({ ...order, note: "" });
  });

  test("throws a SchemaError that says which value does not fit, where and why (C10.4)", async () => {
    const error = await errorOf(schema, wrong);
    expect(error.code).toBe("SCHEMA_MISMATCH");
    expect(error.issues.map(({ path }) => path)).toEqual(["lines[1].price"]);
    expect(error.issues[0]!.message).toMatch(/number/);
    expect(error.message).toMatch(
      /^The input of node "bill" does not fit its schema: lines\[1\]\.price: .*number.*\. Send what/,
    );
  });

  test("is taken for a schema where an option wants one (C0.3)", () => {
    expect(aSchema.allows(schema)).toBe(true);
  });
});

test("a schema that needs no time gives its value or its error at once (C10.4)", () => {
  expect(validate(z.number(), 1, SUBJECT)).toBe(1);
  expect(() => validate(z.number(), "1", SUBJECT)).toThrow(SchemaError);
});

test("what the code of a schema throws passes as it is (C0.5)", async () => {
  const broken = new Error("the rules are not to be had");
  const breaking = (judge: () => never | Promise<never>): StandardSchema => ({
    "~standard": { version: 1, vendor: "by hand", validate: judge },
  });
  const throwing = breaking(() => {
    throw broken;
  });
  expect(() => validate(throwing, "x", SUBJECT)).toThrow(broken);
  const rejecting = breaking(() => Promise.reject(broken));
  await expect(validate(rejecting, "x", SUBJECT)).rejects.toBe(broken);
});

test("the types of input and output are those of the schema (C5.1)", () => {
  expectTypeOf<InferOutput<typeof zodOrder>>().toEqualTypeOf<Order>();
  expectTypeOf<InferOutput<typeof valibotOrder>>().toEqualTypeOf<Order>();
  expectTypeOf<InferOutput<typeof arktypeOrder>>().toEqualTypeOf<Order>();
  expectTypeOf<InferInput<typeof zodOrder>["note"]>().toEqualTypeOf<string | undefined>();
  expectTypeOf<InferInput<typeof valibotOrder>["note"]>().toEqualTypeOf<string | undefined>();
  expectTypeOf<InferInput<typeof arktypeOrder>["note"]>().toEqualTypeOf<string | undefined>();
  expectTypeOf<InferInput<typeof askingOrder>>().toEqualTypeOf<Omit<Order, "note">>();
  void ((): Order | Promise<Order> => validate(zodOrder, {}, SUBJECT));
  // @ts-expect-error it must be the input or the output of something
  void (() => validate(zodOrder, {}, "node x"));
});

test.each<[string, unknown]>([
  ["nothing", undefined],
  ["null", null],
  ["a function", () => true],
  ["another version", { "~standard": { version: 2, vendor: "later", validate: () => ({ value: 1 }) } }],
  ["one without validate", { "~standard": { version: 1, vendor: "half" } }],
])("%s is no schema (C0.3)", (_, value) => {
  expect(aSchema.allows(value)).toBe(false);
});

describe("the message of a SchemaError (C0.5)", () => {
  test("shows three issues and counts the others", async () => {
    const issues = ["a", "b", "c", "d", "e"].map((key) => ({ message: "is wrong", path: [key] }));
    const error = await errorOf(refusing(...issues), 1);
    expect(error.message).toContain("a: is wrong; b: is wrong; c: is wrong; and 2 more. Send");
    expect(error.issues).toHaveLength(5);
  });

  test("shows no more than the beginning of a long issue", async () => {
    const error = await errorOf(refusing({ message: "x".repeat(10_000) }), 1);
    expect(error.message.length).toBeLessThan(400);
  });

  test("tells paths as one would write them, and an issue of the whole value without one", async () => {
    const error = await errorOf(
      refusing(
        { message: "m", path: [] },
        { message: "m" },
        { message: "m", path: [0, "a b", "c"] },
        { message: "m", path: [Symbol("s"), { key: "__proto__" }] },
      ),
      1,
    );
    expect(error.issues.map(({ path }) => path)).toEqual(["", "", '[0]["a b"].c', '["Symbol(s)"].__proto__']);
    expect(error.message).toContain("its schema: m; m; [0]");
  });

  test("owns that a schema says nothing", async () => {
    expect((await errorOf(refusing(), 1, "the output of agent 7")).message).toBe(
      "The output of agent 7 does not fit its schema: the schema does not say why. Return what the schema describes, or change the schema. No retry repeats this.",
    );
  });
});

describe("a value that does not fit", () => {
  test.each<SchemaSubject>(["the input of a node", "the output of a node"])(
    "is not tried again, whatever maxAttempts: %s (C0.8)",
    async (subject) => {
      let calls = 0;
      const retry = new RetryPolicy({ maxAttempts: 100, retryableErrors: () => true }, fakeRuntime());
      const call = retry.execute(() => {
        calls++;
        return validate(askingOrder, wrong, subject);
      });
      await expect(call).rejects.toBeInstanceOf(SchemaError);
      expect(calls).toBe(1);
    },
  );

  test("is final also as the cause of something else, and for another copy of the package (C0.8)", async () => {
    const error = await errorOf(zodOrder, wrong);
    expect(isFinal(new Error("outer", { cause: error }))).toBe(true);
    expect(isFinal(storedError(error))).toBe(true);
  });

  test("is stored with what is wrong, bounded, and revived with it (C7.1)", async () => {
    const error = await errorOf(zodOrder, wrong);
    expect(storedError(error).issues).toEqual(error.issues);
    expect(revivedError(storedError(error))).toMatchObject({ code: "SCHEMA_MISMATCH", issues: error.issues });
    const many = new SchemaError(SUBJECT, Array(200).fill({ path: "p".repeat(2000), message: "m".repeat(2000) }));
    expect(storedError(many).issues).toHaveLength(100);
    expect(storedError(many).issues![99]).toEqual({ path: "p".repeat(1000), message: "m".repeat(1000) });
  });

  test("is stored as plain texts, whatever an error of that code holds (C7.1)", () => {
    const ring: unknown[] = [7n, null, { path: ["a"], message: () => {} }];
    ring.push(ring);
    const { issues } = storedError(Object.assign(new Error("foreign"), { code: "SCHEMA_MISMATCH", issues: ring }));
    expect(issues).toEqual(Array(4).fill({ path: "", message: "" }));
    expect(storedError({ code: "SCHEMA_MISMATCH", issues: "all" }).issues).toEqual([]);
    expect(storedError(Object.assign(new Error("x"), { issues: [{ path: "", message: "m" }] }))).not.toHaveProperty(
      "issues",
    );
  });

  test.each<[SchemaSubject, "CLOSED" | "OPEN"]>([
    ["the input of a node", "CLOSED"],
    ["the output of a node", "OPEN"],
  ])("counts at a breaker where the service gave it: %s leaves it %s (C2.4)", async (subject, state) => {
    const breaker = new CircuitBreaker({ failureThreshold: 1 }, fakeRuntime());
    await expect(breaker.execute(() => validate(zodOrder, wrong, subject))).rejects.toBeInstanceOf(SchemaError);
    expect(breaker.state).toBe(state);
  });

  test("counts at a breaker outside the retry and as the cause of another error as well (C2.4)", async () => {
    const runtime = fakeRuntime();
    const breaker = new CircuitBreaker({ failureThreshold: 2 }, runtime);
    const retry = new RetryPolicy({}, runtime);
    const error = await errorOf(zodOrder, wrong, "the output of a node");
    for (const thrown of [error, new Error("outer", { cause: error })])
      await breaker.execute(() => retry.execute(() => Promise.reject(thrown))).catch(() => {});
    expect(breaker.state).toBe("OPEN");
  });
});
