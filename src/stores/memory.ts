import { type Clock, systemClock } from "../core/clock.ts";
import { LeaseLostError, StoreUnavailableError, runHeldError, versionConflictError } from "../core/errors.ts";
import type { StoredRecord } from "../core/record.ts";
import {
  type Append,
  type Claim,
  type ClaimedRun,
  type DeadLetter,
  type DeadLetterFilter,
  isEnded,
  newRun,
  type RunFilter,
  type RunRow,
  type Store,
} from "../core/store.ts";

interface Kept {
  row: RunRow;
  records: StoredRecord[];
  setAside: StoredRecord[];
}

/** Journals in memory: for tests and for work that need not survive the process. Behaves like every other store. */
export class MemoryStore implements Store {
  readonly durability = "memory";
  readonly location = "memory";
  readonly #clock: Clock;
  readonly #runs = new Map<string, Kept>();
  readonly #letters = new Map<string, DeadLetter>();
  #closed = false;

  constructor(options: { clock?: Clock } = {}) {
    this.#clock = options.clock ?? systemClock;
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
    if (isEnded(row.status) && !reopen) return { ...row, head: { ...row.head }, formerOwner };
    if (row.owner !== null && row.owner !== owner && row.leaseUntil > now && !isDead(row.owner)) {
      throw runHeldError(runId, row.owner, row.leaseUntil - now);
    }
    Object.assign(row, { token: row.token + 1, owner, leaseUntil: now + leaseMs });
    return { ...row, head: { ...row.head }, formerOwner };
  }

  async append({ runId, token, version, body, checksum, status, deadLetters }: Append): Promise<void> {
    this.#check();
    const kept = this.#runs.get(runId);
    if (kept === undefined || kept.row.token !== token || kept.row.owner === null)
      throw new LeaseLostError(runId, token);
    const { row, records } = kept;
    if (records.length !== version) throw versionConflictError(runId, version, records.length);
    // Copied before anything is kept: a letter that cannot be leaves nothing behind.
    const letters = structuredClone(deadLetters ?? []);
    records.push({ seq: version, body: body.slice(), checksum });
    row.version = records.length;
    if (status !== undefined) {
      const now = this.#clock.wallNow();
      Object.assign(row, { status, updatedAt: now, head: { version: row.version, checksum } });
      if (isEnded(status)) Object.assign(row, { owner: null, leaseUntil: 0 });
    }
    for (const letter of letters) this.#letters.set(letter.id, letter);
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
    const row = this.#runs.get(runId)?.row;
    return row && { ...row, head: { ...row.head } };
  }

  async read(runId: string): Promise<StoredRecord[]> {
    this.#check();
    return (this.#runs.get(runId)?.records ?? []).map((record) => ({ ...record, body: record.body.slice() }));
  }

  async setAside(runId: string, token: number, seq: number): Promise<void> {
    this.#check();
    const kept = this.#runs.get(runId);
    if (kept === undefined || kept.row.token !== token || kept.row.owner === null)
      throw new LeaseLostError(runId, token);
    kept.setAside.push(...kept.records.splice(seq));
    kept.row.version = kept.records.length;
  }

  async list({ workflowId, status, limit = 100 }: RunFilter = {}): Promise<RunRow[]> {
    this.#check();
    const rows = [...this.#runs.values()].map((kept) => kept.row).reverse();
    return rows
      .filter((row) => (workflowId ?? row.workflowId) === row.workflowId && (status ?? row.status) === row.status)
      .slice(0, limit)
      .map((row) => ({ ...row, head: { ...row.head } }));
  }

  async deadLetters({ workflowId, nodeId, runId, status, limit = 100 }: DeadLetterFilter = {}): Promise<DeadLetter[]> {
    this.#check();
    const letters = [...this.#letters.values()]
      .reverse()
      .filter(
        (letter) =>
          (workflowId ?? letter.workflowId) === letter.workflowId &&
          (nodeId ?? letter.nodeId) === letter.nodeId &&
          (runId ?? letter.runId) === letter.runId &&
          (status ?? letter.status) === letter.status,
      );
    return structuredClone(letters.slice(0, limit));
  }

  async deadLetter(id: string): Promise<DeadLetter | undefined> {
    this.#check();
    return structuredClone(this.#letters.get(id));
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  #check(): void {
    if (this.#closed) throw new StoreUnavailableError("The store in memory is closed.");
  }
}
