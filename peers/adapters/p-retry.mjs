import pRetry from "p-retry";

const series = ({ retries, waitMs, asShipped = false }) => ({
  retries,
  minTimeout: waitMs,
  ...(!asShipped && { factor: 1 }),
});

export const retry =
  (options) =>
  (operation, { signal } = {}) =>
    pRetry(() => operation({ signal }), { ...series(options), signal });

export const retryWithin =
  ({ totalMs, ...options }) =>
  (operation) => {
    const signal = AbortSignal.timeout(totalMs);
    return pRetry(() => operation({ signal }), { ...series(options), signal });
  };
