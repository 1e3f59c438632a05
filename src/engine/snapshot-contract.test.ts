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
  for (const field of ["workflowId", "fingerprint", "input", "invocations", "ended", "steps"] as const) {
    it(`its ${field} (C6.2)`, async () => {
      await find(KILLED).run();
      forgotten = field;
      await expect(find(KILLED).run()).rejects.toThrow();
      // A run that knows nothing of its nodes waits for ever.
      forget();
    });
  }
});
