import { test } from "vitest";
import { systemRuntime } from "../../src/core/runtime.ts";
import { fakeRuntime } from "../../src/testing/fake-clock.ts";
import { type Leak, LeakyPolicy } from "./leaky-policy.ts";

// Tests that are to fail, each for the leak in its name. test/leak-oracle.test.ts runs them.

const { signal } = new AbortController();

test.each<Leak | "nothing">(["timer", "listener", "deadline", "place in a queue", "rejection", "nothing"])(
  "%s",
  async (leak) => {
    await new LeakyPolicy(leak, fakeRuntime()).execute(() => 1, { signal });
  },
);

test("timer of the machine", async () => {
  await new LeakyPolicy("timer", systemRuntime).execute(() => 1);
});

test("things of the test's own", () => {
  fakeRuntime().clock.timer(60_000, () => {});
  new AbortController().signal.addEventListener("abort", () => {});
});
