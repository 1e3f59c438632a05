import { LeaseLostError, versionConflictError } from "../core/errors.ts";
import { type Append, isEnded } from "../core/store.ts";
import type { SqliteValue } from "./sqlite-driver.ts";
import { APPENDED_AT_ONCE, idText, type SqliteStatements, type StoredRun } from "./sqlite-schema.ts";

/** What a connection knows of the runs that it appends to, from one transaction to the next. */
export interface KnownRuns {
  /** What `PRAGMA data_version` said last: it changes when another connection has written. */
  dataVersion: number;
  /** By run id: the row, the token that holds the run, and how many records it has. */
  readonly runs: Map<string, { readonly num: number; readonly token: number; version: number }>;
}

/**
 * The appends of one transaction, stored in few statements: calling a statement costs as much as the row it stores.
 * The fence costs one question for all of them: while no other connection has written, nobody else can hold a run that
 * was held from here. It is asked inside the transaction, which is the only writer until it commits, so that nothing
 * changes between check and write.
 */
export class Appends {
  readonly #statements: SqliteStatements;
  readonly #known: KnownRuns["runs"];
  readonly #wallNow: number;
  #rows: SqliteValue[][] = [];

  constructor(statements: SqliteStatements, known: KnownRuns, wallNow: number) {
    this.#statements = statements;
    this.#known = known.runs;
    this.#wallNow = wallNow;
    const { data_version: dataVersion } = statements.dataVersion.get() as { data_version: number };
    if (dataVersion !== known.dataVersion) known.runs.clear();
    known.dataVersion = dataVersion;
  }

  /** Checks an append and takes it in. Throws `LeaseLostError`, or `StoreUnavailableError` for a wrong version. */
  add({ runId, token, version, body, checksum, status, deadLetters }: Append): void {
    const run = this.#runOf(runId, token);
    if (run.version !== version) throw versionConflictError(runId, version, run.version);
    run.version++;
    this.#rows.push([run.num, version, checksum, body]);
    if (status !== undefined) {
      const ends = isEnded(status) ? 1 : 0;
      this.#statements.setStatus.run(status, this.#wallNow, run.version, checksum, ends, ends, run.num);
      if (ends === 1) this.#known.delete(runId);
    }
    for (const letter of deadLetters ?? []) {
      const { id, workflowId, nodeId, status: state, timestamp } = letter;
      const [workflow, node] = [idText(workflowId), idText(nodeId)];
      this.#statements.putDeadLetter.run(id, run.num, workflow, node, state, timestamp, JSON.stringify(letter));
    }
  }

  /** Stores what was taken in. */
  store(): void {
    const rows = this.#rows;
    this.#rows = [];
    let from = 0;
    for (; from + APPENDED_AT_ONCE <= rows.length; from += APPENDED_AT_ONCE) {
      this.#statements.appendMany.run(...rows.slice(from, from + APPENDED_AT_ONCE).flat());
    }
    for (; from < rows.length; from++) this.#statements.append.run(...rows[from]!);
  }

  #runOf(runId: string, token: number): { num: number; version: number } {
    const known = this.#known.get(runId);
    if (known !== undefined) {
      if (known.token !== token) throw new LeaseLostError(runId, token);
      return known;
    }
    const row = this.#statements.runById.get(idText(runId)) as StoredRun | undefined;
    if (row === undefined || row.token !== token || row.owner === null) throw new LeaseLostError(runId, token);
    const run = { num: row.num, token, version: row.version };
    this.#known.set(runId, run);
    return run;
  }
}
