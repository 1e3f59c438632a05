import { codeOf } from "../core/errors.ts";
import type { HoldfastEvent } from "../core/events.ts";
import type { RunHistory } from "../engine/history.ts";
import type { Plan } from "../workflow/plan.ts";
import { invocationIdOf, invocationKey } from "../workflow/invocation-id.ts";
import { signalCommand, type Waiting, waitCountdown, waitText } from "./waiting.ts";
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
  /** Set while the run pauses. */
  pause: Pause | null;
  /** The option that names the store again. */
  readonly store: readonly string[];
}

/** When a run that pauses is taken up again, and what keeps it from going on. */
interface Pause {
  readonly at: number;
  readonly why: string;
  /** Another engine has the run: its store is not in trouble. */
  readonly isFollowing: boolean;
}

interface Row {
  name: string;
  attempt: number;
  since: number;
  /** Set while a failed attempt waits for the next one. */
  retry: { at: number; why: string } | null;
  /** Set while it waits for an instant or a signal. */
  waiting?: Waiting;
}

/** Begins to watch a run, from where its history has brought it. */
export function newProgress(of: {
  runId: string;
  plan: Plan;
  history: RunHistory | undefined;
  now: number;
  store: readonly string[];
}): Progress {
  const { runId, plan, history, now, store } = of;
  const { id: workflowId } = plan.definition;
  const rows = new Map<string, Row>();
  let done = 0;
  for (const [key, invocation] of history?.state.invocations ?? []) {
    if (invocation.status === "completed") done++;
    const { attempts: attempt } = invocation;
    const name = nameOf({ nodeId: invocation.id.node, invocationId: key });
    if (invocation.status === "waiting") {
      const retry = { at: invocation.retryAt, why: lastFailure(history!, key) };
      rows.set(key, { name, attempt, since: now, retry });
    } else if (invocation.status === "sleeping") {
      const { wakeAt, signal } = invocation;
      rows.set(key, { name, attempt, since: now, retry: null, waiting: { name, wakeAt, signal } });
    }
  }
  const nodes = [...plan.nodes].filter(([id, { inbound }]) => inbound.length > 0 || plan.starts.includes(id)).length;
  return {
    ...{ runId, workflowId, nodes, since: now, doneBefore: done, done, hasBegun: false, rows },
    ...{ breakers: new Map(), pause: null, store },
  };
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
      progress.pause = null;
      return;
    case "run.paused": {
      progress.pause = pauseOf(event);
      // Nodes that were at work were told to stop, and start again when the run goes on.
      for (const [key, { retry, waiting }] of rows) if (retry === null && waiting === undefined) rows.delete(key);
      return;
    }
    case "node.started":
      rows.set(event.invocationId, { name: nameOf(event), attempt: 1, since: event.at, retry: null });
      return;
    case "attempt.started":
      rows.set(event.invocationId, { name: nameOf(event), attempt: event.attempt, since: event.at, retry: null });
      return;
    case "node.waiting": {
      const { invocationId, at, wakeAt, signal } = event;
      const name = nameOf(event);
      rows.set(invocationId, { name, attempt: 1, since: at, retry: null, waiting: { name, wakeAt, signal } });
      return;
    }
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

function pauseOf({ at, retryDelayMs, error }: Extract<HoldfastEvent, { type: "run.paused" }>): Pause {
  return { at: at + retryDelayMs, why: said(error), isFollowing: codeOf(error) === "RUN_IN_USE" };
}

/** The live region: a heading, why the run pauses, a row for each open node, and one for each breaker that is not closed. */
export function frame(progress: Progress, now: number, columns: number, rows: number): string {
  const { runId, workflowId, nodes, done, doneBefore, since, breakers, pause } = progress;
  const elapsed = now - since;
  const rate =
    done === doneBefore || elapsed <= 0 ? "" : `, ${(((done - doneBefore) * 1000) / elapsed).toFixed(1)} nodes/s`;
  const heading = `${workflowId} ${runId}: ${done} of ${counted(nodes, "node")}, ${Math.max(0, nodes - done)} left${rate}, ${duration(elapsed)}`;
  const open = [...progress.rows.values()];
  const width = Math.max(0, ...open.map(({ name }) => clean(name).length));
  const lines = [
    ...(pause === null ? [] : [`  ${pauseText(pause, now)}`]),
    ...open.map((row) => `  ${clean(row.name).padEnd(width)}  ${rowText(row, now)}`),
    ...[...breakers].map(([policy, is]) => `  breaker ${policy} is ${is}`),
  ];
  // A line is left for the cursor, and one for what does not fit.
  const room = Math.max(1, rows - 3);
  const shown = lines.length <= room ? lines : [...lines.slice(0, room), `  and ${lines.length - room} more`];
  return [heading, ...shown].map((line) => cut(clean(line), columns)).join("\n");
}

function pauseText({ at, why, isFollowing }: Pause, now: number): string {
  return isFollowing
    ? `carried out elsewhere, waiting for its end: ${why}`
    : `store in trouble, retrying in ${duration(at - now)}: ${why}`;
}

function rowText({ attempt, since, retry, waiting }: Row, now: number): string {
  if (waiting !== undefined) return waitCountdown(waiting, now);
  if (retry === null) return `attempt ${attempt}, ${duration(now - since)}`;
  return `attempt ${attempt} failed, next in ${duration(retry.at - now)}: ${retry.why}`;
}

/** An event as a line for a log, or undefined where it is not worth one. */
export function transition(progress: Progress, event: HoldfastEvent): string | undefined {
  if (isForeign(progress, event)) return innerWait(progress, event);
  switch (event.type) {
    case "run.started":
      return `run ${clean(event.runId)} of ${clean(event.workflowId)} started`;
    case "run.resumed": {
      const interrupted = event.interrupted === 0 ? "" : `; ${counted(event.interrupted, "node")} had been interrupted`;
      // Told once: a run that a signal wakes comes here again.
      const waits = progress.hasBegun ? [] : waitsOf(progress);
      const lines = waits.map((waiting) => waitLine(waiting, event.runId, progress.store));
      return [`run ${clean(event.runId)} of ${clean(event.workflowId)} resumed${interrupted}`, ...lines].join("\n");
    }
    case "run.paused": {
      const pause = pauseOf(event);
      // Whoever follows another engine asks every second, which is told once.
      return pause.isFollowing && progress.pause?.isFollowing ? undefined : pauseText(pause, event.at);
    }
    case "node.started":
      return `${nameOf(event)} started`;
    case "node.waiting":
      return waitLine({ ...event, name: nameOf(event) }, event.runId, progress.store);
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

function waitsOf({ rows }: Progress): Waiting[] {
  return [...rows.values()].flatMap(({ waiting }) => (waiting === undefined ? [] : [waiting]));
}

/** What a node waits for, and how to tell it where that is a signal. */
function waitLine(waiting: Waiting, runId: string, store: readonly string[]): string {
  const line = `${waiting.name} ${waitText(waiting)}`;
  return waiting.signal === null ? line : `${line}. Send it with:\n  ${signalCommand(runId, waiting.signal, store)}`;
}

/** The only thing that is told of a run inside this one: nobody else would know whom to answer. */
function innerWait({ runId, store }: Progress, event: HoldfastEvent): string | undefined {
  if (event.type !== "node.waiting" || event.signal === null || !event.runId.startsWith(`${runId}/`)) return undefined;
  return waitLine({ ...event, name: `${nameOf(event)} of ${clean(event.runId)}` }, event.runId, store);
}

/** Whether a transition should still be seen when the live region has moved on. */
export function isLasting(progress: Progress, event: HoldfastEvent): boolean {
  switch (event.type) {
    case "node.failed":
    case "dead_letter.entered":
    case "value.large":
    case "journal.damaged":
      return true;
    case "node.waiting":
      return event.signal !== null;
    case "run.resumed":
      return !progress.hasBegun && waitsOf(progress).some(({ signal }) => signal !== null);
    default:
      return false;
  }
}

/** Who works: the node, or a backup in its place. */
function nameOf({ nodeId, invocationId }: { nodeId: string; invocationId: string }): string {
  const { backup } = invocationIdOf(invocationId);
  return clean(backup === undefined ? nodeId : `${backup} (for ${nodeId})`);
}

function state(name: string): string {
  return name.toLowerCase().replace("_", "-");
}
