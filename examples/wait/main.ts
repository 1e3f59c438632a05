// A wait is durable: its end is stored when it begins, so another process on the same file waits for the rest only.
import { createEngine, SqliteStore, wait, Workflow } from "holdfast";

const WAIT_MS = 1000;
const reminder = new Workflow({ id: "reminder" })
  .addNode("note", (text: string) => {
    console.log(`noted: ${text}`);
    return { text, notedAt: Date.now() };
  })
  .addNode("pause", wait<{ text: string; notedAt: number }>({ until: ({ notedAt }) => notedAt + WAIT_MS }))
  .addNode("remind", ({ text, notedAt }: { text: string; notedAt: number }) => {
    return Date.now() >= notedAt + WAIT_MS ? `It is time: ${text}` : `Too early: ${text}`;
  })
  .connect("note", "pause")
  .connect("pause", "remind");

const first = createEngine({ store: new SqliteStore("wait.db"), workflows: [reminder] });
await first.start(reminder, "buy milk", { runId: "milk" });
await new Promise((resolve) => setTimeout(resolve, WAIT_MS / 2));
console.log("left:", (await first.close()).left.join());

const second = createEngine({ store: new SqliteStore("wait.db"), workflows: [reminder] });
const { resumed } = await second.recover();
for (const { result } of resumed) console.log((await result).output);
const { events } = (await second.history("milk"))!;
console.log("waits begun:", events.filter(({ kind }) => kind === "invocation_sleeping").length);
await second.close();
