import { type Clock, systemClock } from "../core/clock.ts";
import { LeaseLostError, StoreUnavailableError, runHeldError, versionConflictError } from "../core/errors.ts";
import type { StoredRecord } from "../core/record.ts";
import type { SharedState } from "../core/shared-state.ts";
import {
  type Append,
  type Claim,
  type ClaimedRun,
  type DeadLetter,
  type DeadLetterFilter,
  type DeadLetterStatus,
  isEnded,
  isSettled,
  newRun,
  type PruneFilter,
  type RunFilter,
  type RunRow,
  type Signal,
  type Store,
  takesSignals,
} from "../core/store.ts";
import { noLetters } from "./letters.ts";
import { listedLetters, listedRuns } from "./memory-lists.ts";
import { MemorySharedState } from "./memory-shared-state.ts";
import { noSqlError, noTakerError } from "./refusals.ts";

interface Kept {
  row: RunRow;
  records: StoredRecord[];
  setAside: StoredRecord[];
}

/** Journals in memory: for tests and for work that need not survive the process. Behaves like every other store. */
export class MemoryStore implements Store {
  readonly durability = "memory";
  readonly location = "memory";
  readonly state: SharedState;
  readonly #clock: Clock;
  readonly #runs = new Map<string, Kept>();
  readonly #letters = new Map<string, DeadLetter>();
  /** Signals that wait to be taken, by run and id. */
  readonly #signals = new Map<string, Signal>();
  #closed = false;

  constructor(options: { clock?: Clock } = {}) {
    this.#clock = options.clock ?? systemClock;
    this.state = new MemorySharedState({ clock: this.#clock });
  }

  async claim({ runId, workflowId, owner, leaseMs, isDead, reopen }: Claim): Promise<ClaimedRun> {
    this.#check();
    const now = this.#clock.wallNow();
    let kept = this.#runs.get(runId);
    if (kept === undefined) {
      kept = { row: newRun(runId, workflowId, now), records: [], setAside: [] };
      this.#runs.set(runId, kept);
    }
    const { row } = kept;
    const formerOwner = row.owner;
    if (isEnded(row.status) && !reopen) return { ...structuredClone(row), formerOwner };
    if (row.owner !== null && row.owner !== owner && row.leaseUntil > now && !isDead(row.owner)) {
      throw runHeldError(runId, row.owner, row.leaseUntil - now);
    }
    Object.assign(row, { token: row.token + 1, owner, leaseUntil: now + leaseMs });
    return { ...structuredClone(row), formerOwner };
  }

  async append(append: Append): Promise<void> {
    this.#check();
    const { runId, token, version, body, checksum, status, deadLetters, snapshotAfter } = append;
    const { row, records } = this.#held(runId, token);
    if (records.length !== version) throw versionConflictError(runId, version, records.length);
    if (append.within !== undefined) throw noSqlError(this.location);
    // Copied before anything is kept: a letter that cannot be leaves nothing behind.
    const letters = structuredClone(deadLetters ?? []);
    records.push({ seq: version, body: body.slice(), checksum });
    row.version = records.length;
    if (snapshotAfter !== undefined) row.snapshot = { seq: version, previous: snapshotAfter };
    for (const letter of letters) this.#letters.set(letter.id, letter);
    for (const id of append.signalsTaken ?? []) this.#signals.delete(signalKey(runId, id));
    if (status === undefined) return;
    const updatedAt = this.#clock.wallNow();
    const isCalled = append.wakeOn?.some((name) => this.#isSignalled(runId, name)) ?? false;
    const wakeAt = status === "waiting" ? earlier(append.wakeAt, isCalled ? updatedAt : null) : null;
    Object.assign(row, { status, updatedAt, wakeAt, head: { version: row.version, checksum } });
    if (!takesSignals(status)) this.#forgetSignals(runId);
    if (status !== "running") Object.assign(row, { owner: null, leaseUntil: 0 });
  }

  async renew(owner: string, runIds: readonly string[], leaseMs: number): Promise<string[]> {
    this.#check();
    const leaseUntil = this.#clock.wallNow() + leaseMs;
    const lost: string[] = [];
    for (const runId of runIds) {
      const row = this.#runs.get(runId)?.row;
      if (row === undefined || row.owner !== owner) lost.push(runId);
      else row.leaseUntil = leaseUntil;
    }
    return lost;
  }

  async release(runId: string, token: number): Promise<void> {
    this.#check();
    const row = this.#runs.get(runId)?.row;
    if (row?.token === token) Object.assign(row, { owner: null, leaseUntil: 0 });
  }

  async get(runId: string): Promise<RunRow | undefined> {
    this.#check();
    return structuredClone(this.#runs.get(runId)?.row);
  }

  async read(runId: string, from = 0, to: number = Infinity): Promise<StoredRecord[]> {
    this.#check();
    const records = this.#runs.get(runId)?.records ?? [];
    return records.slice(from, to).map((record) => ({ ...record, body: record.body.slice() }));
  }

  async setAside(runId: string, token: number, seq: number): Promise<void> {
    this.#check();
    const { row, records, setAside } = this.#held(runId, token);
    setAside.push(...records.splice(seq));
    row.version = records.length;
    if (row.snapshot !== null && row.snapshot.seq >= seq) row.snapshot = null;
  }

  async list(filter: RunFilter = {}): Promise<RunRow[]> {
    this.#check();
    return structuredClone(
      listedRuns(
        Array.from(this.#runs.values(), ({ row }) => row),
        filter,
      ),
    );
  }

  async deadLetters(filter: DeadLetterFilter = {}): Promise<DeadLetter[]> {
    this.#check();
    return structuredClone(listedLetters([...this.#letters.values()], filter));
  }

  async deadLetter(id: string): Promise<DeadLetter | undefined> {
    this.#check();
    return structuredClone(this.#letters.get(id));
  }

  async deadLetterCounts(workflowId?: string): Promise<Record<DeadLetterStatus, number>> {
    this.#check();
    const counts = noLetters();
    for (const letter of this.#letters.values())
      if ((workflowId ?? letter.workflowId) === letter.workflowId) counts[letter.status]++;
    return counts;
  }

  async pruneDeadLetters(enteredBefore: number, workflowId?: string): Promise<number> {
    this.#check();
    const gone = [...this.#letters.values()].filter(
      (letter) =>
        isSettled(letter) &&
        letter.timestamp < enteredBefore &&
        (workflowId ?? letter.workflowId) === letter.workflowId,
    );
    for (const { id } of gone) this.#letters.delete(id);
    return gone.length;
  }

  async signal(signal: Signal): Promise<void> {
    this.#check();
    const { runId, id } = signal;
    const row = this.#runs.get(runId)?.row;
    if (row === undefined || !takesSignals(row.status)) throw noTakerError(runId, row?.status);
    const key = signalKey(runId, id);
    if (this.#signals.has(key)) return;
    this.#signals.set(key, { ...signal });
    if (row.status === "waiting") row.wakeAt = earlier(row.wakeAt, this.#clock.wallNow());
  }

  async signals(of: { runId: string } | { owner: string }): Promise<Signal[]> {
    this.#check();
    const isAskedFor = ({ runId }: Signal): boolean =>
      "runId" in of ? runId === of.runId : this.#runs.get(runId)?.row.owner === of.owner;
    return structuredClone([...this.#signals.values()].filter(isAskedFor));
  }

  async prune(filter: PruneFilter): Promise<string[]> {
    this.#check();
    const { workflowId, endedBefore = -Infinity, keep = Infinity, limit = 1000, dryRun = false } = filter;
    const now = this.#clock.wallNow();
    const unsettled = new Set([...this.#letters.values()].filter((letter) => !isSettled(letter)).map((it) => it.runId));
    const newer = new Map<string, number>();
    const gone: RunRow[] = [];
    const ended = Array.from(this.#runs.values(), ({ row }) => row).filter((row) => isEnded(row.status));
    for (const row of ended.sort((a, b) => a.createdAt - b.createdAt).reverse()) {
      const kept = newer.get(row.workflowId) ?? 0;
      newer.set(row.workflowId, kept + 1);
      const isOld = row.updatedAt < endedBefore || kept >= keep;
      const isFree = (row.owner === null || row.leaseUntil <= now) && !unsettled.has(row.runId);
      if (isOld && isFree && (workflowId ?? row.workflowId) === row.workflowId) gone.push(row);
    }
    const ids = gone
      .reverse()
      .slice(0, limit)
      .map(({ runId }) => runId);
    if (dryRun) return ids;
    for (const runId of ids) {
      this.#runs.delete(runId);
      this.#forgetSignals(runId);
    }
    const deleted = new Set(ids);
    for (const { id, runId } of this.#letters.values()) if (deleted.has(runId)) this.#letters.delete(id);
    return ids;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.state.close();
  }

  #check(): void {
    if (this.#closed) throw new StoreUnavailableError("The store in memory is closed.");
  }

  #held(runId: string, token: number): Kept {
    const kept = this.#runs.get(runId);
    if (kept === undefined || kept.row.token !== token || kept.row.owner === null)
      throw new LeaseLostError(runId, token);
    return kept;
  }

  #isSignalled(runId: string, name: string): boolean {
    return [...this.#signals.values()].some((signal) => signal.runId === runId && signal.name === name);
  }

  #forgetSignals(runId: string): void {
    for (const signal of this.#signals.values())
      if (signal.runId === runId) this.#signals.delete(signalKey(runId, signal.id));
  }
}

/** The earlier of two instants; null is later than any. */
function earlier(a: number | null | undefined, b: number | null): number | null {
  return a == null || b === null ? (a ?? b) : Math.min(a, b);
}

function signalKey(runId: string, id: string): string {
  return JSON.stringify([runId, id]);
}
