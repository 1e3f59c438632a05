import type { Timer } from "./core/clock.ts";
import { plainCodec } from "./core/codec.ts";
import { ConfigError } from "./core/errors.ts";
import { anything, aSharedState, checkId, checkOptions, positiveMs, type Rules, wholeNumber } from "./core/options.ts";
import { type Runtime, systemRuntime } from "./core/runtime.ts";
import type { SharedState } from "./core/shared-state.ts";
import { DEFAULT_STORE_URL } from "./default-engine.ts";
import { type CheckpointRow, Checkpoints } from "./engine/checkpoints.ts";
import { storeUrlOfEnvironment } from "./executor/environment.ts";
import { openSharedState } from "./stores/open.ts";

export interface WorkflowCheckpointOptions {
  /** Where checkpoints are kept. @default the SQLite file `.holdfast/holdfast.db`, or what `RESILIENCE_STORE_URL` says */
  store?: SharedState | undefined;
  /** How long `startAutoCheckpoint` waits before each save. @default 60000 */
  autoCheckpointIntervalMs?: number | undefined;
  /** How many versions are kept; a save deletes older ones. @default 5 */
  maxCheckpoints?: number | undefined;
  /** Time and events: for tests. */
  runtime?: Runtime | undefined;
}

const RULES: Rules<WorkflowCheckpointOptions> = {
  store: aSharedState,
  autoCheckpointIntervalMs: positiveMs,
  maxCheckpoints: wholeNumber(1),
  runtime: anything,
};

/** That of the process: opened when it is first needed, and never closed. */
let standard: SharedState | undefined;

function standardState(): SharedState {
  if (standard !== undefined) return standard;
  const url = storeUrlOfEnvironment();
  return (standard =
    url === undefined ? openSharedState(DEFAULT_STORE_URL) : openSharedState(url, "RESILIENCE_STORE_URL"));
}

/**
 * The state of any program, saved now and then under an id, for a later process to go on from: with or without a
 * workflow. A save is atomic and has a version; `load` gives the newest whole one. What came after the last save is
 * lost with the process: a workflow's journal keeps each completion, which is more.
 *
 * @example
 * ```ts
 * import { MemorySharedState, WorkflowCheckpoint } from "holdfast";
 *
 * const store = new MemorySharedState();
 * const import1 = new WorkflowCheckpoint<{ row: number }>("import", { store });
 * await import1.save({ row: 1000 });
 * await import1.save({ row: 2000 });
 *
 * // Another process, later:
 * const import2 = new WorkflowCheckpoint<{ row: number }>("import", { store });
 * console.log(await import2.load()); // => { row: 2000 }
 * console.log(await import2.load(1)); // => { row: 1000 }
 * ```
 */
export class WorkflowCheckpoint<State = unknown> {
  readonly id: string;
  readonly #runtime: Runtime;
  readonly #intervalMs: number;
  readonly #maxCheckpoints: number;
  readonly #checkpoints: Checkpoints;
  #auto: Auto | null = null;

  constructor(id: string, options: WorkflowCheckpointOptions = {}) {
    const checked = checkOptions("WorkflowCheckpoint", options, RULES);
    this.id = checkId("WorkflowCheckpoint.id", id);
    this.#runtime = checked.runtime ?? systemRuntime;
    this.#intervalMs = checked.autoCheckpointIntervalMs ?? 60_000;
    this.#maxCheckpoints = checked.maxCheckpoints ?? 5;
    const { events } = this.#runtime;
    const onDamaged = (version: number, why: string): void =>
      events.emit?.("checkpoint.damaged", { checkpointId: id, version, why });
    this.#checkpoints = new Checkpoints(id, checked.store ?? standardState(), plainCodec, onDamaged);
  }

  /** Saves the state as a new version, and resolves to its number when it is as durable as the store promises. */
  save(state: State): Promise<number> {
    return this.#checkpoints.save(state, this.#runtime.clock.wallNow(), this.#maxCheckpoints);
  }

  /**
   * The newest state that is whole; one that is damaged is passed over and reported as `checkpoint.damaged`. With a
   * version, that one: `StoreCorruptError` where it is damaged. Undefined where there is none.
   */
  async load(version?: number): Promise<State | undefined> {
    if (version !== undefined && !Number.isSafeInteger(version))
      throw new ConfigError(`A version of checkpoint "${this.id}" is a whole number, got ${String(version)}.`);
    return (await this.#checkpoints.load(version))?.state as State | undefined;
  }

  /** Whether there is anything to load. */
  async exists(): Promise<boolean> {
    return (await this.#checkpoints.load()) !== undefined;
  }

  /** The versions that are kept and whole, newest first. */
  list(): Promise<CheckpointRow[]> {
    return this.#checkpoints.list();
  }

  /** Deletes all but the newest `keep` versions; says how many it has deleted. */
  async cleanOldCheckpoints(keep: number = this.#maxCheckpoints): Promise<number> {
    checkOptions("cleanOldCheckpoints", { keep }, { keep: RULES.maxCheckpoints });
    return this.#checkpoints.clean(keep);
  }

  /**
   * Saves what `getState` gives, again and again, until it is stopped. A save that fails is reported as
   * `checkpoint.failed`, and the next one is tried all the same. Keeps no process alive. Called again, it goes on with
   * the other function.
   */
  startAutoCheckpoint(getState: () => State | PromiseLike<State>): void {
    if (typeof getState !== "function")
      throw new ConfigError(`startAutoCheckpoint of "${this.id}" needs a function that gives the state.`);
    this.#auto?.timer.cancel();
    const saving = this.#auto?.saving ?? Promise.resolve();
    const auto: Auto = { saving, timer: this.#after(() => this.#saveAndGoOn(auto, getState)) };
    this.#auto = auto;
  }

  /** No further save begins. Resolves when the one under way, if any, is done. */
  async stopAutoCheckpoint(): Promise<void> {
    const auto = this.#auto;
    this.#auto = null;
    auto?.timer.cancel();
    await auto?.saving;
  }

  /** The checkpoints of an id, newest first, for somebody who has no object for them. */
  static async listCheckpoints(
    id: string,
    options: Pick<WorkflowCheckpointOptions, "store"> = {},
  ): Promise<CheckpointRow[]> {
    return new WorkflowCheckpoint(id, options).list();
  }

  // The wait begins when the last save is done, so that slow ones do not pile up.
  #saveAndGoOn(auto: Auto, getState: () => State | PromiseLike<State>): void {
    auto.saving = this.#saveQuietly(getState).then(() => {
      if (this.#auto === auto) auto.timer = this.#after(() => this.#saveAndGoOn(auto, getState));
    });
  }

  async #saveQuietly(getState: () => State | PromiseLike<State>): Promise<void> {
    try {
      await this.save(await getState());
    } catch (error) {
      this.#runtime.events.emit?.("checkpoint.failed", { checkpointId: this.id, error });
    }
  }

  #after(fn: () => void): Timer {
    const timer = this.#runtime.clock.timer(this.#intervalMs, fn);
    timer.unref();
    return timer;
  }
}

/** What goes on by itself: the next save, or the one under way. */
interface Auto {
  timer: Timer;
  saving: Promise<void>;
}
