import { afterEach, describe, expect, it, vi } from "vitest";
import { embeddedEngine } from "../../test/embedded-engine.ts";
import { forget } from "../../test/leak-oracle.ts";
import { MemoryStore } from "../stores/memory.ts";
import { engineContract } from "../testing/engine-contract.ts";
import { newRunState, type RunState } from "../workflow/run-state.ts";

let forgotten: keyof RunState | undefined;
vi.mock("./snapshot.ts", async (original) => {
  const snapshot = await original<typeof import("./snapshot.ts")>();
  const encodeSnapshot = (state: RunState): Uint8Array =>
    snapshot.encodeSnapshot(forgotten === undefined ? state : { ...state, [forgotten]: newRunState()[forgotten] });
  return { ...snapshot, encodeSnapshot };
});
afterEach(() => (forgotten = undefined));

const find = (start: string) =>
  engineContract(embeddedEngine((clock) => new MemoryStore({ clock }))).find(({ title }) => title.startsWith(start))!;

// A snapshot that leaves something out must not get through.
describe("the contract of engines finds a snapshot without", () => {
  const KILLED = "a run whose state is stored with each commit ends as any other";
  for (const field of ["workflowId", "input", "invocations", "ended", "steps"] as const) {
    it(`its ${field} (C6.2)`, async () => {
      await find(KILLED).run();
      forgotten = field;
      await expect(find(KILLED).run()).rejects.toThrow();
      // A run that knows nothing of its nodes waits for ever.
      forget();
    });
  }
});

/** Cases that count or hold up the writes of a run, of which there are twice as many here. */
const COUNTING = [
  "a life that ends between two steps",
  "nothing is announced before it is stored",
  "the input of a run comes to its nodes",
  "when the store fails, the run stops",
  "a run is not carried on with another definition",
  "the state before the damage is used",
  "the tail of an ended run that vanished whole",
  "a redrive whose process died",
  "what nodes have finished when a run is aborted",
  "a run that waits for its turn or is being opened",
  "no node is started by what was being stored while the engine closed",
  "a process that dies at any write of a cancellation",
  "a run with few events stores no state",
  "a run pauses while its store is in trouble, at any write",
  "a process that was only kept from its store",
  "a blob that is gone stops the run",
];

// All that a life of a run leaves to the next one goes through snapshots here.
describe("an engine that stores its state with each commit keeps the contract of engines", () => {
  const subject = embeddedEngine((clock) => new MemoryStore({ clock }));
  const { newEngine } = subject;
  subject.newEngine = (store, runtime, limits, workflows) =>
    newEngine(store, runtime, { snapshots: { minEvents: 1, bytesPerEvent: Infinity }, ...limits }, workflows);
  const cases = engineContract(subject);
  const isCounting = ({ title }: { title: string }): boolean => COUNTING.some((start) => title.startsWith(start));
  it("but for the cases that count writes", () => expect(cases.filter(isCounting)).toHaveLength(COUNTING.length));
  for (const { title, run } of cases.filter((found) => !isCounting(found))) it(title, run);
});
