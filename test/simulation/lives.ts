import type { Runnable } from "../../src/engine/runnable.ts";
import type { EngineUnderTest, EngineWorld, RunOutcome } from "../../src/testing/engine-world.ts";
import type { Death } from "./sketch.ts";

type World = EngineWorld<Runnable>;
type TestEngine = EngineUnderTest<Runnable>;

/** Carries one run out through several lives, each with an engine and a way to the store of its own. */
export class Lives {
  died = 0;
  readonly #world: World;
  readonly #workflow: Runnable;
  readonly #input: unknown;
  readonly #deaths: Death[];

  constructor(world: World, workflow: Runnable, input: unknown, deaths: readonly Death[]) {
    this.#world = world;
    this.#workflow = workflow;
    this.#input = input;
    this.#deaths = [...deaths];
  }

  /** Runs it until it has ended, however many of the deaths that takes. */
  async run(): Promise<RunOutcome> {
    let next: Death["next"] = "run";
    for (;;) {
      const death = this.#deaths.shift();
      const outcome = await this.#live(death, (engine) => this.#goOn(engine, next));
      if (outcome !== undefined) return outcome;
      next = death!.next;
    }
  }

  /** Redrives what has failed, one after the other, until nothing is left. */
  async redrive(): Promise<RunOutcome> {
    for (let turn = 0; turn < 100; turn++) {
      const letters = await this.#world.store.deadLetters();
      const open = letters.filter(({ runId, status }) => runId === "r" && status !== "succeeded");
      if (open.length === 0) return this.run();
      // Where a redriver has died, only the same entry may be redriven until the run has ended.
      const { id } = open.find(({ status }) => status === "retrying") ?? open[0]!;
      const death = this.#deaths.shift();
      const redriven = await this.#live(death, (engine) => engine.deadLetters.redrive(id, { force: true }));
      const letter = await this.#world.store.deadLetter(id);
      if (redriven === undefined && (death!.next !== "run" || letter?.status !== "retrying")) await this.run();
    }
    throw new Error("Redriving comes to no end.");
  }

  async #goOn(engine: TestEngine, how: Death["next"]): Promise<RunOutcome> {
    if (how === "recover") await engine.recover();
    // A life may have ended before the start of the run was stored.
    const isStarted = (await this.#world.store.read("r")).length > 0;
    if (how === "resume" && isStarted) return engine.resume(this.#workflow, "r");
    return engine.run(this.#workflow, this.#input, { runId: "r" });
  }

  /** What comes of it, or undefined where the process has died. */
  async #live<T>(death: Death | undefined, go: (engine: TestEngine) => Promise<T>): Promise<T | undefined> {
    const world = this.#world;
    const store = world.handle();
    if (death !== undefined) store.dieAt(death.at, death.moment);
    // So often that states are taken up at every stage, and so seldom that events are, too.
    const snapshots = { minEvents: 1 + ((death?.at ?? 0) % 4), bytesPerEvent: Infinity };
    const engine = world.engine({ store, snapshots, workflows: [this.#workflow] });
    const life = go(engine);
    try {
      return await this.#finish(life);
    } catch (error) {
      if (!store.down) throw error;
      this.died++;
      await world.leasesRunOut();
      return undefined;
    } finally {
      // One that has recovered runs would look for more, beside the next life.
      await this.#finish(engine.close());
    }
  }

  /** Lets time pass until it has settled. A run that hangs is told of soon, or shrinking would take for ever. */
  async #finish<T>(life: Promise<T>): Promise<T> {
    let isSettled = false;
    const settled = (): void => void (isSettled = true);
    life.then(settled, settled);
    for (let step = 0; !isSettled; step++) {
      if (step === 100) throw new Error("The run hangs.");
      await this.#world.runtime.clock.advance(step < 5 ? 0 : 1000);
    }
    return life;
  }
}
