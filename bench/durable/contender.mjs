// One contender in a process of its own, so that none pays for the heap and the compiled code of another. Started by
// ../durable.mjs with the name of its file; answers each order over the channel.
import { bytesIn, newFile, removeFiles } from "./disk.mjs";

const name = process.argv[2];
const { [name]: open } = await import(`./${name}.mjs`);

const orders = {
  /** Microseconds per step, on a file of its own that has done one small run before. */
  async time({ runs, steps }) {
    const engine = await open(newFile());
    await engine.run("warm-up", 5);
    const start = process.hrtime.bigint();
    await Promise.all(Array.from({ length: runs }, (_, i) => engine.run(`run-${i}`, steps)));
    const nanoseconds = Number(process.hrtime.bigint() - start);
    await engine.close();
    return nanoseconds / 1000 / (runs * steps);
  },

  /** Bytes per step over what the empty database takes; as many steps in all whatever the length of a run, or pages decide. */
  async bytes({ steps, total }) {
    const [empty, full] = [newFile(), newFile()];
    await (await open(empty)).close();
    const engine = await open(full);
    for (let i = 0; i < total / steps; i++) await engine.run(`run-${i}`, steps);
    await engine.close();
    return (bytesIn(full) - bytesIn(empty)) / total;
  },
};

process.on("message", async ({ order, options }) => {
  try {
    process.send({ answer: await orders[order](options) });
  } catch (error) {
    process.send({ failure: error.stack });
  } finally {
    removeFiles();
  }
});
process.on("disconnect", () => process.exit());
