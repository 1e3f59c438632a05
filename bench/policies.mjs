// What a policy costs per call, beside the least work possible and beside its peers. See README.md.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { installPeers } from "./install.mjs";
import { pairedRounds } from "./measure.mjs";
import { readOptions, report, row } from "./report.mjs";

const { rounds, quick, json } = readOptions({ rounds: 15, quickRounds: 3 });
const SAMPLE_MS = quick ? 5 : 20;
installPeers();
const [{ fn }, { loopOf }, { floor }, { ours }, { peers }, { flatSamples }] = await Promise.all(
  ["operation", "loop", "floor", "ours", "peers", "flat"].map((name) => import(`./policies/${name}.mjs`)),
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
    name: work === "pipeline" ? "retry + breaker + bulkhead + timeout" : work,
    unit: "x bare await",
    ours: ratio("ours"),
    floor: ratio("floor"),
    peers: Object.fromEntries(measured.map((name) => [name, ratio(name)])),
    limit,
    limitOf,
  });
};

const inChild = (name, flags, ...args) => {
  const path = fileURLToPath(new URL(`policies/${name}.mjs`, import.meta.url));
  return JSON.parse(execFileSync(process.execPath, ["--expose-gc", ...flags, path, ...args], { encoding: "utf8" }));
};
const inBytes = (name, { ours: ourBytes, floor: floorBytes, ...peerBytes }, limit) =>
  row({ name, unit: "bytes", ours: ourBytes, floor: floorBytes, peers: peerBytes, limit, limitOf: "ours" });

const allocated = inChild("allocation", ["--min-semi-space-size=256", "--max-semi-space-size=256"], String(rounds));

const breakers = {};
for (const name of ["ours", "floor", "alfred", "cockatiel", "opossum"]) breakers[name] = inChild("breakers", [], name);
const ofBreakers = (figure) => Object.fromEntries(Object.entries(breakers).map(([name, of]) => [name, of[figure]]));
const { ours: ourIdle, floor: floorIdle, ...peerIdle } = ofBreakers("idleMs");

/** What a failing call costs with 30 000 calls in the window, over what it costs with none. */
const growth = {};
for (const [name, { empty, full }] of Object.entries(flatSamples))
  growth[name] = (await pairedRounds(quick ? 1 : 9, empty, { full })).contenders.full.ratio;
const { ours: ourGrowth, ...peerGrowth } = growth;

const rows = [
  timeRow("retry", 3),
  timeRow("breaker closed", 2.5),
  timeRow("breaker closed, time window", 1.5, "ratioToFloor"),
  timeRow("breaker open, thrown", 35),
  timeRow("breaker open, as a value", 1.5),
  timeRow("timeout", 1.7, "ratioToFloor"),
  timeRow("bulkhead", 3),
  timeRow("rate limiter", 1.5, "ratioToFloor"),
  timeRow("pipeline", 9),
  inBytes("the four, allocated per call", allocated, 2000),
  row({
    name: "failing call, window of 30 000 calls over an empty one",
    unit: "ratio",
    ours: ourGrowth,
    floor: 1,
    peers: peerGrowth,
    limit: 1.25,
    limitOf: "ours",
  }),
  inBytes("100 000 breakers, heap of each", ofBreakers("bytes"), 500),
  row({
    name: "100 000 breakers, idle",
    unit: "ms of CPU per s",
    ours: ourIdle,
    floor: floorIdle,
    peers: peerIdle,
    limit: 10,
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
