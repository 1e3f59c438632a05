import { createEngine, type EngineOptions, MemoryStore, type RedriveAllOptions, Workflow } from "../src/index.ts";
import { fakeRuntime } from "../src/testing/index.ts";
import type { Probe } from "./option-docs.ts";

const MINUTE = 60_000;

/** How the defaults of redriving show in what it does. */
export const REDRIVE_PROBES: Readonly<Record<string, Probe>> = {
  "EngineOptions.autoRedrive": {
    other: true,
    observe: (autoRedrive) => redrivesBy({ autoRedrive: autoRedrive as boolean | undefined }),
  },
  "AutoRedriveOptions.everyMs": {
    other: 29_999,
    observe: (everyMs) => redrivesBy({ autoRedrive: { everyMs: everyMs as number | undefined } }),
  },
  "RedriveOptions.force": {
    other: true,
    observe: async (force) => {
      const { engine, ids, calls, finish } = await failed({ maxRetries: 0 });
      await finish(engine.deadLetters.redrive(ids[0]!, { force: force as boolean | undefined }).catch(() => {}));
      return calls;
    },
  },
  "RedrivePace.staggerMs": redriveAll(5000, "staggerMs"),
  "RedrivePace.concurrency": redriveAll(2, "concurrency"),
  "RedrivePace.limit": redriveAll(2, "limit"),
  "RedriveAllOptions.dryRun": redriveAll(true, "dryRun"),
  "RedriveAllOptions.force": redriveAll(true, "force", { maxRetries: 0 }),
};

/** When three redrives of a second each begin. */
function redriveAll(other: unknown, key: keyof RedriveAllOptions, options: Partial<EngineOptions> = {}): Probe {
  return {
    other,
    observe: async (value) => {
      const { engine, calls, finish } = await failed(options);
      await finish(engine.deadLetters.redriveAll({}, { [key]: value }));
      return calls;
    },
  };
}

/** When redrives begin within ten minutes that nobody has asked for. */
async function redrivesBy(options: Partial<EngineOptions>): Promise<number[]> {
  const { engine, calls, runtime, finish } = await failed(options);
  for (let i = 0; i < 10; i++) await runtime.clock.advance(MINUTE);
  await finish(engine.close({ drainMs: MINUTE }));
  return calls;
}

/** An engine with three dead letters, and the instants at which their node is called from now on. */
async function failed(options: Partial<EngineOptions>) {
  const runtime = fakeRuntime();
  const calls: number[] = [];
  let workMs = 0;
  const workflow = new Workflow({ id: "w" }).addNode("n", async () => {
    calls.push(runtime.clock.now());
    if (workMs > 0) await runtime.clock.sleep(workMs);
    throw new Error("down");
  });
  const engine = createEngine({ store: new MemoryStore({ clock: runtime.clock }), runtime, ...options });
  const ids: string[] = [];
  for (const runId of ["a", "b", "c"]) {
    const { deadLetters } = await engine.run(workflow, undefined, { runId });
    ids.push(deadLetters[0]!.id);
  }
  calls.length = 0;
  workMs = 1000;
  const finish = async (promise: Promise<unknown>): Promise<void> => {
    let isOver = false;
    void promise.finally(() => (isOver = true));
    for (let i = 0; i < 100 && !isOver; i++) await runtime.clock.advance(1000);
    await promise;
  };
  return { runtime, calls, engine, ids, finish };
}
