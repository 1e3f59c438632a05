import { StoreUnavailableError } from "../src/core/errors.ts";
import type { SharedChange, SharedState, Sharing } from "../src/core/shared-state.ts";
import { sharing } from "../src/policies/sharing.ts";
import { MemorySharedState } from "../src/stores/memory-shared-state.ts";
import { FakeClock, type FakeRuntime } from "../src/testing/fake-clock.ts";

/**
 * A shared state whose answers come late, get lost or are errors, as a test says. Its clock goes with that of the
 * runtime, and shows another time.
 */
export class UnsteadyState implements SharedState {
  readonly sharing: Sharing = sharing;
  /** How long the answer is on its way, after the change was made. */
  answerMs = 0;
  /** Whether nothing reaches it. */
  away = false;
  /** Whether changes are made and their answers get lost. */
  losesAnswers = false;
  updates = 0;
  readonly #inner: MemorySharedState;
  readonly #runtime: FakeRuntime;

  constructor(runtime: FakeRuntime) {
    this.#runtime = runtime;
    this.#inner = new MemorySharedState({ clock: new AheadClock(runtime.clock) });
  }

  async update<T, R>(key: string, change: (last: T | undefined, now: number) => SharedChange<T, R>): Promise<R> {
    this.updates++;
    const { answerMs, away, losesAnswers } = this;
    if (away) throw new StoreUnavailableError("The place is away.");
    const result = await this.#inner.update(key, change);
    if (answerMs > 0) await this.#runtime.clock.sleep(answerMs);
    if (losesAnswers) throw new StoreUnavailableError("The answer was lost.");
    return result;
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}

class AheadClock extends FakeClock {
  readonly #clock: FakeClock;

  constructor(clock: FakeClock) {
    super();
    this.#clock = clock;
  }

  override now(): number {
    return this.#clock.now() + 1_000_000;
  }
}
