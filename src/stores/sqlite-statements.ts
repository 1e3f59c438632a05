import type { RunRow, RunStatus } from "../core/store.ts";
import type { SqliteDriver, SqliteStatement } from "./sqlite-driver.ts";
import { idOf } from "./sqlite-schema.ts";

export const RUN_COLUMNS = `
  num, id AS runId, workflow AS workflowId, status, token, owner, lease_until AS leaseUntil, created_at AS createdAt,
  updated_at AS updatedAt, wake_at AS wakeAt, head_version AS headVersion, head_checksum AS headChecksum,
  snapshot_seq AS snapshotSeq, snapshot_previous AS snapshotPrevious,
  (SELECT COALESCE(MAX(seq) + 1, 0) FROM holdfast_records WHERE run = num) AS version
`;

/** A row of `holdfast_runs` as the statements give it. */
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
  wakeAt: number | null;
  headVersion: number;
  headChecksum: number;
  snapshotSeq: number | null;
  snapshotPrevious: number | null;
  version: number;
}

/** The row as a store gives it. Field by field, since libsql adds fields of its own to what it gives. */
export function rowOf(row: StoredRun): RunRow {
  const { status, token, owner, leaseUntil, createdAt, updatedAt, wakeAt, version, snapshotSeq } = row;
  return {
    runId: idOf(row.runId),
    workflowId: idOf(row.workflowId),
    status,
    token,
    owner,
    leaseUntil,
    createdAt,
    updatedAt,
    wakeAt,
    version,
    snapshot: snapshotSeq === null ? null : { seq: snapshotSeq, previous: row.snapshotPrevious! },
    head: { version: row.headVersion, checksum: row.headChecksum },
  };
}

/** How many rows the statement `appendMany` stores. */
export const APPENDED_AT_ONCE = 16;

/** A question for each status with which a run ends: each is answered from an index, in order. Each takes all values. */
function ofEachEnd(select: string): string {
  return ["completed", "failed", "cancelled"].map((status) => `${select} AND status = '${status}'`).join(" UNION ALL ");
}

const ENDED = "SELECT created_at AS createdAt, num FROM holdfast_runs WHERE workflow = ?";

const PRUNABLE = `SELECT created_at AS createdAt, num, id AS runId FROM holdfast_runs WHERE workflow = ?
  AND (created_at, num) <= (?, ?) AND (updated_at < ? OR (created_at, num) <= (?, ?))
  AND (owner IS NULL OR lease_until <= ?)
  AND NOT EXISTS (SELECT 1 FROM holdfast_dead_letters WHERE run = holdfast_runs.num AND settled = 0)`;

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
  stillRunning: "UPDATE holdfast_runs SET updated_at = ?, head_version = ?, head_checksum = ? WHERE num = ?",
  setStatus: `UPDATE holdfast_runs SET status = ?, updated_at = ?, head_version = ?, head_checksum = ?, wake_at = ?,
    owner = CASE WHEN ? THEN NULL ELSE owner END, lease_until = CASE WHEN ? THEN 0 ELSE lease_until END WHERE num = ?`,
  setSnapshot: "UPDATE holdfast_runs SET snapshot_seq = ?, snapshot_previous = ? WHERE num = ?",
  forgetSnapshot:
    "UPDATE holdfast_runs SET snapshot_seq = NULL, snapshot_previous = NULL WHERE num = ? AND snapshot_seq >= ?",
  records: `SELECT seq, checksum, body FROM holdfast_records
    WHERE run = (SELECT num FROM holdfast_runs WHERE id = ?) AND seq >= ? AND seq < ? ORDER BY seq`,
  copyAside: `INSERT INTO holdfast_damaged_records SELECT ?, run, seq, checksum, body FROM holdfast_records WHERE run = ? AND seq >= ?`,
  deleteFrom: "DELETE FROM holdfast_records WHERE run = ? AND seq >= ?",
  putDeadLetter: `INSERT INTO holdfast_dead_letters (id, run, workflow, node, status, created_at, code, settled, body)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET status = excluded.status, code = excluded.code, settled = excluded.settled, body = excluded.body`,
  deadLetter: "SELECT run, body, created_at AS createdAt, rowid AS num FROM holdfast_dead_letters WHERE id = ?",
  countLetters: "SELECT status, COUNT(*) AS count FROM holdfast_dead_letters GROUP BY status",
  countLettersOf: "SELECT status, COUNT(*) AS count FROM holdfast_dead_letters WHERE workflow = ? GROUP BY status",
  pruneLetters: `DELETE FROM holdfast_dead_letters WHERE rowid IN (SELECT rowid FROM holdfast_dead_letters
    WHERE settled = 1 AND created_at < ? AND (? IS NULL OR workflow = ?) LIMIT ?)`,
  wake: "UPDATE holdfast_runs SET wake_at = MIN(COALESCE(wake_at, ?), ?) WHERE num = ? AND status = 'waiting'",
  putSignal: "INSERT OR IGNORE INTO holdfast_signals (run, id, body) VALUES (?, ?, ?)",
  takeSignal: "DELETE FROM holdfast_signals WHERE run = ? AND id = ?",
  signalsOfRun: `SELECT body FROM holdfast_signals WHERE run = (SELECT num FROM holdfast_runs WHERE id = ?) ORDER BY num`,
  signalsOfOwner: `SELECT body FROM holdfast_signals WHERE run IN (SELECT num FROM holdfast_runs WHERE owner = ?) ORDER BY num`,
  // One look into the index for each workflow, and not one for each run.
  workflows: `WITH RECURSIVE found (workflow) AS (
      SELECT (SELECT MIN(workflow) FROM holdfast_runs) UNION ALL
      SELECT (SELECT MIN(workflow) FROM holdfast_runs WHERE workflow > found.workflow) FROM found
        WHERE found.workflow IS NOT NULL
    ) SELECT workflow FROM found WHERE workflow IS NOT NULL`,
  newestBeyond: `${ofEachEnd(ENDED)} ORDER BY createdAt DESC, num DESC LIMIT 1 OFFSET ?`,
  prunable: `${ofEachEnd(PRUNABLE)} ORDER BY createdAt, num LIMIT ?`,
  deleteDamaged: "DELETE FROM holdfast_damaged_records WHERE run = ?",
  deleteLetters: "DELETE FROM holdfast_dead_letters WHERE run = ?",
  deleteSignals: "DELETE FROM holdfast_signals WHERE run = ?",
  deleteRun: "DELETE FROM holdfast_runs WHERE num = ?",
};

export interface SqliteStatements extends Readonly<Record<keyof typeof STATEMENTS, SqliteStatement>> {
  /** The connection, for statements that are made as they are needed. */
  readonly db: SqliteDriver;
  /** Lists that were asked for before: there are as many as there are ways to filter. */
  readonly lists: Map<string, SqliteStatement>;
}

export function prepareStatements(db: SqliteDriver): SqliteStatements {
  const prepared = Object.entries(STATEMENTS).map(([name, sql]) => [name, db.prepare(sql)]);
  return { ...Object.fromEntries(prepared), db, lists: new Map() } as SqliteStatements;
}
