// A process that takes a shared lock again and again and writes into a log while it holds it, until its file says that
// it is enough. Somebody stops and kills it meanwhile.
import { existsSync, openSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { ResourceLock, SqliteSharedState } from "../../dist/index.js";

const { path, log, done, who, leaseMs, holdMs } = JSON.parse(process.argv[2]);
const file = openSync(log, "a");
const note = (what, token) => writeSync(file, `${JSON.stringify([who, what, token])}\n`);

const state = new SqliteSharedState(path, { busyTimeoutMs: 10_000 });
const lock = new ResourceLock({ name: "ledger", lease: state, leaseMs });

process.stdout.write("up\n");
while (!existsSync(done)) {
  const permit = await lock.acquire(who);
  const token = permit.fencingToken;
  permit.signal.addEventListener("abort", () => note("lost", token));
  note("begins", token);
  await sleep(holdMs);
  // Nothing comes between this look and the note, unless the process is stopped right there.
  if (!permit.signal.aborted) note("ends", token);
  permit.release();
}
await state.close();
