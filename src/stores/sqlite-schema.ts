import type { SqliteDriver } from "./sqlite-driver.ts";
import { inTransaction, newerSchemaError } from "./sqlite-file.ts";

// Records are kept in a rowid table, in the order in which they come: WITHOUT ROWID would keep them in the order of
// the key and take three times the bytes and the time. Names are prefixed, since users may keep their own tables here.
const VERSION_1 = `
  CREATE TABLE holdfast_schema (version INTEGER NOT NULL);
  INSERT INTO holdfast_schema VALUES (1);
  CREATE TABLE holdfast_runs (
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
  CREATE INDEX holdfast_runs_by_status ON holdfast_runs (status, num);
  CREATE TABLE holdfast_records (
    run INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (run, seq)
  );
  CREATE TABLE holdfast_damaged_records (
    found_at INTEGER NOT NULL,
    run INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    body BLOB NOT NULL
  );
  CREATE TABLE holdfast_dead_letters (
    id TEXT PRIMARY KEY,
    run INTEGER NOT NULL,
    workflow TEXT NOT NULL,
    node TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    body TEXT NOT NULL
  );
  CREATE INDEX holdfast_dead_letters_by_run ON holdfast_dead_letters (run);
`;

// An index of a list holds what the list is filtered by, the status, and what it is ordered by. The codes are taken out of the JSON as `idText` writes them.
const VERSION_2 = `
  ALTER TABLE holdfast_runs ADD COLUMN snapshot_seq INTEGER;
  ALTER TABLE holdfast_runs ADD COLUMN snapshot_previous INTEGER;
  DROP INDEX holdfast_runs_by_status;
  CREATE INDEX holdfast_runs_by_status ON holdfast_runs (status, created_at);
  CREATE INDEX holdfast_runs_by_workflow ON holdfast_runs (workflow, status, created_at);
  CREATE INDEX holdfast_runs_due ON holdfast_runs (wake_at) WHERE wake_at IS NOT NULL;
  CREATE INDEX holdfast_runs_due_by_workflow ON holdfast_runs (workflow, wake_at) WHERE wake_at IS NOT NULL;
  CREATE INDEX holdfast_runs_by_owner ON holdfast_runs (owner) WHERE owner IS NOT NULL;
  CREATE INDEX holdfast_damaged_records_by_run ON holdfast_damaged_records (run);
  ALTER TABLE holdfast_dead_letters ADD COLUMN code TEXT;
  ALTER TABLE holdfast_dead_letters ADD COLUMN settled INTEGER NOT NULL DEFAULT 0;
  UPDATE holdfast_dead_letters SET settled = (status = 'succeeded'),
    code = SUBSTR(body -> '$.errorDetail.code', 2, LENGTH(body -> '$.errorDetail.code') - 2);
  DROP INDEX holdfast_dead_letters_by_run;
  CREATE INDEX holdfast_dead_letters_by_run ON holdfast_dead_letters (run, status, created_at);
  CREATE INDEX holdfast_dead_letters_by_status ON holdfast_dead_letters (status, created_at);
  CREATE INDEX holdfast_dead_letters_by_workflow ON holdfast_dead_letters (workflow, status, created_at);
  CREATE INDEX holdfast_dead_letters_by_node ON holdfast_dead_letters (node, status, created_at);
  CREATE INDEX holdfast_dead_letters_by_code ON holdfast_dead_letters (code, status, created_at);
  CREATE INDEX holdfast_dead_letters_settled ON holdfast_dead_letters (created_at) WHERE settled = 1;
  CREATE TABLE holdfast_signals (
    num INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (run, id)
  );
`;

/**
 * How the tables came to be: a file of version n has had the first n steps. A step that was released is never changed.
 * An older program refuses a newer file.
 */
const STEPS: readonly string[] = [VERSION_1, VERSION_2];

/** Makes the tables where they are missing, and brings those of an older version up to date. */
export function prepareTables(db: SqliteDriver): void {
  if (hasAllSteps(schemaVersion(db))) return;
  inTransaction(db, () => {
    // Another process may have been faster.
    const version = schemaVersion(db);
    if (hasAllSteps(version)) return;
    for (const step of STEPS.slice(version)) db.exec(step);
    db.exec(`UPDATE holdfast_schema SET version = ${STEPS.length}`);
  });
}

/** Throws for a file that a newer version has written. */
function hasAllSteps(version: number): boolean {
  if (version > STEPS.length) throw newerSchemaError(version, STEPS.length);
  return version === STEPS.length;
}

/** 0 where there are no tables of ours yet. */
function schemaVersion(db: SqliteDriver): number {
  const table = db.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'holdfast_schema'").get();
  if (table === undefined) return 0;
  return (db.prepare("SELECT version FROM holdfast_schema").get() as { version: number }).version;
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

/** The code of an error as it stands in the tables. */
export function codeText(code: string | undefined): string | null {
  return code === undefined ? null : idText(code);
}
