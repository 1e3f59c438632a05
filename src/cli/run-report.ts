import { systemClock } from "../core/clock.ts";
import type { StoredError } from "../core/errors.ts";
import type { DeadLetter, Signal } from "../core/store.ts";
import { CANCEL } from "../engine/cancellation.ts";
import { isDegraded } from "../engine/announce.ts";
import type { RunHistory } from "../engine/history.ts";
import type { Outline } from "../workflow/fingerprint.ts";
import { invocationKey } from "../workflow/invocation-id.ts";
import type { Invocation, RunState } from "../workflow/run-state.ts";
import { commandLine } from "./command-line.ts";
import { plainLetter } from "../engine/plain-letter.ts";
import { holderOf, isDue } from "./holder.ts";
import { facts, type Paint, table } from "./table.ts";
import { asJson, clean, counted, cut, duration, errorLines, instant, readableLine } from "./text.ts";
import { signalCommand, waitingIn, waitText } from "./waiting.ts";

/** What is to be told of a run: its history, with everything worked out that a person asks about. */
export interface RunReport {
  readonly history: RunHistory;
  readonly letters: readonly DeadLetter[];
  /** What it was told and has not taken yet. */
  readonly signals: readonly Signal[];
  /** Who carries it out now. */
  readonly holder: string | undefined;
  readonly version: string;
  readonly steps: readonly StepReport[];
  /** Nodes that nothing has happened to yet. */
  readonly notReached: readonly string[];
  readonly now: number;
}

/** One invocation, with the error that it met last, unless it got over it, and the number of its newest record. */
interface StepReport {
  readonly key: string;
  readonly invocation: Invocation;
  readonly error: StoredError | undefined;
  readonly record: number;
}

export function reportOf(history: RunHistory, letters: readonly DeadLetter[], signals: readonly Signal[]): RunReport {
  const records = new Map<string, number>();
  const errors = new Map<string, StoredError>();
  for (const { record, event } of history.events) {
    if (!("id" in event)) continue;
    const key = invocationKey(event.id);
    records.set(key, record);
    if ("error" in event) errors.set(key, event.error);
  }
  const steps = [...history.state.invocations].map(([key, invocation]): StepReport => {
    const isFine = invocation.status === "completed" && !history.state.compensated.get(key);
    const error = isFine ? undefined : errors.get(key);
    return { key, invocation, error, record: records.get(key)! };
  });
  const { version, nodes } = outlineOf(history);
  const begun = new Set(steps.map(({ invocation }) => invocation.id.node));
  return {
    history,
    letters,
    signals,
    holder: holderOf(history.row),
    version,
    steps,
    notReached: nodes.filter((node) => !begun.has(node)),
    now: systemClock.wallNow(),
  };
}

/** The version and the nodes of the definition that a run was started with, without backups on standby. */
function outlineOf({ state }: RunHistory): { version: string; nodes: string[] } {
  if (state.outline === "") return { version: "", nodes: [] };
  const { version, nodes, edges, fallbacks } = JSON.parse(state.outline) as Outline;
  const targets = new Set(edges.map(({ to }) => to));
  const standby = new Set(fallbacks.map(({ backup }) => backup).filter((backup) => !targets.has(backup)));
  return { version, nodes: nodes.filter((node) => !standby.has(node)) };
}

/** A run as one JSON object. */
export function jsonReport({ history, letters, signals, holder, version, steps, notReached }: RunReport): object {
  const { row, state, events, damage } = history;
  return {
    runId: row.runId,
    workflowId: row.workflowId,
    version,
    fingerprint: state.fingerprint,
    status: row.status,
    degraded: isDegraded(state),
    heldBy: holder ?? null,
    ...(row.status === "waiting" && { wakeAt: row.wakeAt === null ? null : instant(row.wakeAt) }),
    startedAt: state.startedAt === 0 ? null : instant(state.startedAt),
    endedAt: state.endedAt === 0 ? null : instant(state.endedAt),
    input: state.input === "" ? null : asJson(state.input),
    steps: steps.map(({ key, invocation, error, record }) => ({
      nodeId: invocation.id.node,
      invocationId: key,
      servedBy: invocation.id.backup ?? invocation.id.node,
      status: statusOf(invocation, state),
      attempts: invocation.attempts,
      crashes: invocation.crashes,
      startedAt: instant(invocation.startedAt),
      ...(invocation.status === "waiting" && { retryAt: instant(invocation.retryAt) }),
      ...(invocation.status === "sleeping" && {
        wakeAt: invocation.wakeAt === null ? null : instant(invocation.wakeAt),
        waitsFor: invocation.signal,
      }),
      ...("endedAt" in invocation && { durationMs: invocation.endedAt - invocation.startedAt }),
      ...(invocation.status === "completed" && { output: asJson(invocation.output) }),
      ...(error !== undefined && { error }),
      record,
    })),
    notReached,
    journal: { records: row.version, events: events.length, damage: damage ?? null },
    signals: signals.map(({ id, name, payload, at }) => ({ id, name, at: instant(at), payload: asJson(payload) })),
    deadLetters: letters.map(plainLetter),
  };
}

/** A run for people: what became of it in a sentence, facts, its steps, and the errors that they met. */
export function textReport(report: RunReport, store: readonly string[], paint: Paint, width: number): string {
  const { history, version, steps, notReached, letters, signals, holder } = report;
  const { row, state, events, damage } = history;
  const parts = [
    `${sentence(report, store)}\n`,
    facts([
      ["run", clean(row.runId)],
      ["workflow", `${clean(row.workflowId)}, version ${clean(version)}`],
      ["status", paint(row.status)],
      ["started", instant(state.startedAt || row.createdAt)],
      ...(state.endedAt === 0 ? [] : [["ended", instant(state.endedAt)] as const]),
      ...(holder === undefined ? [] : [["held by", clean(holder)] as const]),
      ["journal", `${counted(events.length, "event")} in ${counted(row.version, "record")}, ${damage ?? "intact"}`],
      ...signals.map(({ name, payload, at }) => {
        const what = name === CANCEL ? "to be cancelled" : `${clean(name)} ${readableLine(payload)}`;
        return ["told", cut(`${what}, at ${instant(at)}`, 200)] as const;
      }),
      ...(state.input === "" ? [] : [["input", cut(readableLine(state.input), 200)] as const]),
    ]),
  ];
  const rows = [
    ...steps.map((step) => stepCells(step, report)),
    ...notReached.map((node) => [node, "", "not reached", "", "", ""]),
  ];
  if (rows.length > 0)
    parts.push(`\n${table(["NODE", "BY", "STATUS", "ATTEMPTS", "TOOK", "RECORD"], rows, paint, width)}`);
  const errors = steps.flatMap(({ invocation: { id }, error, record }) =>
    error === undefined
      ? []
      : [`\n${clean(id.backup ?? id.node)}, in record ${record}:`, ...errorLines(error).map((line) => `  ${line}`)],
  );
  parts.push(...errors);
  for (const { id, status } of letters) {
    const what =
      status === "pending"
        ? `. Redrive it with:\n  ${commandLine("dlq", "redrive", id, ...store, "--file")} FILE`
        : `, ${status}`;
    parts.push(`\nDead letter ${id}${what}`);
  }
  return parts.join("\n");
}

/** The status of an invocation in the words of a user, to whom it waits, whatever for. */
function statusOf({ id, status }: Invocation, { compensated }: RunState): string {
  const undone = compensated.get(invocationKey(id));
  if (undone !== undefined) return undone === null ? "undone" : "not undone";
  return status === "sleeping" ? "waiting" : status;
}

function stepCells({ invocation, record }: StepReport, { history, now, holder }: RunReport): string[] {
  const { id, status, attempts, startedAt } = invocation;
  const isOver = status === "completed" || status === "failed";
  const took = isOver
    ? duration(invocation.endedAt - startedAt)
    : holder === undefined
      ? ""
      : duration(now - startedAt);
  const shown = status === "running" && holder === undefined ? "interrupted" : statusOf(invocation, history.state);
  return [id.node, id.backup ?? id.node, shown, String(attempts), took, String(record)];
}

/** What became of a run, as one would tell it. */
function sentence(report: RunReport, store: readonly string[]): string {
  const { history, holder, steps, now } = report;
  const { row, state } = history;
  const after = duration(state.endedAt - state.startedAt);
  switch (state.status) {
    case "new":
      return "The run was created, but its start was never recorded.";
    case "completed":
      return `The run completed after ${after}${isDegraded(state) ? ", degraded: a backup served" : ""}.`;
    case "failed": {
      const { node, error } = state.failure!;
      return `The run failed after ${after}: node ${clean(node)} gave up: ${clean(error.message)}`;
    }
    case "cancelled":
      return `The run was cancelled after ${after}: ${clean(state.cancelReason!.message)}`;
    case "waiting":
      return waitSentence(report, store);
    case "running":
      break;
  }
  if (holder === undefined) {
    return `The run was interrupted, and nobody carries it out. Resume it with:\n  ${resumeCommand(row.runId, store)}`;
  }
  const waits = steps.flatMap(({ invocation }) => (invocation.status === "waiting" ? [invocation] : []));
  const waiting = waits.map(({ id, attempts, retryAt }) => {
    const wait = retryAt > now ? `in ${duration(retryAt - now)}` : "now";
    return `; ${clean(id.backup ?? id.node)} is tried again ${wait}, after ${counted(attempts, "attempt")}`;
  });
  const asleep = waitingIn(state).map((wait) => `; ${wait.name} ${waitText(wait)}`);
  return `The run has been going for ${duration(now - state.startedAt)}${waiting.join("")}${asleep.join("")}.`;
}

/** What a run waits for that only time or a signal leads on, and how to lead it on. */
function waitSentence({ history: { row, state } }: RunReport, store: readonly string[]): string {
  const waits = waitingIn(state);
  const signals = waits.flatMap(({ signal }) => (signal === null ? [] : [signal]));
  return [
    `The run waits: ${waits.map((wait) => `${wait.name} ${waitText(wait)}`).join("; ")}.`,
    ...signals.map((signal) => `Send it with:\n  ${signalCommand(row.runId, signal, store)}`),
    `${isDue(row) ? "It is due, and goes on" : "Then it goes on"} where somebody looks after it. If nobody does, go on with:\n  ${resumeCommand(row.runId, store)}`,
  ].join("\n");
}

function resumeCommand(runId: string, store: readonly string[]): string {
  return commandLine("run", "FILE", "--run-id", runId, "--resume", ...store);
}
