import { codeOf, NotFoundError } from "../../core/errors.ts";
import type { RunRow, RunStatus, Store } from "../../core/store.ts";
import { readHistory } from "../../engine/history.ts";
import { EXIT } from "../exit-codes.ts";
import { holderOf, isDue, isInterrupted } from "../holder.ts";
import { jsonReport, reportOf, textReport } from "../run-report.ts";
import { StoreChoice } from "../store-choice.ts";
import { table } from "../table.ts";
import type { Terminal } from "../terminal.ts";
import { instant, jsonLine } from "../text.ts";
import { type Waiting, waitingIn } from "../waiting.ts";

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
    const waits = new Map<string, Waiting[]>();
    for (const row of rows) if (row.status === "waiting") waits.set(row.runId, await waitsOf(store, row));
    if (json) for (const row of rows) terminal.print(jsonLine(jsonRow(row, waits.get(row.runId))));
    else if (rows.length > 0) {
      const headings = ["RUN", "WORKFLOW", "STATUS", "STARTED", "HELD BY"];
      const cells = rows.map((row) => [
        row.runId,
        row.workflowId,
        row.status,
        instant(row.createdAt),
        heldBy(row, waits.get(row.runId)),
      ]);
      terminal.print(table(headings, cells, await terminal.paint(), terminal.width));
    } else terminal.talk(`No runs in ${store.location}${(status ?? workflowId) ? " that fit" : ""}.`);
    if (found.length > limit) terminal.talk(`There are more; --limit shows more than ${limit}.`);
    return EXIT.OK;
  } finally {
    await store.close();
  }
}

/** What a waiting run waits for; nothing where its journal cannot be read, which `runs show` and the doctor tell. */
async function waitsOf(store: Store, { runId }: RunRow): Promise<Waiting[]> {
  try {
    const history = await readHistory(store, runId);
    return history === undefined ? [] : waitingIn(history.state);
  } catch (error) {
    if (codeOf(error) === "STORE_CORRUPT") return [];
    throw error;
  }
}

function heldBy(row: RunRow, waits: readonly Waiting[] = []): string {
  const holder = holderOf(row);
  if (holder !== undefined) return holder;
  if (row.status !== "waiting") return isInterrupted(row) ? "nobody, can be resumed" : "";
  const wakes = isDue(row) ? "due now" : row.wakeAt === null ? "" : `wakes ${instant(row.wakeAt)}`;
  const signals = signalsOf(waits);
  return [wakes, signals.length === 0 ? "" : `waits for ${signals.join(", ")}`].filter(Boolean).join(", ");
}

function signalsOf(waits: readonly Waiting[]): string[] {
  return waits.flatMap(({ signal }) => (signal === null ? [] : [signal]));
}

function jsonRow(row: RunRow, waits: readonly Waiting[] | undefined): object {
  const { runId, workflowId, status, createdAt, updatedAt, version } = row;
  return {
    runId,
    workflowId,
    status,
    heldBy: holderOf(row) ?? null,
    ...(waits !== undefined && {
      wakeAt: row.wakeAt === null ? null : instant(row.wakeAt),
      waitsFor: signalsOf(waits),
    }),
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
    const [letters, signals] = await Promise.all([store.deadLetters({ runId }), store.signals({ runId })]);
    const report = reportOf(history, letters, signals);
    if (options.json) terminal.print(jsonLine(jsonReport(report)));
    else terminal.print(textReport(report, choice.argument, await terminal.paint(), terminal.width));
    return EXIT.OK;
  } finally {
    await store.close();
  }
}
