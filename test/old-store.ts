import { openDriver } from "../src/stores/sqlite-driver.ts";

/** The tables of the first version, as it made them. */
const VERSION_1 = `
  CREATE TABLE IF NOT EXISTS holdfast_schema (version INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS holdfast_runs (
    num INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    workflow TEXT NOT NULL,
    status TEXT NOT NULL,
    token INTEGER NOT NULL,
    owner TEXT,
    lease_until INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    wake_at INTEGER,
    head_version INTEGER NOT NULL,
    head_checksum INTEGER NOT NULL
  );
  CREATE INDEX IF NOT EXISTS holdfast_runs_by_status ON holdfast_runs (status, num);
  CREATE TABLE IF NOT EXISTS holdfast_records (
    run INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (run, seq)
  );
  CREATE TABLE IF NOT EXISTS holdfast_damaged_records (
    found_at INTEGER NOT NULL,
    run INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    body BLOB NOT NULL
  );
  CREATE TABLE IF NOT EXISTS holdfast_dead_letters (
    id TEXT PRIMARY KEY,
    run INTEGER NOT NULL,
    workflow TEXT NOT NULL,
    node TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    body TEXT NOT NULL
  );
  CREATE INDEX IF NOT EXISTS holdfast_dead_letters_by_run ON holdfast_dead_letters (run);
  INSERT INTO holdfast_schema VALUES (1);
`;

/** The code of an error that is written in JSON with all kinds of escapes. */
export const STRANGE_CODE = 'A"\0\\B\n\u2028🪸\ud83e/';

/** Makes a file as the first version left it: a run that goes on, one that has failed, and its dead letters. */
export function oldFile(path: string): void {
  const db = openDriver(path);
  db.exec("PRAGMA journal_mode=WAL");
  db.exec(VERSION_1);
  const run = db.prepare("INSERT INTO holdfast_runs VALUES (?, ?, 'w', ?, ?, ?, ?, ?, ?, NULL, ?, ?)");
  run.run(1, "open", "running", 3, "old", 50, 10, 11, 1, 7);
  run.run(2, "ended", "failed", 1, null, 0, 20, 30, 1, 8);
  const record = db.prepare("INSERT INTO holdfast_records (run, seq, checksum, body) VALUES (?, ?, ?, ?)");
  record.run(1, 0, 7, new Uint8Array([1, 2]));
  record.run(1, 1, 4_000_000_000, new Uint8Array(0));
  record.run(2, 0, 8, new Uint8Array([3]));
  const letter = db.prepare("INSERT INTO holdfast_dead_letters VALUES (?, 2, 'w', 'n', ?, ?, ?)");
  for (const [id, status, timestamp, code] of [
    ["dl-code", "pending", 5, STRANGE_CODE],
    ["dl-done", "succeeded", 6, undefined],
  ] as const) {
    const errorDetail = { name: "Error", message: "no", code };
    const places = { id, timestamp, workflowId: "w", runId: "ended", nodeId: "n", invocationId: "n#0", error: "no" };
    const state = { attempts: 1, retryCount: 0, maxRetries: 3, nextRetryAt: null, status, payload: null };
    letter.run(id, status, timestamp, JSON.stringify({ ...places, errorDetail, ...state }));
  }
  db.close();
}
