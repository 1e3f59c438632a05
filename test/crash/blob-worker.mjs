// Carries a run with large values out, and kills itself at a moment it is told: after how many blobs or journal writes.
import { createEngine, FileBlobs, SqliteStore, Workflow } from "../../dist/index.js";

const { path, folder, dieAfter } = JSON.parse(process.argv[2]);
const die = (what, n) => {
  if (dieAfter?.what === what && dieAfter.n === n) process.kill(process.pid, "SIGKILL");
};

class MortalBlobs extends FileBlobs {
  #puts = 0;
  async put(bytes) {
    const name = await super.put(bytes);
    die("put", ++this.#puts);
    return name;
  }
}

class MortalStore extends SqliteStore {
  #appends = 0;
  async append(record) {
    die("asked", ++this.#appends);
    await super.append(record);
    die("stored", this.#appends);
  }
}

const workflow = new Workflow({ id: "large" })
  .addNode("make", (length) => "x".repeat(length))
  .addNode("turn", (text) => text.replaceAll("x", "y"))
  .addNode("count", (text) => [text.length, text[0]])
  .connect("make", "turn")
  .connect("turn", "count");

const blobs = new MortalBlobs(folder);
const engine = createEngine({ store: new MortalStore(path), blobs, journaledBytes: 1000, leaseMs: 1000 });
const { output } = await engine.run(workflow, 100_000, { runId: "r" });
const swept = await engine.sweepBlobs({ olderThanMs: 0 });
let left = 0;
for await (const _ of blobs.list()) left++;
process.stdout.write(JSON.stringify({ output, swept: swept.length, left }));
await engine.close();
