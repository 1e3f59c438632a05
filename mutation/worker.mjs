// Runs tests against one mutant after the other, as its parent tells it. A mutant is a switch that is read when code
// runs, so the modules are loaded once; only what runs while they load needs a process of its own.
import { pathToFileURL } from "node:url";
import { load, registered } from "./vitest.mjs";

const [, , mode] = process.argv;
const stryker = (globalThis.__stryker__ ??= {});
const unhandled = [];
process.on("unhandledRejection", (error) => unhandled.push(error));
process.on("uncaughtException", (error) => unhandled.push(error));

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Answers what is wrong with a test, or undefined. */
async function outcomeOf(test, limitMs) {
  let timer;
  unhandled.length = 0;
  const late = new Promise((resolve) => {
    timer = setTimeout(() => resolve("timed out"), limitMs);
  });
  const ran = test.run().then(
    () => undefined,
    (error) => String(error?.message ?? error).slice(0, 200) || "failed",
  );
  const outcome = await Promise.race([ran, late]);
  clearTimeout(timer);
  if (outcome !== undefined) return outcome;
  await turn();
  return unhandled.length > 0 ? `unhandled: ${unhandled[0]}` : undefined;
}

/** Each test with its time and how often it meets each mutant. Those that fail here are of no use later. */
async function survey() {
  const tests = [];
  for (const test of registered.values()) {
    stryker.currentTestId = test.key;
    const start = performance.now();
    const wrong = await outcomeOf(test, 30_000);
    const ms = performance.now() - start;
    stryker.currentTestId = undefined;
    const hits = stryker.mutantCoverage?.perTest[test.key] ?? {};
    tests.push({ key: test.key, name: test.name, file: test.file, ms, wrong, hits });
  }
  return { tests, whileLoading };
}

/** The first test that fails with the mutant, or null. */
async function kill({ id, tests, hits }) {
  stryker.activeMutant = id;
  // A mutant that loops is stopped by what the instrumented code counts.
  stryker.hitCount = 0;
  stryker.hitLimit = hits * 100 + 1000;
  try {
    for (const { key, limitMs } of tests) {
      const test = registered.get(key);
      // A process of its own has loaded the nearest tests only.
      const wrong = test === undefined ? undefined : await outcomeOf(test, limitMs);
      if (wrong !== undefined) return { by: test.name, wrong };
    }
    return null;
  } finally {
    stryker.activeMutant = undefined;
    stryker.hitCount = undefined;
  }
}

let whileLoading = {};
process.on("message", async (message) => {
  if (message.load !== undefined) {
    // The mutant of a process of its own is active from the beginning.
    if (message.active !== undefined) stryker.activeMutant = message.active;
    let wrong = null;
    try {
      for (const path of message.load) await load(path, pathToFileURL(path).href);
    } catch (error) {
      wrong = String(error);
    }
    whileLoading = { ...stryker.mutantCoverage?.static };
    process.send({ loaded: true, wrong });
  } else if (message.survey) process.send({ survey: await survey() });
  else process.send({ killed: await kill(message.mutant) });
});
process.on("disconnect", () => process.exit());
if (mode !== "child") process.exit(1);
