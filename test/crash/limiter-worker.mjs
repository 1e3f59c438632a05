// A process that makes calls through a rate limiter as fast as it may. Each grant goes into a log, with the instant of
// the place at which it was taken.
import { openSync, writeSync } from "node:fs";
import { SqliteSharedState } from "../../dist/index.js";
import { RateLimiter } from "../../dist/policies/index.js";

const { path, log, name, limits, times } = JSON.parse(process.argv[2]);
const file = openSync(log, "a");
const state = new SqliteSharedState(path, { busyTimeoutMs: 10_000 });
const sharedState = {
  sharing: state.sharing,
  async update(key, change) {
    const answer = await state.update(key, change);
    for (let i = 0; i < (answer.granted ?? 0); i++) writeSync(file, `${answer.at}\n`);
    return answer;
  },
  close: () => state.close(),
};

const limiter = new RateLimiter({ name, limits, sharedState, maxWaitMs: Infinity });
process.stdout.write("up\n");
await Promise.all(Array.from({ length: times }, () => limiter.execute(() => 1)));
await state.close();
