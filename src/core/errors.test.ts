import { describe, expect, test } from "vitest";
import {
  causesOf,
  CircuitBreakerOpenError,
  codeOf,
  ConfigError,
  FallbackFailedError,
  fieldOf,
  HoldfastError,
  isFinal,
  isRefusal,
  LeaseLostError,
  messageOf,
  NodeCrashedError,
  NotFoundError,
  RefusedError,
  RetryExhaustedError,
  revivedError,
  runHeldError,
  RunInUseError,
  StoreCorruptError,
  storedError,
  type StoredError,
  StoreUnavailableError,
  TimeoutError,
  UnserializableValueError,
  versionConflictError,
  VersionMismatchError,
  WorkflowDefinitionError,
  WorkflowExecutionError,
} from "./errors.ts";

const cause = new Error("ECONNREFUSED");

/** Each class with its code, its fields, and what its message must tell. */
const ERRORS: [HoldfastError, string, string, object, string][] = [
  [new HoldfastError("MINE", "it broke"), "HoldfastError", "MINE", {}, "it broke"],
  [new RefusedError("MINE", "not now", { retryAfterMs: 5 }), "RefusedError", "MINE", { retryAfterMs: 5 }, "not now"],
  [new ConfigError("retry.x must be y"), "ConfigError", "CONFIG", {}, "retry.x must be y"],
  [
    new RetryExhaustedError("mail", 3, cause, "no attempts are left"),
    "RetryExhaustedError",
    "RETRY_EXHAUSTED",
    { attempts: 3, lastError: cause, cause },
    "mail gave up after 3 attempts: no attempts are left. Last error: ECONNREFUSED",
  ],
  [
    new RetryExhaustedError("mail", 1, cause, "it is not worth repeating"),
    "RetryExhaustedError",
    "RETRY_EXHAUSTED",
    { attempts: 1, cause },
    "mail gave up after 1 attempt: it is not worth repeating. Last error: ECONNREFUSED",
  ],
  [
    new CircuitBreakerOpenError("crm", 5, 1_200.5),
    "CircuitBreakerOpenError",
    "CIRCUIT_OPEN",
    { circuitName: "crm", failureCount: 5, retryAfterMs: 1_200.5 },
    'Circuit "crm" is open after 5 failures and refuses calls; try again in 1201 ms.',
  ],
  [
    new CircuitBreakerOpenError("crm", 1, 40),
    "CircuitBreakerOpenError",
    "CIRCUIT_OPEN",
    { circuitName: "crm", failureCount: 1, retryAfterMs: 40 },
    'Circuit "crm" is open after 1 failure and refuses calls; try again in 40 ms.',
  ],
  [
    new CircuitBreakerOpenError("crm", 0, undefined),
    "CircuitBreakerOpenError",
    "CIRCUIT_OPEN",
    { circuitName: "crm", failureCount: 0 },
    'Circuit "crm" is isolated by hand',
  ],
  [
    new TimeoutError("the call", 0),
    "TimeoutError",
    "TIMEOUT",
    { timeoutMs: 0 },
    "the call did not settle within 0 ms. It was not made.",
  ],
  [
    new TimeoutError("llm", 200),
    "TimeoutError",
    "TIMEOUT",
    { timeoutMs: 200 },
    "llm did not settle within 200 ms. It was told to stop and may still finish.",
  ],
  [
    new FallbackFailedError("weather", cause, [new Error("cache is empty"), "no"]),
    "FallbackFailedError",
    "FALLBACK_FAILED",
    { cause, errors: [new Error("cache is empty"), "no"] },
    "weather failed, and so did its 2 fallbacks: cache is empty; no. Primary error: ECONNREFUSED",
  ],
  [
    new FallbackFailedError("weather", cause, ["no"]),
    "FallbackFailedError",
    "FALLBACK_FAILED",
    { cause, errors: ["no"] },
    "weather failed, and so did its fallback: no. Primary error: ECONNREFUSED",
  ],
  [
    new WorkflowDefinitionError("triage", ["node a follows itself"]),
    "WorkflowDefinitionError",
    "WORKFLOW_DEFINITION",
    { problems: ["node a follows itself"] },
    'Workflow "triage" cannot run: node a follows itself',
  ],
  [
    new WorkflowDefinitionError("triage", ["a", "b"]),
    "WorkflowDefinitionError",
    "WORKFLOW_DEFINITION",
    { problems: ["a", "b"] },
    'Workflow "triage" cannot run:\n  - a\n  - b',
  ],
  [
    new WorkflowExecutionError("it failed", { runId: "r", nodeId: "n", attempts: 2 }, cause),
    "WorkflowExecutionError",
    "WORKFLOW_EXECUTION",
    { runId: "r", nodeId: "n", attempts: 2, cause },
    "it failed",
  ],
  [
    new WorkflowExecutionError("it failed", { runId: "r" }),
    "WorkflowExecutionError",
    "WORKFLOW_EXECUTION",
    { runId: "r", nodeId: undefined, attempts: 0 },
    "it failed",
  ],
  [new NodeCrashedError("n", 3), "NodeCrashedError", "NODE_CRASHED", {}, 'Node "n" was running each of the 3 times'],
  [new VersionMismatchError("changed"), "VersionMismatchError", "VERSION_MISMATCH", {}, "changed"],
  [new RunInUseError("r", "taken"), "RunInUseError", "RUN_IN_USE", { runId: "r" }, "taken"],
  [new NotFoundError("no run"), "NotFoundError", "NOT_FOUND", {}, "no run"],
  [
    new LeaseLostError("r", 4),
    "LeaseLostError",
    "LEASE_LOST",
    { runId: "r", token: 4 },
    'The lease on run "r" (fencing token 4) was taken over',
  ],
  [
    new LeaseLostError(undefined, 7, { name: "printer", why: "it was not renewed in time" }),
    "LeaseLostError",
    "LEASE_LOST",
    { runId: undefined, lockName: "printer", token: 7 },
    'The lease on lock "printer" (fencing token 7) is lost: it was not renewed in time.',
  ],
  [
    new UnserializableValueError("$.a", "it is a function."),
    "UnserializableValueError",
    "UNSERIALIZABLE_VALUE",
    { path: "$.a" },
    "$.a cannot be stored: it is a function.",
  ],
  [
    new UnserializableValueError("the result.a", "it is a function."),
    "UnserializableValueError",
    "UNSERIALIZABLE_VALUE",
    { path: "the result.a" },
    "The result.a cannot be stored: it is a function.",
  ],
  [new StoreUnavailableError("full", cause), "StoreUnavailableError", "STORE_UNAVAILABLE", { cause }, "full"],
  [new StoreCorruptError("damaged", cause), "StoreCorruptError", "STORE_CORRUPT", { cause }, "damaged"],
  [new StoreUnavailableError("closed"), "StoreUnavailableError", "STORE_UNAVAILABLE", {}, "closed"],
  [new StoreCorruptError("cut short"), "StoreCorruptError", "STORE_CORRUPT", {}, "cut short"],
];

describe("every error of Holdfast", () => {
  const rows = ERRORS.map(([error, name, ...rest]) => [name, error, ...rest] as const);
  test.each(rows)("%s is a HoldfastError with a stable code, its fields and a message (C0.5, C10.2)", (...row) => {
    const [name, error, code, fields, message] = row;
    expect(error).toBeInstanceOf(HoldfastError);
    expect(error.name).toBe(name);
    expect(error.constructor.name).toBe(name);
    expect(String(error).startsWith(`${name}: `)).toBe(true);
    expect(error.code).toBe(code);
    expect(error).toMatchObject(fields);
    expect(error.message).toContain(message);
    expect("cause" in error).toBe("cause" in fields);
    expect("retryAfterMs" in error).toBe("retryAfterMs" in fields);
  });

  test("keeps a stack trace, except a refusal, which happens under load (C2.5)", () => {
    const limit = Error.stackTraceLimit;
    expect(new ConfigError("x").stack).toContain("errors.test");
    expect(new CircuitBreakerOpenError("crm", 1, 1).stack).not.toContain("errors.test");
    expect(Error.stackTraceLimit).toBe(limit);
  });

  test("has its name without a property of its own, and takes another one, as any error does (C0.5)", () => {
    class Busy extends TimeoutError {
      constructor() {
        super("printer", 5);
        this.name = "Busy";
      }
    }
    const error = new TimeoutError("printer", 5);
    expect(Object.keys(error)).toEqual(["code", "timeoutMs"]);
    expect(error.stack).toMatch(/^TimeoutError: printer did not settle/);
    expect(String(new Busy())).toMatch(/^Busy: printer did not settle/);
    expect(Object.assign(error, { name: "Mine" }).name).toBe("Mine");
    const ordinary = Object.assign(new Error("printer"), { name: "Mine" });
    expect(Object.getOwnPropertyDescriptor(error, "name")).toEqual(Object.getOwnPropertyDescriptor(ordinary, "name"));
    expect(new TimeoutError("printer", 5).name).toBe("TimeoutError");
  });

  test("says who holds a run where it knows, and shows an owner it cannot read as it is", () => {
    const known = runHeldError("r", JSON.stringify(["host/boot", 4711, "id"]), 900);
    expect(known).toMatchObject({ name: "RunInUseError", runId: "r", retryAfterMs: 900 });
    expect(known.message).toContain("process 4711 on host.");
    expect(runHeldError("r", "somebody", 1).message).toContain("carried out by somebody.");
    expect(versionConflictError("r", 3, 4).message).toContain('Run "r" has 4 records where 3 were expected');
  });
});

describe("what is worth another attempt", () => {
  const REFUSAL_CODES = [
    "CIRCUIT_OPEN",
    "BULKHEAD_FULL",
    "OVERLOAD_SHED",
    "RATE_LIMITED",
    "CONTENTION",
    "BUDGET_EXCEEDED",
  ];

  test("a refusal is told by class or by code, so that two copies of the package agree (C0.8)", () => {
    expect(isRefusal(new RefusedError("MINE", "no"))).toBe(true);
    for (const code of REFUSAL_CODES) expect(isRefusal({ code })).toBe(true);
    expect(isRefusal(new TimeoutError("t", 1))).toBe(false);
    expect(isRefusal(undefined)).toBe(false);
  });

  test("mistakes, spent budgets and exhausted retries are final, also as the cause of another error (C0.8)", () => {
    const final = [
      "CONFIG",
      "RETRY_EXHAUSTED",
      "BUDGET_EXCEEDED",
      "WORKFLOW_DEFINITION",
      "VERSION_MISMATCH",
      "UNSERIALIZABLE_VALUE",
      "LEASE_LOST",
    ];
    for (const code of final) {
      expect(isFinal({ code })).toBe(true);
      expect(isFinal(new Error("wrapped", { cause: { code } }))).toBe(true);
    }
    for (const error of [cause, new TimeoutError("t", 1), new CircuitBreakerOpenError("c", 1, 1), "text", null])
      expect(isFinal(error)).toBe(false);
  });

  test("a chain of causes is followed eight links deep, and a ring of them ends", () => {
    let deep = new Error("0");
    for (let i = 1; i < 20; i++) deep = new Error(String(i), { cause: deep });
    expect(causesOf(deep).map(messageOf)).toEqual(["19", "18", "17", "16", "15", "14", "13", "12"]);
    const ring: Error = new Error("ring");
    ring.cause = ring;
    expect(causesOf(ring)).toEqual([ring]);
    expect(causesOf(new Error("text", { cause: "why" }))).toHaveLength(2);
    for (const none of [undefined, null]) {
      expect(causesOf(none)).toEqual([]);
      expect(causesOf(new Error("alone", { cause: none }))).toHaveLength(1);
    }
  });
});

/** An error of which nothing can be read. */
const hostile: unknown = new Proxy(new Error("hidden"), {
  get() {
    throw new Error("no reading");
  },
});

test("an error whose getters throw is judged and stored without throwing (C0.5)", () => {
  expect(codeOf(hostile)).toBeUndefined();
  expect(isFinal(hostile)).toBe(false);
  expect(messageOf(hostile)).toBe("a value that cannot be printed");
  expect(storedError(hostile)).toEqual({ name: "Error", message: "a value that cannot be printed" });
});

test("a code is a string, and only an object has one: numbers, as of a DOMException, are none (C0.5)", () => {
  expect(codeOf(new DOMException("stop", "AbortError"))).toBeUndefined();
  expect(codeOf({ code: "ECONNRESET" })).toBe("ECONNRESET");
  expect(fieldOf("text", "length")).toBeUndefined();
  for (const nothing of [undefined, null]) expect(fieldOf(nothing, "code")).toBeUndefined();
});

test("any thrown value has a message", () => {
  class Empty extends Error {
    override name = "Empty";
  }
  expect([new Error("m"), new Empty(), "text", 5, undefined, null, { toString: () => "mine" }].map(messageOf)).toEqual([
    "m",
    "Empty",
    "text",
    "5",
    "undefined",
    "null",
    "mine",
  ]);
  expect(messageOf(Object.assign(new Error(), { message: { detail: 1 } }))).toBe("[object Object]");
  expect(messageOf(Object.create(null))).toBe("a value that cannot be printed");
});

describe("the stored form of an error", () => {
  const api = Object.assign(new TypeError("401", { cause: new Error("token expired") }), {
    code: "UNAUTHORIZED",
    status: 401,
    request: { headers: { authorization: "Bearer secret" } },
    headers: { "set-cookie": "secret" },
    config: { apiKey: "secret" },
  });

  test("has name, message, code, status, stack and causes, and no requests nor headers", () => {
    const stored = storedError(api);
    expect(stored).toEqual({
      name: "TypeError",
      message: "401",
      code: "UNAUTHORIZED",
      status: 401,
      stack: api.stack,
      cause: { name: "Error", message: "token expired", stack: expect.any(String) as string },
    });
    expect(JSON.stringify({ ...stored, stack: "" })).not.toContain("secret");
  });

  test("is cut after eight causes, and ends where they form a ring", () => {
    const ring: Error = new Error("ring");
    ring.cause = ring;
    let links = 0;
    for (let at: StoredError | undefined = storedError(ring); at !== undefined && links < 20; at = at.cause) links++;
    expect(links).toBe(8);
  });

  test("exists for what is no error", () => {
    expect(storedError("text")).toEqual({ name: "string", message: "text" });
    expect(storedError(undefined)).toEqual({ name: "undefined", message: "undefined" });
    expect(storedError(null)).toEqual({ name: "object", message: "null" });
    expect(storedError({ message: "like an error", name: 5 })).toEqual({ name: "Error", message: "[object Object]" });
  });

  test("leaves out what is not there or not of its kind, and so does an error that is revived from it", () => {
    const odd = { message: 5, code: 5, status: "401", stack: 5, cause: null };
    const stored = storedError(Object.assign(new Error(), odd));
    expect(stored).toStrictEqual({ name: "Error", message: "5" });
    const revived = revivedError(stored);
    expect(Object.keys(revived)).toEqual(["name"]);
    expect(revived.stack).toContain("Error");
  });

  test("of an error without a message has none either, so that it prints the same", () => {
    expect(storedError(new TypeError())).toMatchObject({ name: "TypeError", message: "" });
    expect(String(revivedError(storedError(new TypeError())))).toBe("TypeError");
  });

  test("revived, it is a plain Error that shows the same", () => {
    const revived = revivedError(JSON.parse(JSON.stringify(storedError(api))) as never);
    expect(Object.getPrototypeOf(revived)).toBe(Error.prototype);
    expect(revived).toMatchObject({ name: "TypeError", message: "401", code: "UNAUTHORIZED", status: 401 });
    expect(revived.stack).toBe(api.stack);
    expect(revived.cause).toMatchObject({ name: "Error", message: "token expired" });
    expect(storedError(revived)).toEqual(storedError(api));
    expect("cause" in revivedError({ name: "E", message: "m" })).toBe(false);
  });
});
