// A process that counts up in a shared state while somebody kills it. Each count that it was told goes into a log that
// outlives it, before it asks for the next one.
import { openSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { SqliteSharedState } from "../../dist/index.js";

const { path, log, times, inTwoSteps } = JSON.parse(process.argv[2]);
const file = openSync(log, "a");
const state = new SqliteSharedState(path, { busyTimeoutMs: 10_000 });

const put = (next) => ({ next, keepMs: 60_000, result: next });

// As a state would whose updates are not atomic: it reads, and writes what it makes of that.
async function countInTwoSteps() {
  const last = await state.update("count", (value = 0) => put(value));
  await sleep(1);
  return state.update("count", () => put(last + 1));
}

process.stdout.write("up\n");
for (let i = 0; i < times; i++) {
  const count = await (inTwoSteps ? countInTwoSteps() : state.update("count", (last = 0) => put(last + 1)));
  writeSync(file, `${count}\n`);
}
await state.close();
