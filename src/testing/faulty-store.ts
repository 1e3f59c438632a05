import { StoreUnavailableError } from "../core/errors.ts";
import type { StoredRecord } from "../core/record.ts";
import type { SharedState } from "../core/shared-state.ts";
import type {
  Append,
  Claim,
  ClaimedRun,
  DeadLetter,
  DeadLetterFilter,
  DeadLetterStatus,
  PruneFilter,
  RunFilter,
  RunRow,
  Signal,
  Store,
} from "../core/store.ts";

/**
 * A handle on another store that fails on order. Closing it leaves the store behind it open, so that one store can
 * outlive the engines of a test, as a file outlives processes.
 */
export class FaultyStore implements Store {
  readonly durability: Store["durability"];
  readonly location: string;
  readonly state: SharedState;
  /** While true every call is refused, as by a store that cannot be reached, or to a process that has died. */
  down = false;
  /** How many appends have been asked for. */
  appends = 0;
  /** Called for each append when it is asked for and when it is stored. May wait, throw, or set `down`. */
  onAppend: (moment: "asked" | "stored", n: number, append: Append) => void | Promise<void> = () => {};
  /** What is read, in place of what is stored. */
  onRead: (runId: string, records: StoredRecord[]) => StoredRecord[] = (_, records) => records;
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
    this.durability = store.durability;
    this.location = store.location;
    this.state = store.state;
  }

  /** From append `n` on nothing more gets through: `asked` loses that append, `stored` only the answer to it. */
  dieAt(n: number, moment: "asked" | "stored"): void {
    this.onAppend = (now, count) => {
      if (now === moment && count === n) this.down = true;
    };
  }

  async append(append: Append): Promise<void> {
    const n = ++this.appends;
    await this.onAppend("asked", n, append);
    this.#check();
    await this.#store.append(append);
    await this.onAppend("stored", n, append);
    this.#check();
  }

  async claim(claim: Claim): Promise<ClaimedRun> {
    this.#check();
    return this.#store.claim(claim);
  }

  async renew(owner: string, runIds: readonly string[], leaseMs: number): Promise<string[]> {
    this.#check();
    return this.#store.renew(owner, runIds, leaseMs);
  }

  async release(runId: string, token: number): Promise<void> {
    this.#check();
    return this.#store.release(runId, token);
  }

  async get(runId: string): Promise<RunRow | undefined> {
    this.#check();
    return this.#store.get(runId);
  }

  async read(runId: string, from?: number, to?: number): Promise<StoredRecord[]> {
    this.#check();
    return this.onRead(runId, await this.#store.read(runId, from, to));
  }

  async setAside(runId: string, token: number, seq: number): Promise<void> {
    this.#check();
    return this.#store.setAside(runId, token, seq);
  }

  async list(filter?: RunFilter): Promise<RunRow[]> {
    this.#check();
    return this.#store.list(filter);
  }

  async deadLetters(filter?: DeadLetterFilter): Promise<DeadLetter[]> {
    this.#check();
    return this.#store.deadLetters(filter);
  }

  async deadLetter(id: string): Promise<DeadLetter | undefined> {
    this.#check();
    return this.#store.deadLetter(id);
  }

  async deadLetterCounts(workflowId?: string): Promise<Record<DeadLetterStatus, number>> {
    this.#check();
    return this.#store.deadLetterCounts(workflowId);
  }

  async pruneDeadLetters(enteredBefore: number, workflowId?: string): Promise<number> {
    this.#check();
    return this.#store.pruneDeadLetters(enteredBefore, workflowId);
  }

  async signal(signal: Signal): Promise<void> {
    this.#check();
    return this.#store.signal(signal);
  }

  async signals(of: { runId: string } | { owner: string }): Promise<Signal[]> {
    this.#check();
    return this.#store.signals(of);
  }

  async prune(filter: PruneFilter): Promise<string[]> {
    this.#check();
    return this.#store.prune(filter);
  }

  async close(): Promise<void> {
    this.down = true;
  }

  #check(): void {
    if (this.down) throw new StoreUnavailableError(`The store ${this.location} cannot be reached: a test says so.`);
  }
}
