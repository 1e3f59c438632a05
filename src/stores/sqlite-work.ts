import { promiseMistake } from "../core/at-once.ts";
import { ConfigError } from "../core/errors.ts";
import type { SqlTransaction, SqlValue } from "../core/store.ts";
import { isTrouble, type SqliteDriver, type SqliteStatement } from "./sqlite-driver.ts";
import { Refusal } from "./sqlite-file.ts";

/** What a statement of the user's may begin with. The rest would end the transaction, or reach beyond it. */
const ALLOWED = ["SELECT", "VALUES", "WITH", "INSERT", "REPLACE", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP"];

const COMMENT = String.raw`--[^\n]*|/\*[^*]*(?:\*+[^*/][^*]*)*(?:\*+/|\**$)`;
const QUOTED = String.raw`'[^']*(?:''[^']*)*'|"[^"]*(?:""[^"]*)*"|${"`[^`]*`"}|\[[^\]]*\]`;
const NOT_CODE = new RegExp(`${COMMENT}|${QUOTED}`, "g");

/**
 * Carries out work of the user's in the open transaction. Throws a `Refusal` with what the work threw, after what it
 * did was undone; the error of SQLite where it is the file that is in trouble.
 */
export function carryOut<T>(db: SqliteDriver, work: (transaction: SqlTransaction) => T): T {
  // Of the inner one only its being there matters: see UserSql.
  db.exec("SAVEPOINT holdfast_work; SAVEPOINT holdfast_alive");
  const sql = new UserSql(db);
  let thrown: { error: unknown } | null = null;
  let result!: T;
  try {
    const why = "a transaction cannot wait for it. Do what takes time before it, and only run SQL in it.";
    const mistake = promiseMistake((result = work(sql)), "The function of a transaction", why);
    if (mistake !== null) throw mistake;
  } catch (error) {
    thrown = { error };
  }
  const lost = sql.end();
  if (lost !== null) throw isTrouble(lost.error) ? lost.error : new Refusal((thrown ?? lost).error, "nothing");
  if (thrown !== null) db.exec("ROLLBACK TO holdfast_work");
  db.exec("RELEASE holdfast_work");
  if (thrown !== null) throw new Refusal(thrown.error);
  return result;
}

/**
 * What the work gets. An error may have taken the whole transaction with it: that of a full disk, or a conflict that
 * the user's own table answers with ROLLBACK. What then ran would be committed by itself, so nothing runs any more.
 */
class UserSql implements SqlTransaction {
  readonly #db: SqliteDriver;
  #lost: { error: unknown } | null = null;
  #isOver = false;
  #counting: SqliteStatement | null = null;

  constructor(db: SqliteDriver) {
    this.#db = db;
  }

  all(sql: string, ...parameters: SqlValue[]): Record<string, unknown>[] {
    checkStatement(sql);
    return this.#rowsOf(sql, parameters).map(withBytes);
  }

  run(sql: string, ...parameters: SqlValue[]): number {
    checkStatement(sql);
    const before = this.#changes().total;
    this.#rowsOf(sql, parameters);
    const { total, changes } = this.#changes();
    // Of a statement that changes no rows SQLite tells the number of an earlier one.
    return total === before ? 0 : changes;
  }

  /** Nothing runs from here on; gives the error that the transaction was lost with. */
  end(): { error: unknown } | null {
    this.#isOver = true;
    return this.#lost;
  }

  // All rows, also where nobody wants them: libsql leaves a statement that has more to give under way, and with it no
  // transaction can be committed.
  #rowsOf(sql: string, parameters: readonly SqlValue[]): unknown[] {
    if (this.#isOver)
      throw new ConfigError(
        `This transaction is over, and "${shortened(sql)}" was not run. Use it in its function only.`,
      );
    if (this.#lost !== null) throw this.#lost.error;
    for (const parameter of parameters) checkParameter(sql, parameter);
    try {
      return this.#db.prepare(sql).all(...parameters);
    } catch (error) {
      if (isTrouble(error) || !this.#isAlive()) this.#lost = { error };
      throw error;
    }
  }

  #changes(): { total: number; changes: number } {
    this.#counting ??= this.#db.prepare("SELECT total_changes() AS total, changes() AS changes");
    return this.#counting.get() as { total: number; changes: number };
  }

  #isAlive(): boolean {
    try {
      this.#db.exec("RELEASE holdfast_alive; SAVEPOINT holdfast_alive");
      return true;
    } catch {
      return false;
    }
  }
}

/** Throws for a statement that is not allowed, and for more than one. */
function checkStatement(sql: string): void {
  const code = String(sql).replace(NOT_CODE, (text) => (/^(?:--|\/\*)/.test(text) ? " " : "x"));
  const keyword = /^[\s;]*([a-z]+)/i.exec(code)?.[1]!.toUpperCase() ?? "";
  if (!ALLOWED.includes(keyword))
    throw new ConfigError(
      `A transaction of a step cannot run "${shortened(sql)}": it runs ${ALLOWED.join(", ")}. When it begins and ends, and how the file is set, is up to the store.`,
    );
  const isTrigger = /^[\s;]*create\s+(?:temp(?:orary)?\s+)?trigger\b/i.test(code);
  // SQLite would run the first and say nothing of the rest.
  if (/;[\s;]*[^\s;]/.test(code.replace(/^[\s;]+/, "")) && !isTrigger)
    throw new ConfigError(`"${shortened(sql)}" is more than one statement. Run each by itself.`);
}

// libsql ends the process for values that it does not know, and node:sqlite takes some that libsql does not.
function checkParameter(sql: string, parameter: unknown): void {
  const isAllowed =
    parameter === null || ["string", "number", "bigint"].includes(typeof parameter) || parameter instanceof Uint8Array;
  if (!isAllowed)
    throw new ConfigError(
      `A parameter of "${shortened(sql)}" is of the type ${typeof parameter}. SQL takes strings, numbers, bigints, null and Uint8Array.`,
    );
}

/** The row with its blobs as `Uint8Array`, which libsql gives as bare buffers. */
function withBytes(row: unknown): Record<string, unknown> {
  const columns = Object.entries(row as object).map(([name, value]) => [
    name,
    value instanceof ArrayBuffer ? new Uint8Array(value) : value,
  ]);
  return Object.fromEntries(columns) as Record<string, unknown>;
}

function shortened(sql: unknown): string {
  const line = String(sql).replace(/\s+/g, " ").trim();
  return line.length > 60 ? `${line.slice(0, 60)}…` : line;
}
