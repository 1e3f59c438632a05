// A process that spends from a shared budget until there is nothing left. Each charge of which it was told that it is
// written goes into a log that outlives it.
import { openSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { SqliteSharedState } from "../../dist/index.js";
import { Budget } from "../../dist/policies/index.js";

const { path, log, limit, leaseMs, pauseMs } = JSON.parse(process.argv[2]);
const file = openSync(log, "a");
const sharedState = new SqliteSharedState(path, { busyTimeoutMs: 10_000 });
const budget = new Budget({
  name: "answers",
  limitTokens: limit,
  sharedState,
  reservationLeaseMs: leaseMs,
  onExhausted: "queue",
});

process.stdout.write("up\n");
try {
  for (;;) {
    const reservation = await budget.reserveWhenFree(10);
    writeSync(file, "reserved\n");
    reservation.settle(7);
    await budget.refresh();
    writeSync(file, "charged\n");
    await sleep(pauseMs);
  }
} catch (error) {
  if (error.code !== "BUDGET_EXCEEDED") throw error;
}
await sharedState.close();
