import { getEventListeners } from "node:events";
import { jumpWallClock, liveTimers, unhandledErrors } from "../instruments.mjs";
import { counted, holds, settled, sleep } from "../observe.mjs";

const CALM = 0;
const HOUR = 3_600_000;

/** Lets one call through, sets the clock, and says whether more are let through too early, or not when it is time. */
async function disturbed(limiter, jumpMs) {
  const run = limiter({ limit: 1, intervalMs: 1000 });
  const more = counted();
  await run(async () => "done");
  jumpWallClock(jumpMs);
  run(more).catch(() => {});
  await sleep(500);
  if (more.calls > 0) return "lets another call through at once";
  await sleep(800);
  run(more).catch(() => {});
  await sleep(400);
  return more.calls > 0 ? undefined : "lets no more calls through";
}

export const limitChecks = [
  {
    name: "timed-out",
    title: "An operation that timed out is told to stop, alone, and what it brings later is observed (C3.1)",
    needs: "timeout",
    async run(timeout) {
      const run = timeout({ ms: 100 });
      const signals = [];
      const slow =
        (ms) =>
        async ({ signal } = {}) => {
          signals.push(signal);
          await sleep(ms);
          if (ms > 100) throw new Error("late");
        };
      const first = run(slow(200));
      await sleep(60);
      const second = run(slow(70));
      const { how, ms } = await settled(first, 1000);
      const told = signals[0]?.aborted === true;
      const alone = signals[1]?.aborted !== true;
      await second.catch(() => {});
      await sleep(150);
      const lost = unhandledErrors();
      const fact = [
        how === "pending" ? "not ended" : `ended ${how === "rejected" ? "" : "well "}after ${ms + 60} ms`,
        signals[0] === undefined ? "has no signal" : told ? "signal aborted" : "signal not aborted",
        ...(alone ? [] : ["that of another call too"]),
        `${lost} unhandled rejections`,
      ];
      return { ok: how === "rejected" && told && alone && lost === 0, fact: fact.join(", ") };
    },
  },
  {
    name: "nothing-left",
    title: "Calls that have ended leave no timer, and no listener on the signal of their caller (C1.6)",
    needs: "timeout",
    async run(timeout) {
      const { signal } = new AbortController();
      const run = timeout({ ms: 30_000 });
      const before = liveTimers();
      for (let n = 0; n < 1000; n++) await run(async () => "done", { signal });
      await sleep(100);
      const timers = liveTimers() - before;
      const listeners = getEventListeners(signal, "abort").length;
      // One timer that serves all calls may still be due to end.
      return { ok: timers <= 1 && listeners === 0, fact: `${timers} timers, ${listeners} listeners after 1000 calls` };
    },
  },
  {
    name: "wall-clock-limiter",
    title: "A rate limit is not changed by corrections of the wall clock (C0.4)",
    needs: "limiter",
    async run(limiter) {
      const calm = await disturbed(limiter, CALM);
      if (calm !== undefined) throw new Error(`even when the clock is left alone, the limiter ${calm}`);
      const ahead = await disturbed(limiter, HOUR);
      const behind = await disturbed(limiter, -HOUR);
      const wrong = [ahead && `set forward by an hour: ${ahead}`, behind && `set back by an hour: ${behind}`];
      return { ok: !ahead && !behind, fact: wrong.filter(Boolean).join("; ") || "one call a second" };
    },
  },
  {
    name: "cost-above-capacity",
    title: "A call that costs more than there can ever be is not left to wait for ever (C3.4)",
    needs: "limiter",
    with: "cost",
    async run(limiter) {
      const run = limiter({ limit: 5, intervalMs: 1000 });
      const { how, ms } = await settled(
        run(async () => "done", { cost: 10 }),
        3500,
      );
      return { ok: how !== "pending", fact: how === "pending" ? "waits" : `${how} after ${ms} ms` };
    },
  },
  {
    name: "any-interval",
    title: "No more calls than the limit start in any interval, wherever it begins (C3.4)",
    needs: "limiter",
    async run(limiter) {
      const run = limiter({ limit: 10, intervalMs: 1000, spaced: true });
      const times = [];
      const burst = (calls) => {
        for (let n = 0; n < calls; n++) run(async () => times.push(performance.now())).catch(() => {});
      };
      burst(1);
      await sleep(900);
      burst(9);
      await sleep(250);
      burst(10);
      await sleep(800);
      const most = Math.max(...times.map((from) => times.filter((at) => at >= from && at < from + 990).length));
      return { ok: most <= 10, fact: `at most ${most} in a second, limit 10` };
    },
  },
  {
    name: "idle-limiter",
    title: "A limiter that nobody calls keeps no timer (C0.4)",
    needs: "limiter",
    async run(limiter) {
      const before = liveTimers();
      const run = limiter({ limit: 10, intervalMs: 1000 });
      await run(async () => "done");
      await sleep(1500);
      const kept = liveTimers() - before;
      return { ok: kept === 0, fact: `${kept} timer${kept === 1 ? "" : "s"} 1.5 s after the last call` };
    },
  },
  {
    name: "failed-fallback",
    title: "When the fallback fails too, the first error is still there (C3.5)",
    needs: "fallback",
    async run(fallback) {
      const [first, second] = [new Error("the service is down"), new Error("the cache is empty")];
      const run = fallback({ backup: () => Promise.reject(second) });
      const { error } = await settled(
        run(() => Promise.reject(first)),
        500,
      );
      const kept = holds(error, first);
      return { ok: kept, fact: kept ? `${error.name} holds it` : `only "${error?.message}" is left` };
    },
  },
];
