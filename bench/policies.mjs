// What a policy costs per call, beside the least work possible and beside its peers. See README.md.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { installPeers } from "./install.mjs";
import { pairedRounds } from "./measure.mjs";
import { readOptions, report, row } from "./report.mjs";

const { rounds, quick, json } = readOptions({ rounds: 15, quickRounds: 3 });
const SAMPLE_MS = quick ? 5 : 20;
installPeers();
const [{ fn }, { loopOf }, { floor }, { ours }, { peers }] = await Promise.all(
  ["operation", "loop", "floor", "ours", "peers"].map((name) => import(`./policies/${name}.mjs`)),
);

const timed = (loop) => async (n) => {
  const start = process.hrtime.bigint();
  await loop(n);
  const nanoseconds = Number(process.hrtime.bigint() - start);
  await new Promise((resolve) => setImmediate(resolve)); // timers and finalizers get their turn outside the sample
  return nanoseconds / n;
};

/** Answers a sample of about `ms`, once the loop is compiled and its speed is known. */
async function sampler(operation, ms) {
  const time = timed(loopOf(operation));
  let calls = 20;
  for (let i = 0; i < 8; i++) calls = Math.max(20, Math.min(calls * 10, Math.round((ms * 1e6) / (await time(calls)))));
  return () => time(calls);
}

const samples = {};
for (const [contender, operations] of Object.entries({ floor, ours, ...peers }))
  for (const [work, operation] of Object.entries(operations))
    samples[`${work}|${contender}`] = await sampler(operation, SAMPLE_MS);
const bareAwait = await sampler(fn, SAMPLE_MS / 4);
const { baseline, contenders } = await pairedRounds(rounds, bareAwait, samples);

const timeRow = (work, limit, limitOf = "ours") => {
  const ratio = (contender) => contenders[`${work}|${contender}`]?.ratio;
  const measured = Object.keys(peers).filter((name) => work in peers[name]);
  return row({
    name: work === "pipeline" ? "pipeline retry + breaker + timeout" : work,
    unit: "x bare await",
    ours: ratio("ours"),
    floor: ratio("floor"),
    peers: Object.fromEntries(measured.map((name) => [name, ratio(name)])),
    limit,
    limitOf,
  });
};

const roomy = ["--expose-gc", "--min-semi-space-size=256", "--max-semi-space-size=256"];
const allocation = fileURLToPath(new URL("policies/allocation.mjs", import.meta.url));
const bytes = JSON.parse(execFileSync(process.execPath, [...roomy, allocation, String(rounds)], { encoding: "utf8" }));
const { ours: ourBytes, floor: floorBytes, ...peerBytes } = bytes;

const rows = [
  timeRow("retry", 3),
  timeRow("breaker closed", 2.5),
  timeRow("breaker open, thrown", 35),
  timeRow("breaker open, as a value", 1.5),
  timeRow("timeout", 1.7, "ratioToFloor"),
  timeRow("pipeline", 9),
  row({
    name: "pipeline, allocated per call",
    unit: "bytes",
    ours: ourBytes,
    floor: floorBytes,
    peers: peerBytes,
    limit: 2000,
    limitOf: "ours",
  }),
];
report(rows, {
  notes: [
    `A bare await took ${baseline.toFixed(0)} ns. Medians of ${rounds} rounds of ${SAMPLE_MS} ms; ratios hold within one run only.`,
  ],
  json,
});
process.exit();
