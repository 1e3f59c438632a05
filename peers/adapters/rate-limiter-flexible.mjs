import { RateLimiterMemory } from "rate-limiter-flexible";

export function limiter({ limit, intervalMs }) {
  const limited = new RateLimiterMemory({ points: limit, duration: intervalMs / 1000 });
  return async (operation, { cost = 1 } = {}) => {
    await limited.consume("k", cost);
    return operation({});
  };
}
