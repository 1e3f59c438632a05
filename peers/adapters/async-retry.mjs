import asyncRetry from "async-retry";

const series = ({ retries, waitMs, asShipped = false }) =>
  asShipped ? { retries, minTimeout: waitMs } : { retries, minTimeout: waitMs, factor: 1, randomize: false };

export const retry = (options) => (operation) => asyncRetry(() => operation({}), series(options));

export const retryWithin =
  ({ totalMs, ...options }) =>
  (operation) =>
    asyncRetry(() => operation({}), { ...series(options), maxRetryTime: totalMs });

export const without = { retry: "signal" };
