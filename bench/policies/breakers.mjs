// What 100 000 breakers take while nobody uses them, as JSON: bytes of heap each, and milliseconds of CPU per second.
// Run with --expose-gc and the name of a contender, since what one has left behind would be counted to the next.
import { setTimeout as sleep } from "node:timers/promises";

const COUNT = 100_000;
const fn = async () => 1;

const makers = {
  async floor() {
    class Breaker {
      open = false;
      failures = 0;
      threshold = 5;
    }
    return () => new Breaker();
  },
  async ours() {
    const { CircuitBreaker } = await import("../../dist/policies/index.js");
    return (i) => new CircuitBreaker({ name: `customer ${i}` });
  },
  async alfred() {
    const { circuitBreaker } = await import("@git-stunts/alfred");
    return () => circuitBreaker({ threshold: 5, duration: 60_000 });
  },
  async cockatiel() {
    const { circuitBreaker, ConsecutiveBreaker, handleAll } = await import("cockatiel");
    return () => circuitBreaker(handleAll, { halfOpenAfter: 60_000, breaker: new ConsecutiveBreaker(5) });
  },
  async opossum() {
    const { default: Opossum } = await import("opossum");
    return () => new Opossum(fn, {});
  },
};

const make = await makers[process.argv[2]]();
const breakers = Array.from({ length: COUNT }, () => null);
for (let i = 0; i < 100; i++) make(i);
globalThis.gc();
const before = process.memoryUsage().heapUsed;
for (let i = 0; i < COUNT; i++) breakers[i] = make(i);
globalThis.gc();
const bytes = (process.memoryUsage().heapUsed - before) / COUNT;
// Whatever creating them has left to do is done.
await sleep(500);
globalThis.gc();
const cpu = process.cpuUsage();
const start = process.hrtime.bigint();
await sleep(2000);
const used = process.cpuUsage(cpu);
const seconds = Number(process.hrtime.bigint() - start) / 1e9;
console.log(JSON.stringify({ bytes, idleMs: (used.user + used.system) / 1000 / seconds, of: breakers.length }));
process.exit();
