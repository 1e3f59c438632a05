import { StoreUnavailableError } from "../core/errors.ts";
import type { Runtime } from "../core/runtime.ts";
import { ANSWER_MS, type SharedChange, type SharedState } from "../core/shared-state.ts";

type Change<T, R> = (last: T | undefined, now: number) => SharedChange<T, R>;

/** One key of a shared state, as a policy asks it: each question has an answer, or an error, within a second. */
export class SharedPlace<T> {
  readonly #state: SharedState;
  readonly #key: string;
  readonly #runtime: Runtime;

  constructor(state: SharedState, key: string, runtime: Runtime) {
    this.#state = state;
    this.#key = key;
    this.#runtime = runtime;
  }

  /**
   * Rejects where there is no answer in time, or an error: then the change was made or not. `late` gets an answer that
   * comes afterwards. Keeps the process alive only where `awaited` says that somebody waits for it.
   */
  ask<R>(change: Change<T, R>, awaited: boolean, late?: (result: R) => void): Promise<R> {
    return new Promise((resolve, reject) => {
      let waiting = true;
      const timer = this.#runtime.clock.timer(ANSWER_MS, () => {
        waiting = false;
        reject(new StoreUnavailableError(`The shared state did not answer within ${ANSWER_MS} ms about ${this.#key}.`));
      });
      if (!awaited) timer.unref();
      const answered = (result: R): void => {
        timer.cancel();
        if (waiting) resolve(result);
        else late?.(result);
      };
      // A place that throws at once is one that rejects.
      Promise.resolve()
        .then(() => this.#state.update(this.#key, change))
        .then(answered, (error: unknown) => {
          timer.cancel();
          reject(error);
        });
    });
  }
}
