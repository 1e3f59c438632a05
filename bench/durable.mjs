// What a durable step of 1 kB costs, beside the least work possible and beside LangGraph.js. See README.md.
import { installPeers } from "./install.mjs";
import { pairedRounds } from "./measure.mjs";
import { readOptions, report, row } from "./report.mjs";

const { rounds, quick, json } = readOptions({ rounds: 9, quickRounds: 2 });
installPeers();
const [{ floor }, { ours }, { langgraph }, { bytesIn, newFile, removeFiles }] = await Promise.all(
  ["floor", "ours", "langgraph", "disk"].map((name) => import(`./durable/${name}.mjs`)),
);

const PEER = "LangGraph.js (synchronous=NORMAL)";
const runAll = (engine, runs, steps) =>
  Promise.all(Array.from({ length: runs }, (_, i) => engine.run(`run-${i}`, steps)));

/** Microseconds per step, of an engine on a file of its own that has done one small run before. */
const timed = (open, runs, steps) => async () => {
  const engine = await open(newFile());
  await engine.run("warm-up", 5);
  const start = process.hrtime.bigint();
  await runAll(engine, runs, steps);
  const nanoseconds = Number(process.hrtime.bigint() - start);
  await engine.close();
  return nanoseconds / 1000 / (runs * steps);
};

async function timeRow(name, runs, steps, limit) {
  const sample = (open) => timed(open, runs, steps);
  const { baseline, contenders } = await pairedRounds(rounds, sample(floor), {
    ours: sample(ours),
    langgraph: sample(langgraph),
  });
  removeFiles();
  return row({
    name: `${name} x ${steps} steps`,
    unit: "us per step",
    ours: contenders.ours.time,
    floor: baseline,
    peers: { [PEER]: contenders.langgraph.time },
    ratioToFloor: contenders.ours.ratio,
    limit,
    limitOf: "ratioToFloor",
  });
}

/** Bytes per step over what the empty database takes; as many steps in all whatever the length of a run, or pages decide. */
async function bytesPerStep(open, steps) {
  const [empty, full] = [newFile(), newFile()];
  await (await open(empty)).close();
  const engine = await open(full);
  const total = quick ? 1000 : 10_000;
  for (let i = 0; i < total / steps; i++) await engine.run(`run-${i}`, steps);
  await engine.close();
  return (bytesIn(full) - bytesIn(empty)) / total;
}

async function bytesRows() {
  const bytes = {};
  for (const [name, open] of Object.entries({ ours, floor, langgraph })) {
    const [short, long] = [await bytesPerStep(open, 10), await bytesPerStep(open, 1000)];
    bytes[name] = { short, long, growth: long / short };
    removeFiles();
  }
  const rowOf = (name, unit, figure, limit) =>
    row({
      name,
      unit,
      ours: bytes.ours[figure],
      floor: bytes.floor[figure],
      peers: { [PEER]: bytes.langgraph[figure] },
      limit,
      limitOf: "ours",
    });
  return [
    rowOf("bytes per step, 10 steps", "bytes", "short", 1700),
    rowOf("bytes per step, 1000 steps", "bytes", "long", 1700),
    rowOf("bytes per step growth", "1000 / 10 steps", "growth", 1.05),
  ];
}

process.once("exit", removeFiles);
const rows = [
  await timeRow("one run", 1, 300, 1.3),
  await timeRow("64 runs at once", 64, 20, 2),
  ...(await bytesRows()),
];
report(rows, {
  notes: [
    `Medians of ${rounds} rounds, each sample between two of the floor; ratios hold within one run only.`,
    "The floor and ours commit at synchronous=FULL. LangGraph's saver runs at synchronous=NORMAL: a power loss may take",
    "steps that it has acknowledged.",
  ],
  json,
});
process.exit();
