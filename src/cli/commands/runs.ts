import { NotFoundError } from "../../core/errors.ts";
import type { RunRow, RunStatus } from "../../core/store.ts";
import { readHistory } from "../../engine/history.ts";
import { EXIT } from "../exit-codes.ts";
import { holderOf, isInterrupted } from "../holder.ts";
import { jsonReport, reportOf, textReport } from "../run-report.ts";
import { StoreChoice } from "../store-choice.ts";
import { table } from "../table.ts";
import type { Terminal } from "../terminal.ts";
import { instant, jsonLine } from "../text.ts";

export interface ListRunsCommand {
  status?: RunStatus;
  workflow?: string;
  limit: number;
  store?: string;
  json?: boolean;
}

/** `holdfast runs list`: newest first. */
export async function listRuns(terminal: Terminal, options: ListRunsCommand): Promise<number> {
  const { status, workflow: workflowId, limit, json } = options;
  const choice = new StoreChoice(options.store);
  const store = choice.openExisting();
  if (store === undefined) {
    terminal.talk(`Nothing has been run on ${choice.path} yet.`);
    return EXIT.OK;
  }
  try {
    // One more than asked for, to know whether there are more.
    const found = await store.list({ status, workflowId, limit: limit + 1 });
    const rows = found.slice(0, limit);
    if (json) for (const row of rows) terminal.print(jsonLine(jsonRow(row)));
    else if (rows.length > 0) {
      const headings = ["RUN", "WORKFLOW", "STATUS", "STARTED", "HELD BY"];
      const cells = rows.map((row) => [row.runId, row.workflowId, row.status, instant(row.createdAt), heldBy(row)]);
      terminal.print(table(headings, cells, await terminal.paint(), terminal.width));
    } else terminal.talk(`No runs in ${store.location}${(status ?? workflowId) ? " that fit" : ""}.`);
    if (found.length > limit) terminal.talk(`There are more; --limit shows more than ${limit}.`);
    return EXIT.OK;
  } finally {
    await store.close();
  }
}

function heldBy(row: RunRow): string {
  return holderOf(row) ?? (isInterrupted(row) ? "nobody, can be resumed" : "");
}

function jsonRow(row: RunRow): object {
  const { runId, workflowId, status, createdAt, updatedAt, version } = row;
  return {
    runId,
    workflowId,
    status,
    heldBy: holderOf(row) ?? null,
    createdAt: instant(createdAt),
    updatedAt: instant(updatedAt),
    records: version,
  };
}

export interface ShowRunCommand {
  store?: string;
  json?: boolean;
}

/** `holdfast runs show ID`: what the journal of a run says. Reads only, so that it never disturbs who carries it out. */
export async function showRun(terminal: Terminal, runId: string, options: ShowRunCommand): Promise<number> {
  const choice = new StoreChoice(options.store);
  const store = choice.openFor(`run "${runId}"`);
  try {
    const history = await readHistory(store, runId);
    if (history === undefined) throw new NotFoundError(`There is no run "${runId}" in ${store.location}.`);
    const report = reportOf(history, await store.deadLetters({ runId }));
    if (options.json) terminal.print(jsonLine(jsonReport(report)));
    else terminal.print(textReport(report, choice.argument, await terminal.paint(), terminal.width));
    return EXIT.OK;
  } finally {
    await store.close();
  }
}
