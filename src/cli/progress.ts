import type { HoldfastEvent } from "../core/events.ts";
import type { RunHistory } from "../engine/history.ts";
import type { Plan } from "../workflow/plan.ts";
import { invocationIdOf, invocationKey } from "../workflow/invocation-id.ts";
import { clean, counted, cut, duration, said } from "./text.ts";

/** What is known of a run while it is watched: a fold over its events, drawn by `frame`. Instants are wall clock. */
export interface Progress {
  readonly runId: string;
  readonly workflowId: string;
  /** How many nodes the run has to get through; backups on standby do not count. */
  readonly nodes: number;
  /** When watching began, and how many nodes were done by then. */
  readonly since: number;
  readonly doneBefore: number;
  done: number;
  /** Whether anything has happened: nothing does for a run that had ended before. */
  hasBegun: boolean;
  /** What is open now, by invocation id. */
  readonly rows: Map<string, Row>;
  /** Breakers that are not closed, with their state. */
  readonly breakers: Map<string, string>;
}

interface Row {
  name: string;
  attempt: number;
  since: number;
  /** Set while a failed attempt waits for the next one. */
  retry: { at: number; why: string } | null;
}

/** Begins to watch a run, from where its history has brought it. */
export function newProgress(of: { runId: string; plan: Plan; history: RunHistory | undefined; now: number }): Progress {
  const { runId, plan, history, now } = of;
  const { id: workflowId } = plan.definition;
  const rows = new Map<string, Row>();
  let done = 0;
  for (const [key, invocation] of history?.state.invocations ?? []) {
    if (invocation.status === "completed") done++;
    if (invocation.status !== "waiting") continue;
    const name = nameOf({ nodeId: invocation.id.node, invocationId: key });
    const { attempts: attempt, retryAt: at } = invocation;
    rows.set(key, { name, attempt, since: now, retry: { at, why: lastFailure(history!, key) } });
  }
  const nodes = [...plan.nodes].filter(([id, { inbound }]) => inbound.length > 0 || plan.starts.includes(id)).length;
  return { runId, workflowId, nodes, since: now, doneBefore: done, done, hasBegun: false, rows, breakers: new Map() };
}

function lastFailure({ events }: RunHistory, key: string): string {
  const failures = events.flatMap(({ event }) =>
    event.kind === "attempt_failed" && invocationKey(event.id) === key ? [event.error.message] : [],
  );
  return clean(failures.at(-1) ?? "");
}

/** Whether an event is about another run: a node may run workflows of its own. */
function isForeign({ runId }: Progress, event: HoldfastEvent): boolean {
  return "runId" in event && event.runId !== runId;
}

/** Applies one event in place. */
export function follow(progress: Progress, event: HoldfastEvent): void {
  if (isForeign(progress, event)) return;
  const { rows, breakers } = progress;
  switch (event.type) {
    case "run.started":
    case "run.resumed":
    case "dead_letter.redriven":
      progress.hasBegun = true;
      return;
    case "node.started":
      rows.set(event.invocationId, { name: nameOf(event), attempt: 1, since: event.at, retry: null });
      return;
    case "attempt.started":
      rows.set(event.invocationId, { name: nameOf(event), attempt: event.attempt, since: event.at, retry: null });
      return;
    case "attempt.failed": {
      const { invocationId, attempt, at, retryDelayMs, error } = event;
      rows.set(invocationId, {
        name: nameOf(event),
        attempt,
        since: at,
        retry: { at: at + retryDelayMs, why: said(error) },
      });
      return;
    }
    case "node.completed":
      rows.delete(event.invocationId);
      progress.done++;
      return;
    case "node.failed":
      rows.delete(event.invocationId);
      return;
    case "breaker.changed":
      if (event.to === "CLOSED") breakers.delete(event.policy);
      else breakers.set(event.policy, state(event.to));
      return;
  }
}

/** The live region: a heading, a row for each open node, a row for each breaker that is not closed. */
export function frame(progress: Progress, now: number, columns: number, rows: number): string {
  const { runId, workflowId, nodes, done, doneBefore, since, breakers } = progress;
  const elapsed = now - since;
  const rate =
    done === doneBefore || elapsed <= 0 ? "" : `, ${(((done - doneBefore) * 1000) / elapsed).toFixed(1)} nodes/s`;
  const heading = `${workflowId} ${runId}: ${done} of ${counted(nodes, "node")}, ${Math.max(0, nodes - done)} left${rate}, ${duration(elapsed)}`;
  const open = [...progress.rows.values()];
  const width = Math.max(0, ...open.map(({ name }) => clean(name).length));
  const lines = [
    ...open.map((row) => `  ${clean(row.name).padEnd(width)}  ${rowText(row, now)}`),
    ...[...breakers].map(([policy, is]) => `  breaker ${policy} is ${is}`),
  ];
  // A line is left for the cursor, and one for what does not fit.
  const room = Math.max(1, rows - 3);
  const shown = lines.length <= room ? lines : [...lines.slice(0, room), `  and ${lines.length - room} more`];
  return [heading, ...shown].map((line) => cut(clean(line), columns)).join("\n");
}

function rowText({ attempt, since, retry }: Row, now: number): string {
  if (retry === null) return `attempt ${attempt}, ${duration(now - since)}`;
  return `attempt ${attempt} failed, next in ${duration(retry.at - now)}: ${retry.why}`;
}

/** An event as a line for a log, or undefined where it is not worth one. */
export function transition(progress: Progress, event: HoldfastEvent): string | undefined {
  if (isForeign(progress, event)) return undefined;
  switch (event.type) {
    case "run.started":
      return `run ${clean(event.runId)} of ${clean(event.workflowId)} started`;
    case "run.resumed": {
      const interrupted = event.interrupted === 0 ? "" : `; ${counted(event.interrupted, "node")} had been interrupted`;
      return `run ${clean(event.runId)} of ${clean(event.workflowId)} resumed${interrupted}`;
    }
    case "node.started":
      return `${nameOf(event)} started`;
    case "attempt.started":
      return `${nameOf(event)} attempt ${event.attempt}`;
    case "attempt.failed":
      return `${nameOf(event)} attempt ${event.attempt} failed, next in ${duration(event.retryDelayMs)}: ${said(event.error)}`;
    case "node.completed":
      return `${nameOf(event)} completed after ${counted(event.attempts, "attempt")}, ${duration(event.durationMs)}`;
    case "node.failed":
      return `${nameOf(event)} failed after ${counted(event.attempts, "attempt")}: ${said(event.error)}`;
    case "dead_letter.entered":
      return `${clean(event.nodeId)} left dead letter ${event.deadLetterId}`;
    case "dead_letter.redriven":
      return `run ${clean(event.runId)} of ${clean(event.workflowId)}: ${clean(event.nodeId)} is redriven`;
    case "dead_letter.settled":
      return `${clean(event.nodeId)} settled dead letter ${event.deadLetterId}`;
    case "breaker.changed":
      return `breaker ${clean(event.policy)} is ${state(event.to)}, was ${state(event.from)}`;
    case "value.large":
      return `warning: ${clean(event.nodeId)} returned ${(event.bytes / 2 ** 20).toFixed(1)} MB; keep large values elsewhere`;
    case "journal.damaged":
      return `warning: the journal of run ${clean(event.runId)} is damaged at record ${event.seq}: ${event.why}; the run goes on from before it`;
  }
  return undefined;
}

/** Whether a transition should still be seen when the live region has moved on. */
export function isLasting({ type }: HoldfastEvent): boolean {
  return (
    type === "node.failed" || type === "dead_letter.entered" || type === "value.large" || type === "journal.damaged"
  );
}

/** Who works: the node, or a backup in its place. */
function nameOf({ nodeId, invocationId }: { nodeId: string; invocationId: string }): string {
  const { backup } = invocationIdOf(invocationId);
  return clean(backup === undefined ? nodeId : `${backup} (for ${nodeId})`);
}

function state(name: string): string {
  return name.toLowerCase().replace("_", "-");
}
