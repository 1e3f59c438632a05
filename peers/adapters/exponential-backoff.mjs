import { backOff } from "exponential-backoff";

export const retry =
  ({ retries, waitMs, asShipped = false }) =>
  (operation) =>
    backOff(() => operation({}), {
      numOfAttempts: retries + 1,
      startingDelay: waitMs,
      ...(!asShipped && { timeMultiple: 1 }),
    });

export const without = { retry: "signal" };
