import { LeaseLostError, versionConflictError } from "../core/errors.ts";
import { type Append, type DeadLetter, isSettled, type Signal, type SqlValue, takesSignals } from "../core/store.ts";
import { codeText, idText } from "./sqlite-schema.ts";
import { APPENDED_AT_ONCE, type SqliteStatements, type StoredRun } from "./sqlite-statements.ts";
import { carryOut } from "./sqlite-work.ts";

/** A run as a connection knows it that appends to it. */
interface KnownRun {
  readonly num: number;
  /** The token that holds it. */
  readonly token: number;
  /** How many records it has. */
  version: number;
  /** Whether it was running when it was claimed, and is so still. */
  readonly isRunning: boolean;
}

/** What a connection knows of the runs that it appends to, from one transaction to the next. */
export interface KnownRuns {
  /** What `PRAGMA data_version` said last: it changes when another connection has written. */
  dataVersion: number;
  /** By run id. */
  readonly runs: Map<string, KnownRun>;
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
  #rows: SqlValue[][] = [];

  constructor(statements: SqliteStatements, known: KnownRuns, wallNow: number) {
    this.#statements = statements;
    this.#known = known.runs;
    this.#wallNow = wallNow;
    const { data_version: dataVersion } = statements.dataVersion.get() as { data_version: number };
    if (dataVersion !== known.dataVersion) known.runs.clear();
    known.dataVersion = dataVersion;
  }

  /**
   * Checks an append and takes it in. Throws `LeaseLostError`, `StoreUnavailableError` for a wrong version, or what the
   * work of the user's threw.
   */
  add(append: Append): void {
    const { runId, token, version, status, deadLetters, signalsTaken, snapshotAfter, within } = append;
    const run = this.#runOf(runId, token);
    if (run.version !== version) throw versionConflictError(runId, version, run.version);
    const made = within === undefined ? undefined : carryOut(this.#statements.db, within);
    const { body, checksum } = made ?? append;
    run.version++;
    this.#rows.push([run.num, version, checksum, body]);
    for (const id of signalsTaken ?? []) this.#statements.takeSignal.run(run.num, idText(id));
    if (status !== undefined) this.#setStatus(run, append, checksum);
    if (snapshotAfter !== undefined) this.#statements.setSnapshot.run(version, snapshotAfter, run.num);
    for (const letter of deadLetters ?? []) putLetter(this.#statements, run.num, letter);
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

  #setStatus(run: KnownRun, { runId, status, wakeAt, wakeOn = [] }: Append, checksum: number): void {
    // Leaves the columns alone that have an index, which SQLite would write anew.
    if (status === "running" && run.isRunning) {
      this.#statements.stillRunning.run(this.#wallNow, run.version, checksum, run.num);
      return;
    }
    const back = status === "running" ? 0 : 1;
    const until = status === "waiting" ? (wakeAt ?? null) : null;
    const { setStatus, deleteSignals } = this.#statements;
    setStatus.run(status!, this.#wallNow, run.version, checksum, until, back, back, run.num);
    if (!takesSignals(status!)) deleteSignals.run(run.num);
    if (status === "waiting" && wakeOn.length > 0 && this.#isSignalled(runId, wakeOn)) {
      this.#statements.wake.run(this.#wallNow, this.#wallNow, run.num);
    }
    if (back === 1) this.#known.delete(runId);
  }

  /** Whether a signal of one of the names waits to be taken. */
  #isSignalled(runId: string, names: readonly string[]): boolean {
    const signals = this.#statements.signalsOfRun.all(idText(runId)) as { body: string }[];
    return signals.some(({ body }) => names.includes((JSON.parse(body) as Signal).name));
  }

  #runOf(runId: string, token: number): KnownRun {
    const known = this.#known.get(runId);
    if (known !== undefined) {
      if (known.token !== token) throw new LeaseLostError(runId, token);
      return known;
    }
    const row = this.#statements.runById.get(idText(runId)) as StoredRun | undefined;
    if (row === undefined || row.token !== token || row.owner === null) throw new LeaseLostError(runId, token);
    const run = { num: row.num, token, version: row.version, isRunning: row.status === "running" };
    this.#known.set(runId, run);
    return run;
  }
}

/** Stores a dead letter of a run, or what has become of it. */
function putLetter({ putDeadLetter }: SqliteStatements, run: number, letter: DeadLetter): void {
  const { id, workflowId, nodeId, status, timestamp, errorDetail } = letter;
  const places = [idText(id), run, idText(workflowId), idText(nodeId)];
  const state = [status, timestamp, codeText(errorDetail.code), isSettled(letter) ? 1 : 0];
  putDeadLetter.run(...places, ...state, JSON.stringify(letter));
}
