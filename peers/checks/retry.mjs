import { counted, down, holds, settled, sleep } from "../observe.mjs";

export const retryChecks = [
  {
    name: "abort-in-backoff",
    title: "An abort ends the wait before a retry at once, and no further call is made (C1.6)",
    needs: "retry",
    with: "signal",
    async run(retry) {
      const operation = counted(down);
      const controller = new AbortController();
      const call = retry({ retries: 2, waitMs: 2000 })(operation, { signal: controller.signal });
      setTimeout(() => controller.abort(), 50);
      const { how, ms } = await settled(call, 5000);
      await sleep(Math.max(0, 2200 - ms));
      const more = operation.calls - 1;
      const calls = more === 0 ? "no further call" : `${more} further call${more > 1 ? "s" : ""}`;
      const fact = how === "pending" ? "did not settle within 5 s" : `settled after ${ms} ms, ${calls}`;
      return { ok: ms < 500 && operation.calls === 1, fact };
    },
  },
  {
    name: "long-wait",
    title: "A wait of 30 days, longer than a timer of the runtime can be, is not cut to nothing (C0.4)",
    needs: "retry",
    async run(retry) {
      const operation = counted(down);
      retry({ retries: 50, waitMs: 30 * 86_400_000 })(operation).catch(() => {});
      await sleep(500);
      return { ok: operation.calls === 1, fact: `${operation.calls} call${operation.calls > 1 ? "s" : ""} in 500 ms` };
    },
  },
  {
    name: "nested-retries",
    title: "A retry around a retry does not multiply the calls (C0.8)",
    needs: "retry",
    async run(retry) {
      const operation = counted(down);
      const [outer, inner] = [1, 2].map(() => retry({ retries: 2, waitMs: 1 }));
      await settled(
        outer(() => inner(operation)),
        2000,
      );
      return { ok: operation.calls === 3, fact: `3 attempts in 3 attempts make ${operation.calls} calls` };
    },
  },
  {
    name: "spread",
    title: "As shipped, 1000 clients that fail together do not come back together (C1.1)",
    needs: "retry",
    async run(retry) {
      const slots = Array.from({ length: 60 }, () => 0);
      const start = performance.now();
      const clients = Array.from({ length: 1000 }, () => {
        const operation = counted(async () => {
          if (operation.calls === 1) throw new Error("busy");
          slots[Math.floor((performance.now() - start) / 50)]++;
        });
        return retry({ retries: 1, waitMs: 1000, asShipped: true })(operation);
      });
      await Promise.all(clients);
      const busiest = Math.max(...slots);
      return { ok: busiest <= 300, fact: `${busiest} of 1000 within 50 ms` };
    },
  },
  {
    name: "retry-after",
    title: "What a server asks for with Retry-After is kept without code of the user's (C1.5)",
    needs: "retry",
    async run(retry) {
      const headers = { "retry-after": "1" };
      const response = { status: 429, headers: new Headers(headers) };
      const busy = Object.assign(new Error("too many requests"), { status: 429, headers, response });
      const times = [];
      const call = retry({ retries: 1, waitMs: 20 })(async () => {
        times.push(performance.now());
        if (times.length === 1) throw busy;
      });
      await settled(call, 3000);
      const waited = times[1] - times[0];
      return { ok: waited >= 990, fact: `came back after ${waited.toFixed(0)} ms, asked to wait for 1000` };
    },
  },
  {
    name: "deadline",
    title: "After the time for all attempts together no further attempt is made (C3.1)",
    needs: "retryWithin",
    async run(retryWithin) {
      const operation = counted(down);
      const call = retryWithin({ retries: 5, waitMs: 300, totalMs: 150 })(operation);
      const { how, ms } = await settled(call, 2000);
      await sleep(Math.max(0, 700 - ms));
      const more = operation.calls - 1;
      const fact = `${how === "pending" ? "did not settle" : `settled after ${ms} ms`}, ${more} call${more === 1 ? "" : "s"} after the deadline`;
      return { ok: how === "rejected" && ms < 300 && more === 0, fact };
    },
  },
  {
    name: "sync-functions",
    title: "Functions that are not async are called like others: their values and their errors come out (C1.8)",
    needs: ["eitherKind", "retry", "breaker", "queue", "limiter"],
    async run(make) {
      const run = make({
        retries: 0,
        waitMs: 1,
        failures: 5,
        openMs: 1000,
        concurrency: 1,
        length: 1,
        limit: 10,
        intervalMs: 1000,
      });
      const wrong = [];
      for (const value of [7, undefined]) {
        const result = await settled(new Promise((resolve, reject) => run(() => value).then(resolve, reject)), 500);
        if (result.how !== "resolved" || result.value !== value)
          wrong.push(`a function that returns ${value}: ${result.error?.name ?? result.how}`);
      }
      const thrown = new Error("thrown");
      const broken = () => {
        throw thrown;
      };
      const result = await settled(new Promise((resolve, reject) => run(broken).then(resolve, reject)), 500);
      if (!holds(result.error, thrown)) wrong.push(`one that throws: ${result.error?.name ?? result.how}`);
      return { ok: wrong.length === 0, fact: wrong.join("; ") || "values and errors come out" };
    },
  },
];
