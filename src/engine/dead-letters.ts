import { ConfigError } from "../core/errors.ts";
import { aBoolean, checkOptions } from "../core/options.ts";
import type { DeadLetter, DeadLetterFilter } from "../core/store.ts";
import { checkReason, discardLetter, discardLetters, type DiscardReport } from "./discarding.ts";
import {
  anInstant,
  checkFilter,
  checkSelection,
  type DeadLetterSelection,
  lettersOf,
  openLetters,
} from "./letter-pages.ts";
import { type DeadLetterStats, statsOf } from "./letter-stats.ts";
import { type PlainDeadLetter, plainLetter } from "./plain-letter.ts";
import { checkRedrivable, notFoundError } from "./redrivable.ts";
import {
  checkPace,
  checkRedriveAll,
  redriveLetters,
  type RedriveAllOptions,
  type RedrivePace,
  type RedrivePort,
  type RedriveReport,
} from "./redriving.ts";
import type { RunResult } from "./run-result.ts";

export interface RedriveOptions {
  /** Also where the entry is quarantined: the cause has been mended. @default false */
  force?: boolean | undefined;
}

export interface PruneDeadLettersOptions {
  /** Wall-clock milliseconds: settled entries that were entered before are deleted. */
  enteredBefore: number;
}

/** The dead letters of a store, or of one workflow in it: to be looked at, and to be worked off. */
export class DeadLetters {
  readonly #port: RedrivePort;
  readonly #workflowId: string | undefined;

  constructor(port: RedrivePort, workflowId?: string) {
    this.#port = port;
    this.#workflowId = workflowId;
  }

  /** A page of entries, newest first. */
  async list(filter: DeadLetterFilter = {}): Promise<DeadLetter[]> {
    return this.#port.store.deadLetters(this.#scoped(checkFilter("deadLetters.list", filter)));
  }

  async get(id: string): Promise<DeadLetter | undefined> {
    const letter = await this.#port.store.deadLetter(id);
    return letter === undefined || (this.#workflowId ?? letter.workflowId) === letter.workflowId ? letter : undefined;
  }

  /** All open entries, newest first: those that have neither succeeded nor been discarded. */
  async queue(selection: DeadLetterSelection = {}): Promise<DeadLetter[]> {
    const letters: DeadLetter[] = [];
    for await (const letter of this.#open("deadLetters.queue", selection)) letters.push(letter);
    return letters;
  }

  /**
   * Takes up the run of an entry again from the failed node, at once: what other nodes have done is kept, and the node
   * is called with the same idempotency key as before. The entry is settled when the node succeeds; when it fails
   * again the entry counts, and after its allowance it is quarantined. The lease of the run makes sure that nobody
   * else redrives it at the same time.
   */
  async redrive(id: string, options: RedriveOptions = {}): Promise<RunResult> {
    const terms = checkOptions("deadLetters.redrive", options, { force: aBoolean });
    return this.#port.redrive(checkRedrivable(id, await this.get(id), this.#port.store.location, terms), terms);
  }

  /**
   * Redrives all open entries that fit, the oldest first, and tells what became of each. One that somebody else is
   * redriving is skipped. Rejects where the store is in trouble, the engine closes or the signal aborts: `onEntry` has
   * then told of those that were done, and the others are as they were.
   */
  async redriveAll(selection: DeadLetterSelection, options: RedriveAllOptions = {}): Promise<RedriveReport> {
    const letters = this.#open("deadLetters.redriveAll", selection);
    const checked = checkRedriveAll("deadLetters.redriveAll", options);
    return redriveLetters(this.#port, letters, checked, { force: checked.force });
  }

  /**
   * Redrives the entries whose `nextRetryAt` has come, of workflows that this engine knows: what `autoRedrive` does now
   * and then. Several engines may do it at the same time, and none redrives what another has just tried.
   */
  async redriveDue(pace: RedrivePace = {}): Promise<RedriveReport> {
    const { runtime, known } = this.#port;
    const dueBy = runtime.clock.wallNow();
    const pending = lettersOf(this.#port.store, this.#scoped({ status: "pending" as const }));
    async function* due(): AsyncGenerator<DeadLetter, void> {
      for await (const letter of pending)
        if (letter.nextRetryAt !== null && letter.nextRetryAt <= dueBy && known.byId(letter.workflowId)) yield letter;
    }
    return redriveLetters(this.#port, due(), checkPace("deadLetters.redriveDue", pace), { dueBy });
  }

  /**
   * Gives an entry up for good, and says why. It stays to be looked at until retention takes it. Throws `RunInUseError`
   * while somebody carries out its run; an entry that is discarded already is given as it is.
   */
  async discard(id: string, reason: string): Promise<DeadLetter> {
    checkReason(reason);
    // One of another workflow is none of ours.
    if ((await this.get(id)) === undefined) throw notFoundError(id, this.#port.store.location);
    return discardLetter(this.#port, id, reason);
  }

  /** Discards all open entries that fit, and tells what became of each. One whose run is under way is skipped. */
  async discardAll(selection: DeadLetterSelection, reason: string): Promise<DiscardReport> {
    return discardLetters(this.#port, this.#open("deadLetters.discardAll", selection), checkReason(reason));
  }

  /** Entries as plain data that `JSON.stringify` takes, newest first, however many they are. */
  async *export(selection: DeadLetterSelection = {}): AsyncGenerator<PlainDeadLetter, void> {
    const scoped = this.#scoped(checkSelection("deadLetters.export", selection));
    for await (const letter of lettersOf(this.#port.store, scoped)) yield plainLetter(letter);
  }

  /** How the queue stands: how many entries there are, of which kinds, and how old the oldest is. Reads all of them. */
  async stats(selection: DeadLetterSelection = {}): Promise<DeadLetterStats> {
    const { store, runtime } = this.#port;
    const scoped = this.#scoped(checkSelection("deadLetters.stats", selection));
    return statsOf(lettersOf(store, scoped), runtime.clock.wallNow());
  }

  /** Deletes settled entries, succeeded or discarded, and gives how many. What is open stays, however old it is. */
  async prune(options: PruneDeadLettersOptions): Promise<number> {
    const { enteredBefore } = checkOptions("deadLetters.prune", options, { enteredBefore: anInstant });
    if (enteredBefore === undefined)
      throw new ConfigError(
        "deadLetters.prune needs enteredBefore: settled entries that were entered before are deleted.",
      );
    return this.#port.store.pruneDeadLetters(enteredBefore, this.#workflowId);
  }

  #open(owner: string, selection: DeadLetterSelection): AsyncGenerator<DeadLetter, void> {
    return openLetters(this.#port.store, this.#scoped(checkSelection(owner, selection)));
  }

  #scoped<F extends DeadLetterFilter>(filter: F): F {
    return this.#workflowId === undefined ? filter : { ...filter, workflowId: this.#workflowId };
  }
}
