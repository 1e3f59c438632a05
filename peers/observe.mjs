export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const PENDING = Symbol("pending");

/** How a promise has settled within `limitMs`, and after how long. */
export async function settled(promise, limitMs) {
  const start = performance.now();
  let timer;
  const limit = new Promise((resolve) => {
    timer = setTimeout(resolve, limitMs, PENDING);
  });
  const done = promise.then(
    (value) => ({ how: "resolved", value }),
    (error) => ({ how: "rejected", error }),
  );
  const result = await Promise.race([done, limit]);
  clearTimeout(timer);
  const ms = Math.round(performance.now() - start);
  return result === PENDING ? { how: "pending", ms } : { ...result, ms };
}

export const down = async () => {
  throw new Error("down");
};

/** An operation that counts its calls, and settles with `result()`. */
export function counted(result = async () => "done") {
  const operation = (options) => {
    operation.calls++;
    return result(options);
  };
  operation.calls = 0;
  return operation;
}

/** A promise with its two ends outside. */
export function gate() {
  const ends = {};
  ends.promise = new Promise((resolve, reject) => Object.assign(ends, { open: resolve, fail: reject }));
  return ends;
}

/** An operation that does nothing but heed the caller's signal, as `fetch` does. */
export const until = (signal) => () =>
  new Promise((_, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });

/** Lets calls fail until the breaker refuses them. */
export async function trip(run) {
  for (let calls = 0; calls < 10; calls++) {
    const operation = counted(down);
    await run(operation).catch(() => {});
    if (operation.calls === 0) return;
  }
  throw new Error("ten failures have not opened the breaker");
}

/** Whether an operation is called within `ms`. Its call is not waited for. */
export async function admits(run, operation = async () => "done", ms = 30) {
  const watched = counted(operation);
  run(watched).catch(() => {});
  await sleep(ms);
  return watched.calls === 1;
}

export const medianOf = (values) => values.sort((a, b) => a - b)[values.length >> 1];

/** Looks for an error among all that another one holds. */
export function holds(error, wanted, depth = 4) {
  if (error === wanted) return true;
  if (depth === 0 || typeof error !== "object" || error === null) return false;
  return Reflect.ownKeys(error).some((key) => holds(error[key], wanted, depth - 1));
}
