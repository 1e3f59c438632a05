import type {
  DeadLetter,
  DeadLetterFilter,
  DeadLetterStatus,
  RunFilter,
  RunRow,
  RunStatus,
  SqlValue,
} from "../core/store.ts";
import { noDuePageError, noPageError } from "./refusals.ts";
import type { SqliteStatement } from "./sqlite-driver.ts";
import { codeText, idText } from "./sqlite-schema.ts";
import { RUN_COLUMNS, rowOf, type SqliteStatements, type StoredRun } from "./sqlite-statements.ts";

/** A condition with the values it needs; null where it was not asked for. */
type Condition = readonly [sql: string, ...values: SqlValue[]] | null;

const RUN_STATUSES: readonly RunStatus[] = ["running", "waiting", "completed", "failed", "cancelled"];
const LETTER_STATUSES: readonly DeadLetterStatus[] = ["pending", "retrying", "succeeded", "permanent_failure"];

export function listRuns(statements: SqliteStatements, filter: RunFilter): RunRow[] {
  if (filter.wakesBefore !== undefined) return listDue(statements, filter.wakesBefore, filter);
  const { workflowId, status = RUN_STATUSES, olderThan, createdFrom, createdBefore, limit = 100 } = filter;
  const last = olderThan === undefined ? null : statements.runById.get(idText(olderThan));
  if (last === undefined) throw noPageError("run", olderThan!);
  const index = workflowId === undefined ? "status" : "workflow";
  const rows = newestFirst(
    statements,
    `SELECT ${RUN_COLUMNS} FROM holdfast_runs INDEXED BY holdfast_runs_by_${index}`,
    limit,
    [...new Set([status].flat())],
    [equal("workflow", workflowId), ...instants(createdFrom, createdBefore), after("num", last as StoredRun | null)],
  );
  return (rows as StoredRun[]).map(rowOf);
}

function listDue(statements: SqliteStatements, wakesBefore: number, filter: RunFilter): RunRow[] {
  const { workflowId, status = "waiting", olderThan, createdFrom, createdBefore, limit = 100 } = filter;
  if (olderThan !== undefined) throw noDuePageError();
  if (![status].flat().includes("waiting")) return [];
  const [where, values] = allOf([
    equal("workflow", workflowId),
    ["wake_at < ?", wakesBefore],
    ...instants(createdFrom, createdBefore),
  ]);
  const index = workflowId === undefined ? "due" : "due_by_workflow";
  const select = `SELECT ${RUN_COLUMNS} FROM holdfast_runs INDEXED BY holdfast_runs_${index}`;
  const list = listOf(statements, `${select} WHERE ${where} ORDER BY wake_at, num LIMIT ?`);
  return (list.all(...values, limitOf(limit)) as StoredRun[]).map(rowOf);
}

export function listLetters(statements: SqliteStatements, filter: DeadLetterFilter): DeadLetter[] {
  const { workflowId, nodeId, runId, status, errorCode, enteredFrom, enteredBefore, olderThan, limit = 100 } = filter;
  const last = olderThan === undefined ? null : statements.deadLetter.get(idText(olderThan));
  if (last === undefined) throw noPageError("dead letter", olderThan!);
  const [index] = Object.entries({
    run: runId,
    code: errorCode,
    node: nodeId,
    workflow: workflowId,
    status: "any",
  }).find(([, value]) => value !== undefined)!;
  const select = `SELECT body, created_at AS createdAt, rowid AS num FROM holdfast_dead_letters
    INDEXED BY holdfast_dead_letters_by_${index}`;
  const rows = newestFirst(statements, select, limit, status === undefined ? LETTER_STATUSES : [status], [
    equal("workflow", workflowId),
    equal("node", nodeId),
    runId === undefined ? null : ["run = (SELECT num FROM holdfast_runs WHERE id = ?)", idText(runId)],
    errorCode === undefined ? null : ["code = ?", codeText(errorCode)],
    ...instants(enteredFrom, enteredBefore),
    after("rowid", last as Place | null),
  ]);
  return (rows as { body: string }[]).map(({ body }) => JSON.parse(body) as DeadLetter);
}

/** Where something stands in a list. */
interface Place {
  createdAt: number;
  num: number;
}

/**
 * One question for each status, which SQLite merges: each of them comes from an index in the order of the list, so that
 * no more is read than is given. The index is named, since versions of SQLite choose differently between two.
 */
function newestFirst(
  statements: SqliteStatements,
  select: string,
  limit: number,
  statuses: readonly string[],
  conditions: readonly Condition[],
): unknown[] {
  if (statuses.length === 0) return [];
  const asked = statuses.map((status) => allOf([["status = ?", status], ...conditions]));
  const union = asked.map(([where]) => `${select} WHERE ${where}`).join(" UNION ALL ");
  const list = listOf(statements, `${union} ORDER BY createdAt DESC, num DESC LIMIT ?`);
  return list.all(...asked.flatMap(([, values]) => values), limitOf(limit));
}

function listOf({ db, lists }: SqliteStatements, sql: string): SqliteStatement {
  let list = lists.get(sql);
  if (list === undefined) lists.set(sql, (list = db.prepare(sql)));
  return list;
}

/** What conditions say together, with their values. */
function allOf(conditions: readonly Condition[]): [sql: string, values: SqlValue[]] {
  const given = conditions.filter((condition) => condition !== null);
  return [given.map(([sql]) => sql).join(" AND "), given.flatMap(([, ...values]) => values)];
}

// SQLite takes whole numbers only; a negative one means all.
function limitOf(limit: number): number {
  return limit === Infinity ? -1 : limit;
}

function equal(column: string, id: string | undefined): Condition {
  return id === undefined ? null : [`${column} = ?`, idText(id)];
}

function instants(from: number | undefined, before: number | undefined): Condition[] {
  return [
    from === undefined ? null : ["created_at >= ?", from],
    before === undefined ? null : ["created_at < ?", before],
  ];
}

function after(column: string, last: Place | null): Condition {
  return last && [`(created_at, ${column}) < (?, ?)`, last.createdAt, last.num];
}
