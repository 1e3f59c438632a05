import { SqliteStore } from "../../dist/index.js";

// Stores with one fault each, for tests that must find it.

/** Throws the newest record away when a run is claimed. */
export class ForgetsLastRecord extends SqliteStore {
  async claim(claim) {
    const row = await super.claim(claim);
    if (row.owner === null || row.version < 2) return row;
    await super.setAside(row.runId, row.token, row.version - 1);
    return { ...row, version: row.version - 1 };
  }
}

/** Writes under whichever token is valid now, at whichever version the journal has. */
export class HasNoFence extends SqliteStore {
  async append(append) {
    const { token, version } = await this.get(append.runId);
    return super.append({ ...append, token, version });
  }

  async renew() {
    return [];
  }
}
