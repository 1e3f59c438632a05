import { setTimeout as realSleep } from "node:timers/promises";
import { jumpWallClock, liveTimers, unhandledErrors } from "../instruments.mjs";
import { admits, counted, down, gate, medianOf, settled, sleep, trip, until } from "../observe.mjs";

const SOON = { openMs: 60 };
const LATER = { openMs: 30_000 };

/** A breaker that is due to let a probe through. */
async function halfOpen(breaker, options = SOON) {
  const run = breaker(options);
  await trip(run);
  await sleep(options.openMs * 2);
  return run;
}

const abort = async (run, controller) => {
  const { signal } = controller;
  const call = run(until(signal), { signal });
  await sleep(2);
  controller.abort();
  await call.catch(() => {});
};

/** Microseconds of a failing call with many successes in the window, as many as come in three seconds at most. */
async function failureWith(timeWindow, most) {
  const run = timeWindow({ windowMs: 60_000, percent: 100, minimumCalls: 1_000_000 });
  const end = performance.now() + 3000;
  let calls = 0;
  for (; calls < most && performance.now() < end; calls++) await run(async () => "done");
  const times = [];
  for (let n = 0; n < 21; n++) {
    const start = performance.now();
    await run(down).catch(() => {});
    times.push(performance.now() - start);
  }
  return { us: medianOf(times) * 1000, calls };
}

export const breakerChecks = [
  {
    name: "half-open",
    title: "Half-open lets one probe through and refuses all others at once, however many wait (C2.2)",
    needs: "breaker",
    async run(breaker) {
      const run = await halfOpen(breaker);
      const probe = gate();
      const operation = counted(() => probe.promise);
      let refused = 0;
      const calls = Array.from({ length: 1000 }, () => run(operation).catch(() => refused++));
      await sleep(200);
      const [ran, atOnce] = [operation.calls, refused];
      probe.open();
      await settled(Promise.all(calls), 2000);
      const later = operation.calls - ran;
      const after = later > 0 ? `, ${later} more ran after the probe` : "";
      return { ok: ran === 1 && atOnce === 999, fact: `${ran} of 1000 ran, ${atOnce} refused at once${after}` };
    },
  },
  {
    name: "hung-probe",
    title: "A probe that never settles loses its place, without a time limit on every call (C2.3)",
    needs: "breaker",
    async run(breaker) {
      const run = await halfOpen(breaker, { ...SOON, probeTimeoutMs: 200 });
      run(() => new Promise(() => {})).catch(() => {});
      await sleep(300);
      let last;
      for (const end = performance.now() + 1500; performance.now() < end; await sleep(20)) {
        last = await settled(
          run(async () => "done"),
          500,
        );
        if (last.how === "resolved") return { ok: true, fact: "another call is let through" };
      }
      return { ok: false, fact: last.how === "pending" ? "later calls hang" : "later calls are refused for 1.5 s on" };
    },
  },
  {
    name: "stale-success",
    title: "A late success from before the opening changes nothing (C2.3)",
    needs: "breaker",
    async run(breaker) {
      const wrong = [];
      const early = gate();
      const open = breaker({ openMs: 500 });
      const slow = open(() => early.promise);
      await trip(open);
      early.open();
      await slow;
      if (await admits(open)) wrong.push("it closes an open breaker");

      const before = gate();
      const probe = gate();
      const half = breaker(SOON);
      const old = half(() => before.promise);
      await trip(half);
      await sleep(SOON.openMs * 2);
      const probing = half(() => probe.promise).catch(() => {});
      await sleep(5);
      before.open();
      await old;
      if (await admits(half)) wrong.push("it ends the half-open state");
      probe.fail(new Error("still down"));
      await probing;
      if (wrong.length === 0 && (await admits(half, down))) wrong.push("the failure of the probe is lost");
      await sleep(SOON.openMs * 3);
      if (!(await admits(half))) wrong.push("no probe is let through any more");
      return { ok: wrong.length === 0, fact: wrong.join("; ") || "stays open, stays half-open" };
    },
  },
  {
    name: "neutral-aborts",
    title: "As shipped, aborts by callers are neutral, and the library's own timeout is a failure (C0.8)",
    needs: "breaker",
    async run(breaker) {
      const run = breaker(LATER);
      for (let n = 0; n < 10; n++) await abort(run, new AbortController());
      const closed = await admits(run);
      const timed = breaker({ ...LATER, timeoutMs: 30 });
      for (let n = 0; n < 5; n++) await timed(() => new Promise(() => {})).catch(() => {});
      const opened = !(await admits(timed));
      return {
        ok: closed && opened,
        fact: `10 aborts ${closed ? "leave it closed" : "open it"}, 5 timeouts ${opened ? "open it" : "leave it closed"}`,
      };
    },
  },
  {
    name: "aborted-probe",
    title: "A probe that its caller aborts gives its place to the next call, and says nothing of the service (C2.3)",
    needs: "breaker",
    async run(breaker) {
      const run = await halfOpen(breaker, { openMs: 200 });
      await abort(run, new AbortController());
      const probe = gate();
      const next = await admits(run, () => probe.promise);
      const another = await admits(run, () => probe.promise);
      probe.open();
      const fact = next ? `the next call runs${another ? ", and those after it too" : ""}` : "the next call is refused";
      return { ok: next && !another, fact };
    },
  },
  {
    name: "window-after-idling",
    title: "A window of time holds nothing older than itself, also after a pause (C2.8)",
    needs: "timeWindow",
    async run(timeWindow) {
      const run = timeWindow({ windowMs: 500, percent: 50, minimumCalls: 3 });
      for (let batch = 0; batch < 4; batch++) {
        for (let n = 0; n < 15; n++) await run(n % 3 === 2 ? down : async () => "done").catch(() => {});
        await sleep(101);
      }
      await sleep(2000);
      for (let n = 0; n < 3; n++) await run(down).catch(() => {});
      const open = !(await admits(run));
      const fact = `after 2 s of rest, 3 failures of 3 calls ${open ? "open it" : "do not open it"}`;
      return { ok: open, fact };
    },
  },
  {
    name: "flat-cost",
    title: "A failing call costs the same however many calls the window holds (C2.8)",
    needs: "timeWindow",
    async run(timeWindow) {
      const [few, many] = [await failureWith(timeWindow, 1000), await failureWith(timeWindow, 50_000)];
      const fact = `${few.us.toFixed(0)} µs with ${few.calls} calls in the window, ${many.us.toFixed(0)} µs with ${many.calls}`;
      return { ok: many.us < 5 * few.us + 100, fact };
    },
  },
  {
    name: "idle-timers",
    title: "A breaker that nobody calls keeps no timer, closed or open (C0.4)",
    needs: "breaker",
    async run(breaker) {
      const before = liveTimers();
      for (let n = 0; n < 100; n++) {
        const run = breaker(LATER);
        await run(async () => "done");
        if (n % 2 === 1) await trip(run);
      }
      await realSleep(50);
      const kept = liveTimers() - before;
      return { ok: kept === 0, fact: `${kept} timers for 50 closed and 50 open breakers` };
    },
  },
  {
    name: "wall-clock-breaker",
    title: "The open time is not changed by corrections of the wall clock (C0.4)",
    needs: "breaker",
    async run(breaker) {
      const back = breaker({ openMs: 100 });
      await trip(back);
      jumpWallClock(-3_600_000);
      await sleep(250);
      const stuck = !(await admits(back));
      const forward = breaker(LATER);
      await trip(forward);
      jumpWallClock(3_600_000);
      const early = await admits(forward);
      const wrong = [stuck && "set back by an hour: stays open", early && "set forward by an hour: opens early"];
      return { ok: !stuck && !early, fact: wrong.filter(Boolean).join("; ") || "as long as it was to be" };
    },
  },
  {
    name: "throwing-predicate",
    title: "A predicate that throws counts as a failure, and the caller gets the error of the operation (C1.4)",
    needs: "breaker",
    async run(breaker) {
      const countsAsFailure = () => {
        throw new Error("the predicate is broken");
      };
      const run = breaker({ ...LATER, countsAsFailure });
      const results = [];
      for (let n = 0; n < 4; n++) results.push(await settled(run(down), 300));
      const [{ how, error }] = results;
      const told = how === "pending" ? "the call never settles" : `the caller gets "${error?.message}"`;
      const open = !(await admits(run));
      const lost = unhandledErrors();
      return {
        ok: error?.message === "down" && open && lost === 0,
        fact: `${told}, ${open ? "the breaker opens" : "the breaker stays closed"}, ${lost} unhandled rejections`,
      };
    },
  },
  {
    name: "refusal-says-when",
    title: "A refusal of the breaker says when another call makes sense (C2.5)",
    needs: "breaker",
    async run(breaker, { retryAfterMs = () => undefined }) {
      const run = breaker({ openMs: 5000 });
      await trip(run);
      const { error } = await settled(
        run(async () => "done"),
        100,
      );
      const ms = retryAfterMs(error);
      return { ok: ms > 0 && ms <= 5000, fact: ms > 0 ? `in ${ms.toFixed(0)} ms` : "the error has no such time" };
    },
  },
  {
    name: "forgotten-breakers",
    title: "A breaker that nobody holds any more takes no memory (C2.8)",
    needs: "breaker",
    async run(breaker) {
      const grow = async (count) => {
        for (let n = 0; n < count; n++) await breaker(LATER)(async () => "done");
      };
      const heap = async () => {
        for (let n = 0; n < 3; n++) {
          await sleep(20);
          globalThis.gc();
        }
        return process.memoryUsage().heapUsed;
      };
      await grow(500);
      const before = await heap();
      await grow(2000);
      const bytes = Math.max(0, ((await heap()) - before) / 2000);
      return { ok: bytes < 400, fact: `${bytes.toFixed(0)} bytes kept for each` };
    },
  },
];
