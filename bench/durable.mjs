// What a durable step of 1 kB costs, beside the least work possible and beside its peers. See README.md.
import { newPlace, removePlaces } from "./durable/disk.mjs";
import { CONTENDERS, PEERS, placesOf } from "./durable/contenders.mjs";
import { askOnce, ContenderProcess } from "./durable/process.mjs";
import { startPostgres } from "./durable/postgres-server.mjs";
import { installPeers } from "./install.mjs";
import { median, pairedRounds } from "./measure.mjs";
import { readOptions, report, row } from "./report.mjs";

const { rounds, quick, json } = readOptions({ rounds: 9, quickRounds: 2 });
installPeers();

const postgres = await startPostgres();
process.env.BENCH_POSTGRES = postgres?.url ?? "";

/** Who of these can do so many steps here, and why the others cannot. */
function askable(names, steps, { takeover = false } = {}) {
  const why = (name) => {
    const { places, mostSteps = Infinity, takeover: obstacle } = CONTENDERS[name];
    if (places === "databases" && postgres === undefined) return "not measured, no Postgres";
    if (steps > mostSteps) return `not measured, ${mostSteps} steps at most`;
    return takeover && obstacle !== undefined ? `not measured, ${obstacle}` : undefined;
  };
  const unable = Object.fromEntries(
    names.map((name) => [name, why(name)]).filter(([, reason]) => reason !== undefined),
  );
  return { able: names.filter((name) => !(name in unable)), unable };
}

const processes = new Map();
const ask = (name, order, options) => {
  if (!processes.has(name)) processes.set(name, new ContenderProcess(name));
  return processes.get(name).ask(order, options);
};

/** A row in which some are peers and one is beside them, by their labels. */
function durableRow({ floor, ours, insert, ...peers }, rest) {
  const labelled = Object.entries(peers).map(([name, figure]) => [CONTENDERS[name].label, figure]);
  const beside = insert === undefined ? {} : { [CONTENDERS.insert.label]: insert };
  return row({ ours, floor, peers: Object.fromEntries(labelled), beside, ...rest });
}

async function timeRow(name, runs, steps, limit) {
  const sample = (contender) => () => ask(contender, "time", { runs, steps });
  const { able, unable } = askable(["ours", ...PEERS, "insert"], steps);
  // Compiled code comes with use: the short samples would otherwise measure the interpreter.
  for (const contender of ["floor", ...able]) for (let i = 0; i < (quick ? 1 : 5); i++) await sample(contender)();
  const samples = Object.fromEntries(able.map((contender) => [contender, sample(contender)]));
  const { baseline, contenders } = await pairedRounds(rounds, sample("floor"), samples);
  const figures = Object.fromEntries(Object.entries(contenders).map(([contender, { time }]) => [contender, time]));
  const ratioToFloor = contenders.ours.ratio;
  const unit = "us per step";
  return durableRow(
    { floor: baseline, ...figures, ...unable },
    { name: `${name} x ${steps} steps`, unit, ratioToFloor, limit, limitOf: "ratioToFloor" },
  );
}

async function bytesRows(lengths) {
  const figures = new Map();
  for (const steps of lengths) {
    const { able, unable } = askable(["floor", "ours", ...PEERS], steps);
    const bytes = { ...unable };
    for (const name of able) {
      // Where each step is a synced commit of its own, as in Postgres, many take long.
      const total = quick || CONTENDERS[name].places === "databases" ? 2000 : 10_000;
      bytes[name] = await ask(name, "bytes", { steps, total: Math.max(steps, total) });
    }
    figures.set(steps, bytes);
  }
  const rows = [...figures].map(([steps, bytes]) => {
    const name = `bytes per step, ${steps} steps`;
    return durableRow(bytes, { name, unit: "bytes", limit: 1700, limitOf: "ours" });
  });
  const [short, long] = [lengths[0], lengths.at(-1)];
  const growth = Object.entries(figures.get(long)).map(([name, bytes]) => [
    name,
    typeof bytes === "number" ? bytes / figures.get(short)[name] : bytes,
  ]);
  const last = { name: "bytes per step growth", unit: `${long} / ${short} steps`, limit: 1.05, limitOf: "ours" };
  return [...rows, durableRow(Object.fromEntries(growth), last)];
}

/** Medians of samples that take turns, so that a slow minute of the machine is everybody's. */
async function medians(names, sampleOf) {
  const samples = names.map((name) => [name, []]);
  for (let round = 0; round < rounds; round++) for (const [name, values] of samples) values.push(await sampleOf(name));
  return Object.fromEntries(samples.map(([name, values]) => [name, median(values)]));
}

/**
 * Carrying on a run that a killed process has left at its last step: in a process that has done so before, whose code
 * is compiled, and in a new one. Each step is two events, its start and its end.
 */
async function replayRows(events) {
  const steps = events / 2;
  const { able, unable } = askable(["floor", "ours", ...PEERS], steps, { takeover: true });
  const left = {};
  for (const name of able) {
    left[name] = await (await placesOf(name)).newPlace();
    const contender = new ContenderProcess(name);
    await contender.ask("leave", { place: left[name], steps });
    await contender.kill();
  }
  const finishWith = (asked) => async (name) => {
    const { copyOf, removePlace } = await placesOf(name);
    const place = await copyOf(left[name]);
    const time = await asked(name, "finish", { place, steps });
    await removePlace(place);
    return time;
  };
  for (let i = 0; i < (quick ? 1 : 5); i++) for (const name of able) await finishWith(ask)(name);
  const name = `replay of ${events} events`;
  const again = await medians(able, finishWith(ask));
  const first = await medians(able, finishWith(askOnce));
  return [
    durableRow({ ...again, ...unable }, { name, unit: "ms", limit: 50, limitOf: "ours" }),
    durableRow({ ...first, ...unable }, { name: `${name}, new process`, unit: "ms" }),
  ];
}

/** The first run of a new process, on a store of many runs that have ended. The peers would take minutes to fill one. */
async function startRow(runs) {
  const names = ["floor", "ours"];
  const places = {};
  for (const name of names) {
    places[name] = newPlace();
    await askOnce(name, "fill", { place: places[name], runs });
  }
  let begun = 0;
  const begin = (name) => askOnce(name, "begin", { place: places[name], id: `begun-${begun++}` });
  const rest = { unit: "ms to the end of the first run", limit: 200, limitOf: "ours" };
  return durableRow(await medians(names, begin), { name: `start on ${runs} finished runs`, ...rest });
}

try {
  const rows = [
    await timeRow("one run", 1, quick ? 50 : 300, 1.3),
    await timeRow("64 runs at once", 64, 20, 2),
    ...(await bytesRows(quick ? [10, 100, 1000] : [10, 1000, 10_000])),
    ...(await replayRows(quick ? 1000 : 10_000)),
    await startRow(quick ? 1000 : 100_000),
  ];
  report(rows, {
    notes: [
      `Medians of ${rounds} rounds; times per step lie between two of the floor each, and ratios hold within one run only.`,
      "Each contender lives in a process of its own. The floor and ours commit at synchronous=FULL. LangGraph's saver runs",
      "at synchronous=NORMAL: a power loss may take steps that it has acknowledged. Postgres runs with its own defaults.",
    ],
    json,
    eachPeer: true,
    alsoUsed: postgres && { postgres: postgres.version },
  });
} finally {
  // Before Postgres ends, which ends with this process: they would complain.
  for (const contender of processes.values()) await contender.kill();
  removePlaces();
}
process.exit();
