// A process that calls through a breaker which it shares with others, and writes into their log what it does as a
// probe, until its file says that it is enough. Somebody kills it meanwhile. The service is down until it is well.
import { existsSync, openSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { CircuitBreaker, SqliteSharedState } from "../../dist/index.js";

const { path, log, well, done, who, probeMs, options } = JSON.parse(process.argv[2]);
const file = openSync(log, "a");
const note = (what) => writeSync(file, `${JSON.stringify([who, what, Date.now()])}\n`);

const sharedState = new SqliteSharedState(path, { busyTimeoutMs: 10_000 });
const breaker = new CircuitBreaker({ name: "crm", sharedState, ...options });

async function operation() {
  if (existsSync(well)) return;
  // Until its file answers, and should that ever take more than a second, each process has probes of its own.
  const { state, shared } = breaker.getState();
  if (state === "half_open" && shared.attached) {
    note("begins");
    await sleep(probeMs);
    note("ends");
  }
  throw new Error("down");
}

process.stdout.write("up\n");
let before = breaker.state;
while (!existsSync(done)) {
  await breaker.executeOutcome(operation);
  if (breaker.state !== before) note((before = breaker.state));
  await sleep(2);
}
await sharedState.close();
