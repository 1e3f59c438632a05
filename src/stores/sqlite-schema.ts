import type { RunStatus } from "../core/store.ts";
import type { SqliteDriver, SqliteStatement } from "./sqlite-driver.ts";
import { inTransaction, newerSchemaError } from "./sqlite-file.ts";

/** The version of the tables below. A later one migrates from here; an older program refuses a newer file. */
const SCHEMA_VERSION = 1;

// Records are kept in a rowid table, in the order in which they come: WITHOUT ROWID would keep them in the order of
// the key and take three times the bytes and the time. Names are prefixed, since users may keep their own tables here.
const SCHEMA = `
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
`;

const RUN_COLUMNS = `
  num, id AS runId, workflow AS workflowId, status, token, owner, lease_until AS leaseUntil, created_at AS createdAt,
  updated_at AS updatedAt, head_version AS headVersion, head_checksum AS headChecksum,
  (SELECT COALESCE(MAX(seq) + 1, 0) FROM holdfast_records WHERE run = num) AS version
`;

/** A row of `holdfast_runs` as the statements below give it. */
export interface StoredRun {
  num: number;
  runId: string;
  workflowId: string;
  status: RunStatus;
  token: number;
  owner: string | null;
  leaseUntil: number;
  createdAt: number;
  updatedAt: number;
  headVersion: number;
  headChecksum: number;
  version: number;
}

/** How many rows the statement `appendMany` stores. */
export const APPENDED_AT_ONCE = 16;

const STATEMENTS = {
  createRun: `INSERT OR IGNORE INTO holdfast_runs
    (id, workflow, status, token, owner, lease_until, created_at, updated_at, head_version, head_checksum)
    VALUES (?, ?, 'running', 1, ?, ?, ?, ?, 0, 0)`,
  runById: `SELECT ${RUN_COLUMNS} FROM holdfast_runs WHERE id = ?`,
  takeLease: "UPDATE holdfast_runs SET token = ?, owner = ?, lease_until = ? WHERE num = ?",
  renew: "UPDATE holdfast_runs SET lease_until = ? WHERE id = ? AND owner = ?",
  release: "UPDATE holdfast_runs SET owner = NULL, lease_until = 0 WHERE id = ? AND token = ?",
  dataVersion: "PRAGMA data_version",
  append: "INSERT INTO holdfast_records (run, seq, checksum, body) VALUES (?, ?, ?, ?)",
  appendMany: `INSERT INTO holdfast_records (run, seq, checksum, body) VALUES ${Array(APPENDED_AT_ONCE).fill("(?, ?, ?, ?)").join(", ")}`,
  setStatus: `UPDATE holdfast_runs SET status = ?, updated_at = ?, head_version = ?, head_checksum = ?,
    owner = CASE WHEN ? THEN NULL ELSE owner END, lease_until = CASE WHEN ? THEN 0 ELSE lease_until END WHERE num = ?`,
  records: `SELECT seq, checksum, body FROM holdfast_records WHERE run = (SELECT num FROM holdfast_runs WHERE id = ?) ORDER BY seq`,
  copyAside: `INSERT INTO holdfast_damaged_records SELECT ?, run, seq, checksum, body FROM holdfast_records WHERE run = ? AND seq >= ?`,
  deleteFrom: "DELETE FROM holdfast_records WHERE run = ? AND seq >= ?",
  runs: `SELECT ${RUN_COLUMNS} FROM holdfast_runs WHERE (? IS NULL OR workflow = ?) AND (? IS NULL OR status = ?) ORDER BY num DESC LIMIT ?`,
  putDeadLetter: `INSERT INTO holdfast_dead_letters (id, run, workflow, node, status, created_at, body) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET status = excluded.status, body = excluded.body`,
  deadLetters: `SELECT body FROM holdfast_dead_letters WHERE (? IS NULL OR workflow = ?) AND (? IS NULL OR node = ?)
    AND (? IS NULL OR run = (SELECT num FROM holdfast_runs WHERE id = ?)) AND (? IS NULL OR status = ?) ORDER BY rowid DESC LIMIT ?`,
  deadLetter: "SELECT body FROM holdfast_dead_letters WHERE id = ?",
};

export type SqliteStatements = { readonly [Name in keyof typeof STATEMENTS]: SqliteStatement };

/** Makes the tables where they are missing. Throws for a file that a newer version has written. */
export function createSchema(db: SqliteDriver): void {
  const version = schemaVersion(db);
  if (version === SCHEMA_VERSION) return;
  if (version > SCHEMA_VERSION) throw newerSchemaError(version, SCHEMA_VERSION);
  inTransaction(db, () => {
    db.exec(SCHEMA);
    // Another process may have been faster.
    if (schemaVersion(db) === 0) db.exec(`INSERT INTO holdfast_schema VALUES (${SCHEMA_VERSION})`);
  });
}

/** 0 where there are no tables of ours yet. */
function schemaVersion(db: SqliteDriver): number {
  const table = db.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'holdfast_schema'").get();
  if (table === undefined) return 0;
  const row = db.prepare("SELECT version FROM holdfast_schema").get() as { version: number } | undefined;
  return row?.version ?? 0;
}

export function prepareStatements(db: SqliteDriver): SqliteStatements {
  const prepared = Object.entries(STATEMENTS).map(([name, sql]) => [name, db.prepare(sql)]);
  return Object.fromEntries(prepared) as SqliteStatements;
}

/**
 * An id as it stands in the tables: what SQLite or a binding would change is escaped as in JSON. libsql reads a text
 * only up to a NUL, and UTF-8 has no half surrogates; all ids must stay different (C0.7).
 */
export function idText(id: string): string {
  return JSON.stringify(id).slice(1, -1);
}

/** The id that a text in the tables stands for. */
export function idOf(text: string): string {
  return JSON.parse(`"${text}"`) as string;
}
