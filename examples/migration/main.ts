// A run that failed under version 1 of its code goes on under version 2, which calls its nodes otherwise.
import { createEngine, MemoryStore, Workflow } from "holdfast";

const store = new MemoryStore();
const first = new Workflow({ id: "mail" })
  .addNode("fetch", (id: number) => ({ text: `mail ${id}` }))
  .addNode("send", (_: { text: string }): string => {
    throw new Error("version 1 cannot send");
  })
  .connect("fetch", "send");
const failed = await createEngine({ store }).run(first, 7, { runId: "mail-7" });
console.log(failed.error!.message.split(":")[0]);

const load = (id: number): { body: string } => ({ body: `loaded ${id}` });
const send = ({ body }: { body: string }): string => `sent ${body}`;
const id = failed.deadLetters[0]!.id;

const careless = new Workflow({ id: "mail", version: "2" }).addNode("load", load).addNode("send", send);
const refusing = createEngine({ store, workflows: [careless.connect("load", "send")] });
await refusing.deadLetters.redrive(id).catch((error: Error) => console.log(error.message.split(". ")[0]));

const migrations = [
  { from: "1", rename: { fetch: "load" }, outputs: { load: ({ text }: { text: string }) => ({ body: text }) } },
];
const second = new Workflow({ id: "mail", version: "2", migrations }).addNode("load", load).addNode("send", send);
const engine = createEngine({ store, workflows: [second.connect("load", "send")] });
console.log((await engine.deadLetters.redrive(id)).output);
