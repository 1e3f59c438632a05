// Bytes of heap that one call of each pipeline allocates, as JSON. Run with --expose-gc and a young generation so large
// that no collection falls into a sample; samples in which one did are dropped.
import { PerformanceObserver } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { median } from "../measure.mjs";
import { floor } from "./floor.mjs";
import { loopOf } from "./loop.mjs";
import { ours } from "./ours.mjs";
import { peers } from "./peers.mjs";

const CALLS = 2000;
let collections = 0;
new PerformanceObserver((list) => (collections += list.getEntries().length)).observe({ entryTypes: ["gc"] });

async function bytesPerCall(operation, rounds) {
  const loop = loopOf(operation);
  await loop(20_000);
  const samples = [];
  for (let i = 0; i < rounds; i++) {
    globalThis.gc();
    await sleep(1); // the observer reports in a later macrotask
    collections = 0;
    const before = process.memoryUsage().heapUsed;
    await loop(CALLS);
    const after = process.memoryUsage().heapUsed;
    await sleep(1);
    if (collections === 0) samples.push((after - before) / CALLS);
  }
  if (samples.length === 0) throw new Error(`garbage was collected in all ${rounds} samples; nothing was measured`);
  return median(samples);
}

const rounds = Number(process.argv[2]);
const bytes = {};
for (const [name, { pipeline }] of Object.entries({ floor, ours, ...peers }))
  if (pipeline) bytes[name] = await bytesPerCall(pipeline, rounds);
console.log(JSON.stringify(bytes));
process.exit();
