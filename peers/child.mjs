// One check of one library, in a process of its own: node child.mjs LIBRARY CHECK. Answers the verdict by IPC.
import { unhandledErrors } from "./instruments.mjs";
import { CHECKS } from "./checks.mjs";
import { Lacking, lacks } from "./lacks.mjs";

const WHAT = {
  breaker: "a circuit breaker",
  timeWindow: "a breaker with a window of time",
  retry: "a retry",
  retryWithin: "a retry with a time for all attempts",
  queue: "a limit of concurrency",
  timeout: "a timeout",
  slots: "a limit of concurrency with a timeout",
  limiter: "a rate limiter",
  fallback: "a fallback",
};

const [library, name] = process.argv.slice(2);

async function verdict() {
  const check = CHECKS.find((each) => each.name === name);
  const adapter = await import(`./adapters/${library}.mjs`);
  const wanted = [check.needs].flat();
  const needs = wanted.find((each) => each in adapter) ?? lacks(`has no ${WHAT[wanted[0]].replace(/^an? /, "")}`);
  if (check.with && adapter.without?.[needs] === check.with) lacks(`calls of ${WHAT[needs]} take no ${check.with}`);
  const { ok, fact } = await check.run(adapter[needs], adapter);
  const lost = unhandledErrors();
  if (ok && lost > 0) return { verdict: "fail", fact: `${fact}, ${lost} unhandled rejections` };
  return { verdict: ok ? "pass" : "fail", fact };
}

const result = await verdict().catch((error) =>
  error instanceof Lacking ? { verdict: "n/a", fact: error.message } : { verdict: "error", fact: String(error.stack) },
);
process.send(result, () => process.exit());
