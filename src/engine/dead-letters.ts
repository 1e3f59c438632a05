import { HoldfastError, NotFoundError } from "../core/errors.ts";
import type { DeadLetter, DeadLetterFilter, Store } from "../core/store.ts";
import type { RunResult } from "./run-result.ts";

/** The dead letters of a store, or of one workflow in it: to be looked at, and to be worked off. */
export class DeadLetters {
  readonly #store: Store;
  readonly #redrive: (letter: DeadLetter) => Promise<RunResult>;
  readonly #workflowId: string | undefined;

  constructor(store: Store, redrive: (letter: DeadLetter) => Promise<RunResult>, workflowId?: string) {
    this.#store = store;
    this.#redrive = redrive;
    this.#workflowId = workflowId;
  }

  /** Newest first. */
  list(filter: DeadLetterFilter = {}): Promise<DeadLetter[]> {
    return this.#store.deadLetters(
      this.#workflowId === undefined ? filter : { ...filter, workflowId: this.#workflowId },
    );
  }

  async get(id: string): Promise<DeadLetter | undefined> {
    const letter = await this.#store.deadLetter(id);
    return letter === undefined || (this.#workflowId ?? letter.workflowId) === letter.workflowId ? letter : undefined;
  }

  /**
   * Takes up the run of an entry again from the failed node, at once: what other nodes have done is kept, and the node
   * is called with the same idempotency key as before. The entry is settled when the node succeeds; when it fails
   * again the entry counts, and after its allowance it is quarantined. The lease of the run makes sure that nobody
   * else redrives it at the same time.
   */
  async redrive(id: string): Promise<RunResult> {
    return this.#redrive(checkRedrivable(id, await this.get(id), this.#store.location));
  }
}

/** The entry, where it is one that may be redriven. */
export function checkRedrivable(id: string, letter: DeadLetter | undefined, location: string): DeadLetter {
  if (letter === undefined) throw new NotFoundError(`There is no dead letter "${id}" in ${location}.`);
  if (letter.status === "succeeded") {
    throw new HoldfastError("DEAD_LETTER_SETTLED", `Dead letter "${id}" is settled: its node has succeeded since.`);
  }
  if (letter.status === "permanent_failure") {
    throw new HoldfastError(
      "DEAD_LETTER_QUARANTINED",
      `Dead letter "${id}" was redriven ${letter.retryCount} times without success and is quarantined. Mend the cause and start the work anew under another run id.`,
    );
  }
  return letter;
}
