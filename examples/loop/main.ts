// A loop goes round until its condition says no, and each visit is an invocation of its own; a limit ends one that
// would never.
import { MemoryStore, type NodeContext, Workflow } from "holdfast";

interface Draft {
  text: string;
  round: number;
}

const store = new MemoryStore();

function writing(maxNodeInvocations: number, enough: number) {
  return new Workflow({ id: `writing-${maxNodeInvocations}`, maxNodeInvocations })
    .addNode("draft", ({ text, round }: Draft, { invocationId }: NodeContext) => {
      if (round < 4) console.log(`${invocationId} works on "${text}"`);
      return { text: `${text}!`, round: round + 1 };
    })
    .addNode("judge", (draft: Draft) => ({ ...draft, good: draft.round >= enough }))
    .addNode("publish", ({ text }: Draft) => `published: ${text}`)
    .connect("draft", "judge")
    .connect("judge", "draft", undefined, { when: ({ good }) => !good })
    .connect("judge", "publish", undefined, { when: ({ good }) => good });
}

console.log(await writing(20, 3).execute({ text: "hello", round: 0 }, { store }));

const endless = writing(10, Infinity).execute({ text: "hello", round: 100 }, { store, runId: "endless" });
await endless.catch((error: Error) => console.log(error.message));
