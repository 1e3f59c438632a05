import type { PruneFilter } from "../core/store.ts";
import { idOf, idText } from "./sqlite-schema.ts";
import type { SqliteStatements } from "./sqlite-statements.ts";

/** How many dead letters are deleted in one transaction, so that nobody waits long for the file. */
export const LETTERS_AT_ONCE = 1000;

/** A place in the order in which runs were created. */
interface Place {
  createdAt: number;
  num: number;
}

/** Before all runs. */
const NOWHERE: Place = { createdAt: -Infinity, num: 0 };

/** A run that may go. */
interface Prunable extends Place {
  runId: string;
}

/** Ended runs that may go by a filter, oldest first. */
export function prunableRuns(statements: SqliteStatements, filter: PruneFilter, now: number): Prunable[] {
  const { workflowId, endedBefore = -Infinity, keep = Infinity, limit = 1000 } = filter;
  const workflows =
    workflowId === undefined
      ? (statements.workflows.all() as { workflow: string }[]).map(({ workflow }) => workflow)
      : [idText(workflowId)];
  const most = limit === Infinity ? -1 : limit;
  return workflows
    .flatMap((workflow) => {
      const beyond = keep === Infinity ? NOWHERE : newestBeyond(statements, workflow, keep);
      // Nothing ends before it was created: what is old enough lies before this place, and little else does.
      const old = { createdAt: endedBefore, num: 0 };
      const last = inOrder(beyond, old) > 0 ? beyond : old;
      const values = [workflow, last.createdAt, last.num, endedBefore, beyond.createdAt, beyond.num, now];
      return statements.prunable.all(...values, ...values, ...values, most) as Prunable[];
    })
    .sort(inOrder)
    .slice(0, limit)
    .map(({ runId, ...place }) => ({ ...place, runId: idOf(runId) }));
}

/** Deletes ended runs as a filter says, oldest first, and gives their ids. */
export function pruneRuns(statements: SqliteStatements, filter: PruneFilter, now: number): string[] {
  const gone = prunableRuns(statements, filter, now);
  const { deleteFrom, deleteDamaged, deleteLetters, deleteSignals, deleteRun } = statements;
  for (const { num } of gone) {
    deleteFrom.run(num, 0);
    for (const statement of [deleteDamaged, deleteLetters, deleteSignals, deleteRun]) statement.run(num);
  }
  return gone.map(({ runId }) => runId);
}

/** Where the ended runs of a workflow begin that are beyond the newest few. */
function newestBeyond(statements: SqliteStatements, workflow: string, keep: number): Place {
  return (statements.newestBeyond.get(workflow, workflow, workflow, keep) as Place | undefined) ?? NOWHERE;
}

function inOrder(a: Place, b: Place): number {
  return a.createdAt - b.createdAt || a.num - b.num;
}
