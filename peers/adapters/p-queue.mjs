import PQueue from "p-queue";

const runner =
  (queued, always = {}) =>
  (operation, { signal } = {}) =>
    queued.add(operation, { ...always, signal });

export const queue = ({ concurrency }) => runner(new PQueue({ concurrency }));

export const timeout = ({ ms }) => runner(new PQueue(), { timeout: ms });

export const slots = ({ concurrency, timeoutMs }) => runner(new PQueue({ concurrency }), { timeout: timeoutMs });

export const limiter = ({ limit, intervalMs }) =>
  runner(new PQueue({ intervalCap: limit, interval: intervalMs, strict: true }));

export const without = { slots: "order", limiter: "cost" };
