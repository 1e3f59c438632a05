import { expect, test } from "vitest";
import type { SharedState } from "../core/shared-state.ts";
import { fakeRuntime } from "../testing/fake-clock.ts";
import { SharedPlace } from "./shared-place.ts";
import { sharing } from "./sharing.ts";

/** A place that answers when the test says so. */
function placeOf() {
  const runtime = fakeRuntime();
  const answers: { resolve: (value: unknown) => void; reject: (error: unknown) => void; key: string }[] = [];
  const update: SharedState["update"] = (key) =>
    new Promise((resolve, reject) => answers.push({ resolve: resolve as (value: unknown) => void, reject, key }));
  const place = new SharedPlace<number>({ sharing, update, close: async () => {} }, "limiter:api", runtime);
  return { runtime, answers, place };
}

const leave = (): { next: undefined; keepMs: number; result: string } => ({
  next: undefined,
  keepMs: 0,
  result: "seen",
});

test("a question without an answer is over after a second, and what comes later goes elsewhere (C3.4)", async () => {
  const { runtime, answers, place } = placeOf();
  const late: string[] = [];
  const asked = [1, 2].map(() =>
    place.ask(leave, true, (result) => late.push(result)).catch((error: unknown) => error),
  );
  const unheard = place.ask(leave, true).catch(() => "none");
  await runtime.clock.advance(999);
  expect(answers.map(({ key }) => key)).toEqual(Array.from({ length: 3 }, () => "limiter:api"));
  await runtime.clock.advance(1);
  for (const each of asked)
    expect(await each).toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: "The shared state did not answer within 1000 ms about limiter:api.",
    });
  answers[0]!.resolve("seen");
  answers[1]!.reject(new Error("observed"));
  answers[2]!.resolve("nobody asked for it late");
  await runtime.clock.advance(0);
  expect(await unheard).toBe("none");
  expect(late).toEqual(["seen"]);
});

test("only a question that somebody waits for keeps the process alive, and an answer leaves no timer (C0.4)", async () => {
  const { runtime, answers, place } = placeOf();
  const told = place.ask(leave, false);
  expect(runtime.clock.pendingTimers).toBe(0);
  const asked = place.ask(leave, true);
  expect(runtime.clock.pendingTimers).toBe(1);
  await runtime.clock.advance(0);
  for (const { resolve } of answers) resolve("seen");
  expect(await Promise.all([told, asked])).toEqual(["seen", "seen"]);
  expect(runtime.clock.pendingTimers).toBe(0);
});
