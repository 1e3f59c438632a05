import { createEngine, map, MemoryStore, waitForSignal, Workflow, type WaitForSignalOptions } from "../src/index.ts";
import { FaultyStore, fakeRuntime } from "../src/testing/index.ts";
import type { Probe } from "./option-docs.ts";

/** How the defaults of maps, waits, signals and cancellations show in what they do. */
export const ENGINE_PROBES: Readonly<Record<string, Probe>> = {
  "MapOptions.items": {
    words: "the input itself, which must be an array",
    holds: async () => {
      const double = map({ run: (n: number) => n * 2 });
      const notAnArray = await outputOf(double, { n: 1 } as unknown as number[]).catch(String);
      return `${await outputOf(double, [1, 2])}` === "2,4" && String(notAnArray).includes("must be an array");
    },
  },
  "MapOptions.concurrency": {
    other: 9,
    observe: async (concurrency) => {
      let working = 0;
      let most = 0;
      const run = async (): Promise<void> => {
        most = Math.max(most, ++working);
        await new Promise((resolve) => setImmediate(resolve));
        working--;
      };
      await outputOf(map({ run, concurrency: concurrency as number }), Array.from({ length: 30 }));
      return most;
    },
  },
  "MapOptions.onItemFailure": {
    other: "collect",
    observe: (onItemFailure) => {
      const run = (): never => {
        throw new Error("down");
      };
      return outputOf(map({ run, onItemFailure: onItemFailure as "fail" }), [1]).then(
        (results) => JSON.stringify(results),
        () => "the node fails",
      );
    },
  },
  "WaitForSignalOptions.name": {
    words: "the id of the node",
    holds: async () => (await endsWith("approval", {})) && !(await endsWith("approval", { name: "other" })),
  },
  "WaitForSignalOptions.timeoutMs": {
    other: 1e9,
    observe: async (timeoutMs) => {
      const { engine } = await waiting({ timeoutMs: timeoutMs as number | undefined });
      const { wakeAt } = (await engine.get("r"))!;
      await engine.close();
      return wakeAt;
    },
  },
  "EngineOptions.pauseMs": {
    other: 1,
    observe: async (pauseMs) => {
      const runtime = fakeRuntime();
      const handle = new FaultyStore(new MemoryStore({ clock: runtime.clock }));
      handle.dieAt(2, "asked");
      const engine = createEngine({ store: handle, runtime, pauseMs: pauseMs as number | undefined });
      let stopped = false;
      engine
        .run(
          new Workflow({ id: "w" }).addNode("n", () => 1),
          undefined,
        )
        .catch(() => (stopped = true));
      for (let i = 0; i < 100; i++) await runtime.clock.advance(10_000);
      const result = stopped;
      await engine.close();
      return result;
    },
  },
  "SignalOptions.id": {
    words: "a new id",
    holds: async () => (await kept([undefined, undefined])) === 2 && (await kept(["s", "s"])) === 1,
  },
  "CancelOptions.compensate": {
    other: true,
    observe: async (compensate) => {
      let undone = 0;
      const { engine, result } = await waiting({}, () => void undone++);
      await engine.cancel("r", "enough", { compensate: compensate as boolean });
      await result;
      await engine.close();
      return undone;
    },
  },
};

/** What a node gives, in a run of its own. */
function outputOf<In, Out>(node: ReturnType<typeof map<never, Out, In>>, input: In): Promise<unknown> {
  return new Workflow({ id: "w" }).addNode("n", node).execute(input as never, { store: new MemoryStore() });
}

/** A run that waits for its signal, behind a node that can be undone. */
async function waiting(options: WaitForSignalOptions, compensate: () => void = () => {}) {
  const runtime = fakeRuntime();
  const store = new MemoryStore({ clock: runtime.clock });
  const workflow = new Workflow({ id: "w" })
    .addNode("before", () => 1, { compensate })
    .addNode("approval", waitForSignal(options))
    .connect("before", "approval");
  const engine = createEngine({ store, runtime });
  const { result } = await engine.start(workflow, undefined, { runId: "r" });
  result.catch(() => {});
  await settled();
  return { engine, store, result };
}

/** Whether a run that waits ends with a signal of this name. */
async function endsWith(name: string, options: WaitForSignalOptions): Promise<boolean> {
  const { engine } = await waiting(options);
  await engine.signal("r", name).catch(() => {});
  await settled();
  const { status } = (await engine.get("r"))!;
  await engine.close();
  return status === "completed";
}

/** How many signals are kept for a run that is told the same under these ids. */
async function kept(ids: readonly (string | undefined)[]): Promise<number> {
  const { engine, store } = await waiting({ name: "never sent" });
  // This one knows nothing of the workflow, so that it takes any name.
  const stranger = createEngine({ store, runtime: fakeRuntime() });
  for (const id of ids) await stranger.signal("r", "approval", null, { id });
  const { length } = await store.signals({ runId: "r" });
  await engine.close();
  return length;
}

/** Lets everything happen that needs no time. */
async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
}
