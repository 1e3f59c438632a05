import type { BlobRow, Blobs } from "../core/blobs.ts";
import { Codec } from "../core/codec.ts";
import type { HoldfastEvent } from "../core/events.ts";
import { ConfigError, HoldfastError } from "../core/errors.ts";
import { anId, anything, checkId, checkOptions, type Rules } from "../core/options.ts";
import { uniqueId } from "../core/random.ts";
import { systemRuntime } from "../core/runtime.ts";
import { validate } from "../core/schema.ts";
import type { RunFilter, RunRow, Store } from "../core/store.ts";
import { ActiveRuns, handleOf } from "./active-runs.ts";
import { redriveNowAndThen } from "./auto-redrive.ts";
import { DeadLetters } from "./dead-letters.ts";
import { type EngineOptions, engineOptions, type RunOptions } from "./engine-options.ts";
import { EventStream, type EventStreamOptions } from "./event-stream.ts";
import { readHistory } from "./history.ts";
import { type History, readable } from "./history-events.ts";
import { LargeValues } from "./large-values.ts";
import { KnownWorkflows } from "./known-workflows.ts";
import { pruneRuns, type PruneOptions, Retention } from "./retention.ts";
import { type Recovery, recoverRuns } from "./recovery.ts";
import { type CancelOptions, Messenger, type SignalOptions } from "./messenger.ts";
import type { RedrivePort } from "./redriving.ts";
import type { EngineSettings, RunHandle } from "./run.ts";
import type { RunResult } from "./run-result.ts";
import type { Runnable } from "./runnable.ts";
import { type Schedule, type ScheduleOptions, Schedules } from "./schedules.ts";
import { sweepBlobs, type SweepOptions } from "./sweep-blobs.ts";
import { type CloseOptions, type CloseReport, Closing, type ShutdownSignal } from "./shutdown.ts";

export interface ForkOptions {
  /** The node from which on everything is done anew. */
  fromNode: string;
  /** What the node gets, in place of what it had got. @default what it had got */
  input?: unknown;
  /** The id of the new run. @default a new id */
  runId?: string | undefined;
}

const FORK_RULES: Rules<ForkOptions> = { fromNode: anId, input: anything, runId: anId };

/**
 * Carries runs out in this process, on a store. `run` starts a run, joins it where it is under way here, resumes it
 * where an earlier process left it, and returns the stored result where it has ended: one line for all four.
 */
export class Engine {
  readonly #store: Store;
  readonly #blobs: Blobs | null;
  readonly #settings: EngineSettings;
  readonly #known: KnownWorkflows;
  readonly #runs: ActiveRuns;
  readonly #streams = new Set<EventStream>();
  readonly #unsubscribe: () => void;
  readonly #closing: Closing;
  readonly #messenger: Messenger;
  readonly #letters: RedrivePort;
  readonly #redrives: AbortController = new AbortController();
  readonly #retention: Retention | undefined;

  /** Lists, shows and redrives what failed runs have left. */
  readonly deadLetters: DeadLetters;
  /** Lists, pauses, resumes and removes schedules. */
  readonly schedules: Schedules;

  constructor(options: EngineOptions) {
    const checked = engineOptions(options);
    const { store, runtime = systemRuntime, maxCrashes = 10, maxRetries = 3, snapshots = {} } = checked;
    this.#store = store;
    this.#blobs = checked.blobs ?? null;
    const values = new LargeValues(this.#blobs, checked.journaledBytes);
    this.#settings = { runtime, codec: new Codec(checked.types), values, maxCrashes, maxRetries, snapshots };
    this.#known = new KnownWorkflows(runtime);
    for (const workflow of checked.workflows ?? []) this.#known.prepare(workflow);
    this.#runs = new ActiveRuns(store, this.#settings, this.#known, checked);
    this.#unsubscribe = checked.onEvent === undefined ? () => {} : runtime.events.on(checked.onEvent);
    this.#closing = new Closing({
      clock: runtime.clock,
      refuse: () => {
        const runs = this.#runs.refuse();
        this.#redrives.abort(
          new HoldfastError("ENGINE_CLOSED", "The engine was closed. Redrive what is left with another one."),
        );
        return { runs, quiet: Promise.all([this.schedules.close(), this.#retention?.close()]).then(() => {}) };
      },
      end: () => this.#end(),
    });
    this.#retention = checked.retention && new Retention(store, runtime, checked.retention);
    this.#messenger = new Messenger(store, this.#settings, this.#known, this.#runs);
    this.#letters = {
      ...{ store, runtime, known: this.#known, settings: this.#settings, closed: this.#redrives.signal },
      isUnderWay: (runId) => this.#runs.has(runId),
      redrive: async (letter, terms) => this.#runs.redrive(letter, terms),
    };
    this.deadLetters = new DeadLetters(this.#letters);
    const { autoRedrive = false } = checked;
    if (autoRedrive !== false)
      redriveNowAndThen(runtime, this.#redrives.signal, autoRedrive === true ? {} : autoRedrive, (pace) =>
        this.deadLetters.redriveDue(pace),
      );
    this.schedules = new Schedules({
      runtime,
      state: store.state,
      runs: {
        know: (workflow) => void this.#known.prepare(workflow),
        start: (workflow, input, runId) => this.start(workflow as Runnable<unknown>, input, { runId }),
        get: (runId) => store.get(runId),
      },
    });
  }

  /**
   * Carries a run to its end and gives its result; a failing node is a result, not an error. Rejects when the run
   * cannot be carried on here: a wrong definition or id, an input that does not fit its schema, a store in trouble, a
   * lease that was lost. Run again with the same id, it goes on from what the journal acknowledged.
   */
  async run<In, Out>(workflow: Runnable<In, Out>, input: In, options: RunOptions = {}): Promise<RunResult<Out>> {
    const runId = checkId("runId", options.runId ?? uniqueId());
    return this.#runs.take(workflow, await this.#encoded(workflow, input), runId, options.signal).result;
  }

  /**
   * Like `run`, but resolves as soon as the start of the run is stored: from then on it is not lost, whatever happens to
   * this process.
   */
  async start<In, Out>(workflow: Runnable<In, Out>, input: In, options: RunOptions = {}): Promise<RunHandle<Out>> {
    const runId = checkId("runId", options.runId ?? uniqueId());
    return handleOf(runId, this.#runs.take(workflow, await this.#encoded(workflow, input), runId, options.signal));
  }

  /**
   * Like `run` for a run that is known, with the input that it was started with. Throws `NotFoundError` where there is
   * no such run, or where a crash came before its start was recorded.
   */
  async resume<In, Out>(
    workflow: Runnable<In, Out>,
    runId: string,
    options: Omit<RunOptions, "runId"> = {},
  ): Promise<RunResult<Out>> {
    return (await this.#runs.resume(workflow, checkId("runId", runId), options.signal)).result;
  }

  /**
   * Carries on every run that was left unfinished and that nobody holds: its process died, its engine was closed, or its
   * store was in trouble. Resolves when it is settled what becomes of each of them, not when they have ended. Their
   * workflows are those given to `createEngine`, and those that were run, resumed or scheduled here before.
   *
   * Runs that wait for time or a signal are taken up once they are due: those that are now, and, for as long as the engine
   * is open, those that come to be.
   *
   * Call it when a service starts, and now and then: an engine elsewhere that dies leaves its runs to the others.
   */
  async recover(): Promise<Recovery> {
    this.#runs.expectOpen();
    this.#runs.watch();
    return recoverRuns({
      store: this.#store,
      clock: this.#settings.runtime.clock,
      isUnderWay: (runId) => this.#runs.has(runId),
      workflow: (id) => this.#known.byId(id),
      resume: async (workflow, runId) => handleOf(runId, await this.#runs.resume(workflow, runId, undefined)),
    });
  }

  /**
   * Tells a run something, which a node made by `waitForSignal` waits for; it is kept until such a node is reached, and
   * wakes the run where it is parked, in whatever process. Telling the same twice under one `id` tells it once.
   *
   * Throws `NotFoundError` where there is no such run or it has ended, and, where this engine knows the workflow, a
   * `ConfigError` where no node waits for that name and a `SchemaError` where the payload does not fit the node's output.
   */
  async signal(runId: string, name: string, payload?: unknown, options: SignalOptions = {}): Promise<void> {
    await this.#messenger.signal(checkId("runId", runId), name, payload, options);
  }

  /**
   * Cancels a run: its nodes are told to stop, and it is recorded as cancelled. With `compensate`, what its nodes have
   * done is undone first, newest first, by the `compensate` functions of those that have one.
   *
   * Resolves when that is recorded; where another process carries the run out, when it has been told to. Throws
   * `NotFoundError` where there is no such run or it has ended.
   */
  async cancel(runId: string, reason?: unknown, options: CancelOptions = {}): Promise<void> {
    await this.#messenger.cancel(checkId("runId", runId), reason, options);
  }

  /**
   * Starts a new run from a point of an old one, which stays as it is: what does not follow from `fromNode` is taken
   * over as it was done, and that node and all that follows is done anew, with keys of the new run. `input` takes the
   * place of what the node had got. The workflow may have changed in the meantime.
   *
   * Throws `NotFoundError` where there is no such run, `ConfigError` where there is no such node, and `RunInUseError`
   * where there is a run of the new id.
   */
  async fork<In, Out>(workflow: Runnable<In, Out>, runId: string, options: ForkOptions): Promise<RunHandle<Out>> {
    const { fromNode, runId: newId = uniqueId(), ...rest } = checkOptions("engine.fork", options, FORK_RULES);
    const input = "input" in rest ? this.#settings.codec.encode(rest.input, "the input of the fork") : undefined;
    const from = { runId: checkId("runId", runId), node: fromNode, input };
    return handleOf(newId, await this.#runs.fork(workflow, from, newId));
  }

  /** What the journal of a run says, event by event. Reads only: somebody else may be writing it. */
  async history(runId: string): Promise<History | undefined> {
    const history = await readHistory(this.#store, checkId("runId", runId));
    return history && readable(history, this.#settings);
  }

  /**
   * The events of this engine's runtime from now on, for `for await`. Ends when the engine is closed. A reader who is
   * too slow misses some, and is told so by `events.dropped`.
   */
  events(options: EventStreamOptions = {}): AsyncIterableIterator<HoldfastEvent> {
    this.#runs.expectOpen();
    const { events, clock } = this.#settings.runtime;
    const stream = new EventStream(events, clock, options, () => this.#streams.delete(stream));
    this.#streams.add(stream);
    return stream;
  }

  /** Where a run stands, as the store lists it. */
  get(runId: string): Promise<RunRow | undefined> {
    return this.#store.get(runId);
  }

  /** Runs of the store, newest first. */
  list(filter?: RunFilter): Promise<RunRow[]> {
    return this.#store.list(filter);
  }

  /**
   * Deletes ended runs with all that belongs to them, and gives their ids: those that ended before `endedBefore` or more
   * than `olderThanMs` ago, and those beyond the newest `keep` of each workflow. A run that has not ended stays, and one
   * with a dead letter that is neither redriven nor discarded.
   */
  prune(options: PruneOptions): Promise<string[]> {
    this.#runs.expectOpen();
    return pruneRuns(this.#store, this.#settings.runtime.clock, options);
  }

  /** The dead letters of one workflow. It may be redriven without having been run here before. */
  deadLettersOf(workflow: Runnable): DeadLetters {
    this.#known.prepare(workflow);
    return new DeadLetters(this.#letters, workflow.definition.id);
  }

  /**
   * Starts a workflow again and again, at the due times of a cron expression or every so many milliseconds. Resolves
   * when the schedule is stored. Each due time starts one run, however many processes set the same schedule.
   */
  async schedule<In>(id: string, options: ScheduleOptions<In>): Promise<Schedule> {
    this.#runs.expectOpen();
    return this.schedules.schedule(id, options);
  }

  /** Closes the breaker of a node, for the runs of this engine. */
  resetCircuitBreaker(workflow: Runnable, nodeId: string): void {
    this.#known.breakerOf(workflow, nodeId).reset();
  }

  /**
   * Finds blobs that nothing in the store refers to, and deletes them: what a crash has left between a blob and the
   * record that was to name it, and what runs have left that are no longer kept. Only those that were put before
   * `olderThanMs`, since a run may be about to refer to a newer one. The blobs must be those of this store alone.
   */
  async sweepBlobs(options: SweepOptions = {}): Promise<BlobRow[]> {
    if (this.#blobs === null)
      throw new ConfigError("The engine has no blobs to sweep. Give it some: createEngine({ blobs }).");
    return sweepBlobs(this.#store, this.#blobs, this.#settings.runtime.clock, options);
  }

  /**
   * Closes the engine: takes nothing on any more, lets what is under way go on for `drainMs`, stops what is left, gives
   * its leases back, and closes the store. Stopped runs can be resumed or recovered by anyone.
   */
  close(options: CloseOptions = {}): Promise<CloseReport> {
    return this.#closing.close(options);
  }

  /**
   * Closes the engine when the process gets one of these signals, and then ends the process: with code 0 where no run is
   * left, 75 where some can be recovered, 1 where it could not be closed. A second signal ends the draining, a third
   * ends the process at once. No handler is there unless this is called; the returned function takes it away.
   */
  shutdownOn(signals: readonly ShutdownSignal[], options: CloseOptions = {}): () => void {
    return this.#closing.closeOn(signals, options);
  }

  /** The input as it is stored: what the schema of the workflow makes of it, where there is one. */
  async #encoded({ definition }: Runnable, input: unknown): Promise<string> {
    const { id, input: schema } = definition;
    const taken = schema === undefined ? input : await validate(schema, input, `the input of workflow "${id}"`);
    const { codec, values } = this.#settings;
    const encoded = codec.encode(taken, "the input");
    values.check(encoded, "the input");
    return encoded;
  }

  async #end(): Promise<void> {
    for (const stream of this.#streams) stream.end();
    this.#unsubscribe();
    await this.#blobs?.close();
    await this.#store.close();
  }
}
