import type { Timer } from "../core/clock.ts";
import type { Runtime } from "../core/runtime.ts";
import type { RunRow, Store } from "../core/store.ts";

/** How often the store is asked which waiting runs are due: a signal may have been sent by another process. */
const LOOK_MS = 1000;
/** How many parked runs are asked after at each look, in turn: another engine may have carried them on. */
const ASKED_AFTER = 50;

/**
 * Waits for runs that are parked: until their time has come, or until the store says that they were signalled. The
 * parked runs of this process keep it alive; those of others, which are taken up once they are due, do not.
 */
export class DueRuns {
  readonly #store: Store;
  readonly #runtime: Runtime;
  readonly #parked = new Map<string, () => void>();
  #takeUp: ((run: RunRow) => void) | null = null;
  #timer: Timer | null = null;
  #looking = false;
  #closed = false;

  constructor(store: Store, runtime: Runtime) {
    this.#store = store;
    this.#runtime = runtime;
  }

  /** Resolves when a parked run of this process is due, was nudged, or its signal aborts. */
  async wait(runId: string, wakeAt: number | null, signal: AbortSignal): Promise<void> {
    const { clock } = this.#runtime;
    let timer: Timer | null = null;
    let onAbort = (): void => {};
    await new Promise<void>((resolve) => {
      onAbort = resolve;
      if (signal.aborted) return resolve();
      signal.addEventListener("abort", onAbort, { once: true });
      this.#parked.set(runId, resolve);
      if (wakeAt !== null) timer = clock.timer(Math.max(0, wakeAt - clock.wallNow()), resolve);
      this.#arm();
    });
    signal.removeEventListener("abort", onAbort);
    (timer as Timer | null)?.cancel();
    this.#parked.delete(runId);
    this.#arm();
  }

  /** Wakes a parked run of this process. */
  nudge(runId: string): void {
    this.#parked.get(runId)?.();
  }

  /** Takes up, from now on, also due runs that no engine looks after. */
  watch(takeUp: (run: RunRow) => void): void {
    this.#takeUp = takeUp;
    this.#arm();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#timer = null;
  }

  #arm(): void {
    this.#timer?.cancel();
    this.#timer = null;
    const isNeeded = this.#parked.size > 0 || this.#takeUp !== null;
    if (!isNeeded || this.#looking || this.#closed) return;
    this.#timer = this.#runtime.clock.timer(LOOK_MS, () => void this.#look());
    if (this.#parked.size === 0) this.#timer.unref();
  }

  /** Wakes parked runs that wait no longer: one that another engine has taken up is never listed as due again. */
  async #askAfter(): Promise<void> {
    for (const [runId, wake] of [...this.#parked].slice(0, ASKED_AFTER)) {
      if (this.#parked.get(runId) !== wake) continue;
      this.#parked.delete(runId);
      this.#parked.set(runId, wake);
      const run = await this.#store.get(runId);
      if (run !== undefined && run.status !== "waiting") wake();
    }
  }

  async #look(): Promise<void> {
    this.#looking = true;
    try {
      const now = this.#runtime.clock.wallNow();
      for (const run of await this.#store.list({ wakesBefore: now + 1 })) {
        const wake = this.#parked.get(run.runId);
        if (wake !== undefined) wake();
        else this.#takeUp?.(run);
      }
      await this.#askAfter();
    } catch {
      // A store in trouble is asked again: the runs that wait have lost nothing.
    } finally {
      this.#looking = false;
      this.#arm();
    }
  }
}
