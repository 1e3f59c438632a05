// One contender in a process of its own, so that none pays for the heap and the compiled code of another. Started by
// process.mjs with the name of its file; answers each order over the channel.
import { placesOf } from "./contenders.mjs";
import { now } from "./step.mjs";

const name = process.argv[2];
const { open } = await import(`./${name}.mjs`);
const { newPlace, bytesIn, removePlaces } = await placesOf(name);

/** Microseconds from the first begin to the last end. A contender may know better when a run of it began and ended. */
async function spanOf(works) {
  const spans = await Promise.all(
    works.map(async (work) => {
      const start = now();
      return (await work()) ?? { start, end: now() };
    }),
  );
  return Math.max(...spans.map(({ end }) => end)) - Math.min(...spans.map(({ start }) => start));
}

/** `open` is told at which place, and how many runs there will be at once. */
const orders = {
  /** Microseconds per step, at a place of its own that has seen one small run before. */
  async time({ runs, steps }) {
    const engine = await open(await newPlace(), runs);
    await engine.run("warm-up", 5);
    const span = await spanOf(Array.from({ length: runs }, (_, i) => () => engine.run(`run-${i}`, steps)));
    await engine.close();
    return span / (runs * steps);
  },

  /** Bytes per step over what an empty place takes; many steps in all whatever the length of a run, or pages decide. */
  async bytes({ steps, total }) {
    const [empty, full] = [await newPlace(), await newPlace()];
    await (await open(empty, 1)).close();
    const engine = await open(full, 1);
    for (let i = 0; i < total / steps; i++) await engine.run(`run-${i}`, steps);
    await engine.close();
    return ((await bytesIn(full)) - (await bytesIn(empty))) / total;
  },

  /** Brings a run to its last step, which does not end, and answers: this process is to be killed now. */
  async leave({ place, steps }) {
    await (await open(place, 1)).leave("left", steps);
  },

  /** Milliseconds from nothing to the end of a run that another process has left at its last step. */
  async finish({ place, steps }) {
    const start = now();
    const engine = await open(place, 1);
    await engine.finish("left", steps);
    const span = now() - start;
    await engine.close();
    return span / 1000;
  },

  /** Runs of one step that have ended. */
  async fill({ place, runs }) {
    const atOnce = 1000;
    const engine = await open(place, atOnce);
    for (let done = 0; done < runs; done += atOnce) {
      const length = Math.min(atOnce, runs - done);
      await Promise.all(Array.from({ length }, (_, i) => engine.run(`done-${done + i}`, 1)));
    }
    await engine.close();
  },

  /** Milliseconds from nothing to the end of the first run, of one step. */
  async begin({ place, id }) {
    const start = now();
    const engine = await open(place, 1);
    await engine.run(id, 1);
    const span = now() - start;
    await engine.close();
    return span / 1000;
  },
};

process.on("message", async ({ order, options }) => {
  const answer = await orders[order](options).then(
    (value) => ({ answer: value }),
    (error) => ({ failure: error.stack }),
  );
  // The next order comes with the answer.
  await removePlaces();
  process.send(answer);
});
process.on("disconnect", () => process.exit());
