import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { createEngine, engineFor, openDefaultStore } from "./default-engine.ts";
import { MemoryStore } from "./stores/memory.ts";
import { Workflow } from "./workflow.ts";

const home = process.cwd();
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-default-"));
  process.chdir(folder);
});

afterEach(() => {
  vi.unstubAllEnvs();
  process.chdir(home);
  rmSync(folder, { recursive: true });
});

const workflow = new Workflow({ id: "w" }).addNode("a", (n: number) => n + 1);

it("without a store, journals are kept in .holdfast/holdfast.db (C10.5)", async () => {
  vi.stubEnv("RESILIENCE_STORE_URL", undefined);
  const engine = createEngine();
  expect((await engine.run(workflow, 1, { runId: "r" })).output).toBe(2);
  await engine.close();
  expect(existsSync(join(folder, ".holdfast", "holdfast.db"))).toBe(true);
});

it("RESILIENCE_STORE_URL says where instead, and is named when it is wrong (C10.5)", async () => {
  vi.stubEnv("RESILIENCE_STORE_URL", "sqlite:elsewhere.db");
  const store = openDefaultStore();
  expect(store.location).toBe(join(process.cwd(), "elsewhere.db"));
  await store.close();
  expect(existsSync(join(folder, ".holdfast"))).toBe(false);
  vi.stubEnv("RESILIENCE_STORE_URL", "postgres://x");
  expect(() => openDefaultStore()).toThrow(/^RESILIENCE_STORE_URL is "postgres:\/\/x"/);
});

it("one store has one engine, so that calls of execute share breakers and join runs (C5.5)", () => {
  const store = new MemoryStore();
  expect(engineFor(store)).toBe(engineFor(store));
  expect(engineFor(new MemoryStore())).not.toBe(engineFor(store));
});

it("a wrong option is a ConfigError (C0.3, C10.5)", () => {
  const store = new MemoryStore();
  const make = (options: object) => () => createEngine({ store, ...options });
  expect(make({ leaseMs: 0 })).toThrow(/engine\.leaseMs must be a number of milliseconds above 0, got 0/);
  expect(make({ concurrency: 1.5 })).toThrow(/engine\.concurrency must be a whole number/);
  expect(make({ maxCrashes: -1 })).toThrow(/engine\.maxCrashes/);
  expect(make({ onEvent: "log" })).toThrow(/engine\.onEvent must be a function/);
  expect(make({ leaseSeconds: 5 })).toThrow(/engine has no option "leaseSeconds"/);
  expect(make({ store: {} })).toThrow(/engine\.store must be a store/);
});

it("onEvent of an engine hears its runs until it is closed (C10.5, C10.6)", async () => {
  const types: string[] = [];
  const engine = createEngine({ store: new MemoryStore(), onEvent: ({ type }) => types.push(type) });
  await engine.run(workflow, 1);
  expect(types).toEqual(["run.started", "node.started", "node.completed", "run.completed"]);
  await engine.close();
  await createEngine({ store: new MemoryStore() }).run(workflow, 1);
  expect(types).toHaveLength(4);
});

it("workflows that an engine was given can be redriven without having been run on it (C10.5)", async () => {
  let broken = true;
  const flaky = new Workflow({ id: "flaky" }).addNode("n", () => (broken ? Promise.reject(new Error("no")) : "yes"));
  const store = new MemoryStore();
  const { deadLetters } = await createEngine({ store }).run(flaky, null);
  broken = false;
  const { output } = await createEngine({ store, workflows: [flaky] }).deadLetters.redrive(deadLetters[0]!.id);
  expect(output).toBe("yes");
});

it("classes that an engine was told of come back as what they were (C6.6)", async () => {
  class Money {
    readonly cents: number;
    constructor(cents: number) {
      this.cents = cents;
    }
  }
  const money = {
    name: "Money",
    is: (value: unknown): value is Money => value instanceof Money,
    encode: ({ cents }: Money) => cents,
    decode: (cents: unknown) => new Money(cents as number),
  };
  const pay = new Workflow({ id: "pay" })
    .addNode("price", () => ({ total: new Money(250) }))
    .addNode("double", ({ total }: { total: Money }) => new Money(total.cents * 2))
    .connect("price", "double");
  const { output } = await createEngine({ store: new MemoryStore(), types: [money] }).run(pay, null);
  expect(output).toEqual(new Money(500));
  expect(output).toBeInstanceOf(Money);
});
