// What a durable step of 1 kB costs, beside the least work possible and beside LangGraph.js. See README.md.
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { installPeers } from "./install.mjs";
import { pairedRounds } from "./measure.mjs";
import { readOptions, report, row } from "./report.mjs";

const { rounds, quick, json } = readOptions({ rounds: 9, quickRounds: 2 });
installPeers();

const PEER = "LangGraph.js (synchronous=NORMAL)";
const CONTENDERS = ["floor", "ours", "langgraph"];
const script = fileURLToPath(new URL("durable/contender.mjs", import.meta.url));
const processes = Object.fromEntries(CONTENDERS.map((name) => [name, fork(script, [name])]));

const ask = (name, order, options) =>
  new Promise((resolve, reject) => {
    const contender = processes[name];
    const ended = (code) => reject(new Error(`the contender ${name} ended with ${code} in the middle of its work`));
    contender.once("exit", ended);
    contender.once("message", ({ answer, failure }) => {
      contender.off("exit", ended);
      if (failure === undefined) resolve(answer);
      else reject(new Error(`the contender ${name} failed: ${failure}`));
    });
    contender.send({ order, options });
  });

async function timeRow(name, runs, steps, limit) {
  const sample = (contender) => () => ask(contender, "time", { runs, steps });
  // Compiled code comes with use: the short samples would otherwise measure the interpreter.
  for (const contender of CONTENDERS) for (let i = 0; i < (quick ? 1 : 5); i++) await sample(contender)();
  const { baseline, contenders } = await pairedRounds(rounds, sample("floor"), {
    ours: sample("ours"),
    langgraph: sample("langgraph"),
  });
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

async function bytesRows() {
  const total = quick ? 1000 : 10_000;
  const bytes = {};
  for (const name of CONTENDERS) {
    const short = await ask(name, "bytes", { steps: 10, total });
    const long = await ask(name, "bytes", { steps: 1000, total });
    bytes[name] = { short, long, growth: long / short };
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

const rows = [
  await timeRow("one run", 1, 300, 1.3),
  await timeRow("64 runs at once", 64, 20, 2),
  ...(await bytesRows()),
];
report(rows, {
  notes: [
    `Medians of ${rounds} rounds, each sample between two of the floor; ratios hold within one run only. Each contender`,
    "lives in a process of its own. The floor and ours commit at synchronous=FULL. LangGraph's saver runs at",
    "synchronous=NORMAL: a power loss may take steps that it has acknowledged.",
  ],
  json,
});
process.exit();
