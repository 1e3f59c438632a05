import { expect, it } from "vitest";
import type { SharedState } from "../core/shared-state.ts";
import { FakeClock } from "../testing/fake-clock.ts";
import { MemorySharedState } from "./memory-shared-state.ts";

function put(state: SharedState, key: string, keepMs: number): Promise<void> {
  return state.update<number, void>(key, () => ({ next: 1, keepMs, result: undefined }));
}

it("a hundred thousand keys that are gone do not stay, and each update looks at a few of them only (C2.9)", async () => {
  const clock = new FakeClock();
  const state = new MemorySharedState({ clock });
  for (let i = 0; i < 100_000; i++) await put(state, `gone ${i}`, 1000);
  expect(state.size).toBe(100_000);
  await clock.advance(1000);
  await put(state, "key", Infinity);
  expect(state.size).toBeGreaterThan(99_990);
  for (let i = 0; i < 30_000; i++) await put(state, "key", Infinity);
  expect(state.size).toBe(1);
});

it("keys that come and go for ever take the room of those that live, and a little more (C2.9)", async () => {
  const clock = new FakeClock();
  const state = new MemorySharedState({ clock });
  let most = 0;
  for (let i = 0; i < 2000; i++) {
    if (i % 10 === 0) await clock.advance(1);
    await put(state, `request ${i}`, 10);
    most = Math.max(most, state.size);
  }
  expect(most).toBeLessThan(200);
});

it("keeps no timer (C0.4)", async () => {
  const clock = new FakeClock();
  await put(new MemorySharedState({ clock }), "key", 1000);
  expect(clock.pendingTimers).toBe(0);
});
