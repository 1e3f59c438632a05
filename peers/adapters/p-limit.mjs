import pLimit from "p-limit";

export function queue({ concurrency }) {
  const limited = pLimit(concurrency);
  return (operation) => limited(() => operation({}));
}

export const without = { queue: "signal" };
