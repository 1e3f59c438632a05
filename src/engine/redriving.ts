import type { Codec } from "../core/codec.ts";
import type { DeadLetter, DeadLetterStatus, Store } from "../core/store.ts";
import { aBoolean, aFunction, anything, checkOptions, durationMs, type Rules, wholeNumber } from "../core/options.ts";
import { callHook } from "../core/events.ts";
import type { Runtime } from "../core/runtime.ts";
import { definitionChanges } from "./definition-change.ts";
import { checkSameRun } from "./errand.ts";
import { readHistory } from "./history.ts";
import type { KnownWorkflows } from "./known-workflows.ts";
import {
  beginsRedrive,
  checkRedrivable,
  checkUnheld,
  notFoundError,
  type RedriveTerms,
  type Skipped,
  skipped,
  underWayError,
} from "./redrivable.ts";
import type { RunResult } from "./run-result.ts";

/** What redriving needs of an engine. */
export interface RedrivePort {
  readonly store: Store;
  readonly runtime: Runtime;
  readonly known: KnownWorkflows;
  readonly codec: Codec;
  /** Whether a run is under way in this engine, be it that it waits. */
  isUnderWay(runId: string): boolean;
  redrive(letter: DeadLetter, terms: RedriveTerms): Promise<RunResult>;
  /** Aborts when the engine closes: nobody waits for the next turn of a redrive then. */
  readonly closed: AbortSignal;
}

/** How several entries are redriven. */
export interface RedrivePace {
  /** How far apart redrives begin at least, so that what has just recovered is not overrun. @default 0 */
  staggerMs?: number | undefined;
  /** How many are redriven at the same time. @default 1 */
  concurrency?: number | undefined;
  /** How many are redriven at most, the oldest first. @default Infinity */
  limit?: number | undefined;
  /** Begins none any more once it aborts. */
  signal?: AbortSignal | undefined;
  /** Told of each entry as soon as it is known what becomes of it. */
  onEntry?: ((entry: RedriveEntry) => void) | undefined;
}

export interface RedriveAllOptions extends RedrivePace {
  /** Changes nothing: tells which would be redriven, and why the others would not. @default false */
  dryRun?: boolean | undefined;
  /** Also those that are quarantined. @default false */
  force?: boolean | undefined;
}

/** What became of one of several entries. */
export interface RedriveEntry {
  id: string;
  runId: string;
  workflowId: string;
  nodeId: string;
  /**
   * `succeeded` says that the node has; the run may have failed at another node since. `failed` is an entry that is as
   * open as before. `waiting` is one whose run waits for a signal before the node has settled: it goes on by itself.
   * `redrivable` is what a dry run says.
   */
  outcome: "succeeded" | "failed" | "waiting" | "skipped" | "redrivable";
  /** The entry as it stands now: its status, the message of its error, and how often it was redriven. */
  status: DeadLetterStatus;
  error: string;
  retryCount: number;
  maxRetries: number;
  /** Where it was skipped. */
  skipped?: Skipped;
}

/** What became of the entries that were to be redriven, in the order in which that was known. */
export interface RedriveReport {
  succeeded: number;
  failed: number;
  waiting: number;
  skipped: number;
  /** What a dry run would have redriven. */
  redrivable: number;
  /** Entries that nobody looked at, because the limit was reached. */
  left: number;
  entries: RedriveEntry[];
}

const PACE: Rules<RedrivePace> = {
  staggerMs: durationMs,
  concurrency: wholeNumber(1, true),
  limit: wholeNumber(0, true),
  signal: anything,
  onEntry: aFunction,
};

export function checkPace(owner: string, pace: RedrivePace): RedrivePace {
  return checkOptions(owner, pace, PACE);
}

export function checkRedriveAll(owner: string, options: RedriveAllOptions): RedriveAllOptions {
  return checkOptions(owner, options, { ...PACE, dryRun: aBoolean, force: aBoolean });
}

/**
 * Redrives entries, oldest first. They are written down by their ids before the first begins, so that it ends also
 * where redrives leave new entries. What one of them meets does not keep the others from their turn; where the store is
 * in trouble or the engine closes it rejects, when those that are under way have come to something.
 */
export async function redriveLetters(
  port: RedrivePort,
  letters: AsyncIterable<DeadLetter>,
  { dryRun = false, ...pace }: RedriveAllOptions,
  terms: RedriveTerms,
): Promise<RedriveReport> {
  const { staggerMs = 0, concurrency = 1, limit = Infinity, signal, onEntry } = pace;
  const { clock, events } = port.runtime;
  const meant: { id: string; runId: string }[] = [];
  for await (const { id, runId } of letters) meant.push({ id, runId });
  meant.reverse();
  const stop = signal === undefined ? port.closed : AbortSignal.any([signal, port.closed]);
  const counts = { succeeded: 0, failed: 0, waiting: 0, skipped: 0, redrivable: 0, left: 0 };
  const report: RedriveReport = { ...counts, entries: [] };
  const busy = new Map<string, Promise<unknown>>();
  let position = 0;
  let begun = 0;
  let nextAt = clock.now();
  let broken: { error: unknown } | null = null;

  async function turn(): Promise<void> {
    const waitMs = nextAt - clock.now();
    nextAt = Math.max(nextAt, clock.now()) + staggerMs;
    if (waitMs > 0) await clock.sleep(waitMs, stop);
    stop.throwIfAborted();
  }

  async function settle(id: string): Promise<void> {
    const entry = dryRun ? await foretold(port, id, terms) : await redriven(port, id, terms, turn);
    if (entry.outcome === "skipped") begun--;
    report[entry.outcome]++;
    report.entries.push(entry);
    callHook(events, "deadLetters.onEntry", onEntry, entry);
  }

  async function work(): Promise<void> {
    while (position < meant.length && begun < limit && broken === null) {
      const { id, runId } = meant[position++]!;
      begun++;
      // A run can be redriven from one of its nodes at a time.
      const own = Promise.resolve(busy.get(runId)).then(() => (broken === null ? settle(id) : undefined));
      busy.set(
        runId,
        own.catch((error: unknown) => (broken ??= { error })),
      );
      await busy.get(runId);
    }
  }

  await Promise.all(Array.from({ length: Math.min(concurrency, meant.length) }, work));
  if (broken !== null) throw (broken as { error: unknown }).error;
  report.left = meant.length - position;
  return report;
}

async function redriven(
  port: RedrivePort,
  id: string,
  terms: RedriveTerms,
  turn: () => Promise<void>,
): Promise<RedriveEntry> {
  const { store, known } = port;
  const before = await found(store, id);
  try {
    known.preparedOf(checkRedrivable(id, before, store.location, terms));
  } catch (error) {
    return { ...entryOf(before), outcome: "skipped", skipped: skipped(error) };
  }
  await turn();
  let isParked: boolean;
  try {
    isParked = await carriedOn(port, before, terms);
  } catch (error) {
    return { ...entryOf(await found(store, id)), outcome: "skipped", skipped: skipped(error) };
  }
  const after = await found(store, id);
  const isOpen = isParked && after.status === "retrying" ? "waiting" : "failed";
  return { ...entryOf(after), outcome: after.status === "succeeded" ? "succeeded" : isOpen };
}

/**
 * Resolves when the run has ended, or waits with nothing more to be learnt of the entry soon: it is settled, or only a
 * signal leads on. That may take days, and the others are to have their turn. Gives whether it waits.
 */
async function carriedOn(port: RedrivePort, letter: DeadLetter, terms: RedriveTerms): Promise<boolean> {
  const { store, runtime } = port;
  let park = (): void => {};
  const parked = new Promise<true>((resolve) => (park = () => resolve(true)));
  const look = async (wakeAt: number | null): Promise<void> => {
    if (wakeAt === null || (await store.deadLetter(letter.id))?.status !== "retrying") park();
  };
  const unsubscribe = runtime.events.on((event) => {
    // Where the store is in trouble the run has to say so itself.
    if (event.type === "run.waiting" && event.runId === letter.runId) look(event.wakeAt).catch(() => {});
  });
  try {
    return await Promise.race([parked, port.redrive(letter, terms).then(() => false)]);
  } finally {
    unsubscribe();
  }
}

/** What a redrive would come to, as far as that can be seen without beginning it. */
async function foretold(
  { store, runtime, known, codec, isUnderWay }: RedrivePort,
  id: string,
  terms: RedriveTerms,
): Promise<RedriveEntry> {
  const letter = await found(store, id);
  const { runId } = letter;
  try {
    const { plan } = known.preparedOf(checkRedrivable(id, letter, store.location, terms));
    const history = await readHistory(store, runId);
    if (history === undefined) throw notFoundError(id, store.location);
    if (isUnderWay(runId)) throw underWayError(runId);
    checkUnheld(history.row, runtime.clock.wallNow());
    checkSameRun(runId, plan, history.state, history.state.input);
    definitionChanges(runId, plan, history.state, codec, runtime.clock.wallNow());
    beginsRedrive(runId, history.state, letter);
    return { ...entryOf(letter), outcome: "redrivable" };
  } catch (error) {
    return { ...entryOf(letter), outcome: "skipped", skipped: skipped(error) };
  }
}

async function found(store: Store, id: string): Promise<DeadLetter> {
  const letter = await store.deadLetter(id);
  if (letter === undefined) throw notFoundError(id, store.location);
  return letter;
}

function entryOf(letter: DeadLetter): Omit<RedriveEntry, "outcome"> {
  const { id, runId, workflowId, nodeId, status, error, retryCount, maxRetries } = letter;
  return { id, runId, workflowId, nodeId, status, error, retryCount, maxRetries };
}
