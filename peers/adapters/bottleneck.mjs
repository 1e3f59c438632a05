import Bottleneck from "bottleneck";

export function queue({ concurrency }) {
  const queued = new Bottleneck({ maxConcurrent: concurrency });
  return (operation) => queued.schedule(() => operation({}));
}

export function timeout({ ms }) {
  const queued = new Bottleneck({});
  return (operation) => queued.schedule({ expiration: ms }, () => operation({}));
}

export function slots({ concurrency, timeoutMs }) {
  const queued = new Bottleneck({ maxConcurrent: concurrency });
  return (operation) => queued.schedule({ expiration: timeoutMs }, () => operation({}));
}

export function limiter({ limit, intervalMs, spaced = false }) {
  const queued = spaced
    ? new Bottleneck({ minTime: Math.ceil(intervalMs / limit) + 2 })
    : new Bottleneck({ reservoir: limit, reservoirRefreshAmount: limit, reservoirRefreshInterval: intervalMs });
  return (operation, { cost: weight = 1 } = {}) => queued.schedule({ weight }, () => operation({}));
}

export const without = { slots: "order", queue: "signal" };
