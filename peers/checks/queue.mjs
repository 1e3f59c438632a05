import { AsyncLocalStorage } from "node:async_hooks";
import { counted, gate, settled, sleep } from "../observe.mjs";

const LIMIT_MS = 1200;
const forever = new Promise(() => {});

/** Puts calls into a queue, up to a number, or as many as go in within the time. Answers how many. */
function fill(length, submit) {
  const end = performance.now() + LIMIT_MS;
  let waiting = 0;
  while (waiting < length && performance.now() < end) submit(waiting++);
  return waiting;
}

/** A stopwatch of the time that the process has computed, which other processes do not lengthen. In milliseconds. */
function stopwatch() {
  const { user, system } = process.cpuUsage();
  return () => (process.cpuUsage().user - user + process.cpuUsage().system - system) / 1000;
}

/** Milliseconds for each call that gets its turn in a long queue, as far as it comes in time. */
async function perTurn(queue, length) {
  const run = queue({ concurrency: 1, length });
  const holder = gate();
  run(() => holder.promise).catch(() => {});
  const finished = gate();
  let turns = 0;
  let waiting = Infinity;
  let end = Infinity;
  const turn = async () => {
    if (++turns < waiting && performance.now() < end) return;
    finished.open();
    // The rest stays where it is, and does not run beside what is measured next.
    await forever;
  };
  waiting = fill(length, () => void run(turn).catch(() => {}));
  await sleep(50);
  const elapsed = stopwatch();
  end = performance.now() + LIMIT_MS;
  holder.open();
  await finished.promise;
  return { each: elapsed() / turns, waiting };
}

/** The same for each abort of calls that wait behind one that holds the slot, the latest first. */
async function perAbort(queue, length) {
  const run = queue({ concurrency: 1, length });
  run(() => forever).catch(() => {});
  const controllers = [];
  const calls = [];
  const waiting = fill(length, (n) => {
    controllers.push(new AbortController());
    calls.push(run(async () => "done", { signal: controllers[n].signal }).catch(() => {}));
  });
  await sleep(50);
  const reason = new Error("no longer wanted");
  const elapsed = stopwatch();
  const end = performance.now() + LIMIT_MS;
  let aborts = 0;
  while (aborts < waiting && performance.now() < end) controllers[waiting - ++aborts].abort(reason);
  const { how } = await settled(Promise.all(calls.slice(waiting - aborts)), 2 * LIMIT_MS);
  return { each: how === "pending" ? Infinity : elapsed() / aborts, waiting };
}

/** Compares what one costs in a short queue, the best of some, with what it costs in a long one. */
async function growth(queue, cost, few, many) {
  const end = performance.now() + LIMIT_MS;
  let short = await cost(queue, few);
  for (let n = 0; n < 4 && performance.now() < end; n++) {
    const again = await cost(queue, few);
    if (again.each < short.each) short = again;
  }
  if (short.each === Infinity) return { ok: false, fact: "calls that were aborted stay in the queue" };
  const long = await cost(queue, many);
  const us = ({ each, waiting }) => `${(each * 1000).toFixed(each < 0.01 ? 1 : 0)} µs with ${waiting}`;
  return { ok: long.each < 5 * short.each + 0.002, fact: `each takes ${us(short)} waiting, ${us(long)}` };
}

export const queueChecks = [
  {
    name: "abort-in-queue",
    title: "An abort takes a waiting call out of the queue at once (C3.2)",
    needs: "queue",
    with: "signal",
    async run(queue) {
      const run = queue({ concurrency: 1, length: 10 });
      const holder = run(() => sleep(1500));
      const controller = new AbortController();
      const waiting = run(async () => "done", { signal: controller.signal });
      setTimeout(() => controller.abort(), 50);
      const { how, ms } = await settled(waiting, 3000);
      await holder;
      return { ok: how === "rejected" && ms < 500, fact: `${how} after ${ms} ms, the slot was free after 1500 ms` };
    },
  },
  {
    name: "queue-cost",
    title: "A place in the queue costs the same however long the queue is (C3.2)",
    needs: "queue",
    run: (queue) => growth(queue, perTurn, 1000, 120_000),
  },
  {
    name: "abort-cost",
    title: "An abort in the queue costs the same however long the queue is (C3.2)",
    needs: "queue",
    with: "signal",
    run: (queue) => growth(queue, perAbort, 2000, 50_000),
  },
  {
    name: "async-context",
    title: "A queued operation runs in the async context of its submitter (C3.2)",
    needs: "queue",
    async run(queue) {
      const tenant = new AsyncLocalStorage();
      const run = queue({ concurrency: 1, length: 10 });
      const submit = async (name) => `${name}: ${await run(async () => (await sleep(5), tenant.getStore()))}`;
      const seen = await Promise.all(["a", "b", "c", "d"].map((name) => tenant.run(name, submit, name)));
      const ok = seen.every((line) => line[0] === line.at(-1));
      return { ok, fact: ok ? "each saw its own" : `submitter and what it saw: ${seen.join(", ")}` };
    },
  },
  {
    name: "slot-until-settled",
    title: "A slot is held until the operation has settled, also when a timeout has ended the call (C3.2)",
    needs: "slots",
    async run(slots, { without }) {
      const orders = without?.slots === "order" ? [true] : [true, false];
      const wrong = [];
      for (const timeoutInside of orders) {
        let active = 0;
        let most = 0;
        const work = counted(async () => {
          most = Math.max(most, ++active);
          await sleep(400);
          active--;
        });
        const run = slots({ concurrency: 1, timeoutMs: 50, timeoutInside });
        const first = run(work).catch(() => {});
        await sleep(150);
        const second = run(work).catch(() => {});
        await Promise.all([first, second]);
        await sleep(900);
        const order = orders.length > 1 ? ` with the timeout ${timeoutInside ? "inside" : "outside"}` : "";
        if (most > 1) wrong.push(`${most} at a time${order}`);
      }
      return { ok: wrong.length === 0, fact: wrong.join(", ") || "1 at a time" };
    },
  },
];
