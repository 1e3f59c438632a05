import { MemoryStore } from "../src/stores/memory.ts";
import { FaultyStore } from "../src/testing/faulty-store.ts";
import { type FakeRuntime, fakeRuntime } from "../src/testing/fake-clock.ts";
import { Workflow } from "../src/workflow.ts";
import { Engine } from "../src/engine/engine.ts";
import type { EngineOptions } from "../src/engine/engine-options.ts";
import type { RedriveReport } from "../src/engine/redriving.ts";

/** A workflow of one node, whose input is the name of what it works on. */
type NamedWork = Workflow<{ node: { input: string; output: string; handsOff: false } }>;

/**
 * Engines on one store whose workflow fails for the inputs that are in `broken`, and takes as long as `workMs` says.
 * What they leave is to be closed when a test is over.
 */
export class LetterWorld {
  readonly runtime: FakeRuntime = fakeRuntime();
  readonly store: MemoryStore = new MemoryStore({ clock: this.runtime.clock });
  readonly broken: Set<string> = new Set();
  readonly begun: [name: string, at: number][] = [];
  workMs = 0;
  readonly #engines: Engine[] = [];

  readonly work: NamedWork = this.workflow("work");

  workflow(id: string): NamedWork {
    return new Workflow({ id }).addNode("node", async (name: string, { signal }) => {
      this.begun.push([name, this.runtime.clock.wallNow()]);
      if (this.workMs > 0) await this.runtime.clock.sleep(this.workMs, signal);
      if (this.broken.has(name)) throw Object.assign(new TypeError(`no ${name}`), { code: `E_${name[0]}` });
      return name;
    }) as never;
  }

  engine(options: Partial<EngineOptions> = {}): Engine {
    const { store, runtime } = this;
    const engine = new Engine({ store: new FaultyStore(store), runtime, workflows: [this.work], ...options });
    this.#engines.push(engine);
    return engine;
  }

  /** Leaves a dead letter for each name, a second apart; gives their ids. */
  async fail(engine: Engine, ...names: string[]): Promise<string[]> {
    const ids: string[] = [];
    for (const name of names) {
      this.broken.add(name);
      const { deadLetters } = await engine.run(this.work, name, { runId: name });
      ids.push(deadLetters[0]!.id);
      await this.runtime.clock.advance(1000);
    }
    this.begun.length = 0;
    return ids;
  }

  async close(): Promise<void> {
    for (const engine of this.#engines.splice(0)) await engine.close();
  }

  async settle(): Promise<void> {
    for (let i = 0; i < 20; i++) await this.runtime.clock.advance(0);
  }

  async finish<T>(promise: Promise<T>, stepMs = 500): Promise<T> {
    let isSettled = false;
    promise.then(
      () => (isSettled = true),
      () => (isSettled = true),
    );
    for (let i = 0; i < 1000 && !isSettled; i++) {
      await this.settle();
      if (!isSettled) await this.runtime.clock.advance(stepMs);
    }
    return promise;
  }
}

/** What became of entries, in a line for each: the run, the outcome, and the code of what has kept it. */
export function outcomes({ entries }: RedriveReport): string[] {
  return entries.map(({ runId, outcome, skipped }) => `${runId} ${outcome}${skipped ? ` ${skipped.code}` : ""}`);
}
