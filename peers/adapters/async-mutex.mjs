import { Semaphore } from "async-mutex";

export function queue({ concurrency }) {
  const semaphore = new Semaphore(concurrency);
  return (operation) => semaphore.runExclusive(() => operation({}));
}

export const without = { queue: "signal" };
