import type { Append, Claim, ClaimedRun } from "../src/core/store.ts";
import { MemoryStore } from "../src/stores/memory.ts";

// Stores with one fault each. A test that an engine passes on one of these would prove nothing.

/** Acknowledges an append at once and stores it with the next one: what is on the way dies with its owner. */
export class BelievesFirst extends MemoryStore {
  readonly #onTheWay = new Map<string, Append>();

  override append(append: Append): Promise<void> {
    const stored = this.#storeEarlier(append.runId);
    if (append.status !== undefined) return super.append(append);
    this.#onTheWay.set(append.runId, append);
    return stored;
  }

  override async claim(claim: Claim): Promise<ClaimedRun> {
    const row = await super.claim(claim);
    if (row.formerOwner !== null) this.#onTheWay.delete(claim.runId);
    return row;
  }

  override async release(runId: string, token: number): Promise<void> {
    await this.#storeEarlier(runId);
    return super.release(runId, token);
  }

  #storeEarlier(runId: string): Promise<void> {
    const append = this.#onTheWay.get(runId);
    this.#onTheWay.delete(runId);
    return append === undefined ? Promise.resolve() : super.append(append);
  }
}

/** Has no fence: whoever held a run once may write it for ever. */
export class IgnoresToken extends MemoryStore {
  readonly #held = new Map<string, { token: number; version: number }>();

  override async claim(claim: Claim): Promise<ClaimedRun> {
    const row = await super.claim(claim);
    this.#held.set(claim.runId, { token: row.token, version: row.version });
    return row;
  }

  override append(append: Append): Promise<void> {
    const held = this.#held.get(append.runId)!;
    return super.append({ ...append, token: held.token, version: held.version++ });
  }
}

/** Does not give the newest record back. */
export class ForgetsLastRecord extends MemoryStore {
  override async claim(claim: Claim): Promise<ClaimedRun> {
    const row = await super.claim(claim);
    if (row.version > 1 && row.owner !== null) await super.setAside(row.runId, row.token, row.version - 1);
    return { ...row, version: (await this.get(row.runId))!.version };
  }
}

/** Writes dead letters in the transaction after that of their record. */
export class StoresLettersLater extends MemoryStore {
  #last: Append | null = null;

  override async append(append: Append): Promise<void> {
    await super.append({ ...append, deadLetters: this.#last?.deadLetters });
    this.#last = append;
  }

  override async claim(claim: Claim): Promise<ClaimedRun> {
    this.#last = null;
    return super.claim(claim);
  }
}
