import { callFrom } from "../core/call.ts";
import { HoldfastError, NotFoundError, RunInUseError } from "../core/errors.ts";
import { Slots } from "../core/slots.ts";
import type { DeadLetter, Store } from "../core/store.ts";
import { invocationKey } from "../workflow/invocation-id.ts";
import { Readiness } from "../workflow/ready.ts";
import { isDegraded } from "./announce.ts";
import { checkSameRun, type Errand, stageErrand } from "./errand.ts";
import { readInput } from "./history.ts";
import { Journal } from "./journal.ts";
import type { KnownWorkflows, Prepared } from "./known-workflows.ts";
import { Leases } from "./leases.ts";
import { isDead, newOwner } from "./owner.ts";
import type { ActiveRun, EngineSettings, RunHandle } from "./run.ts";
import { resultOf, type RunResult, servedEnds } from "./run-result.ts";
import type { Runnable } from "./runnable.ts";
import type { ClosingRun } from "./shutdown.ts";
import { walk } from "./walk.ts";

/** A run under way in this process. */
export interface Active<Out = unknown> {
  prepared: Prepared;
  /** Null for a redrive, which learns the input from the journal. */
  input: string | null;
  result: Promise<RunResult<Out>>;
  scope: AbortController;
  journal: Journal | null;
  isStored: boolean;
  /** Resolves once the start of the run is stored. */
  begun: Promise<void>;
  begin: () => void;
}

/** The runs that an engine carries out now: each is begun once, and joined by whoever asks for it meanwhile. */
export class ActiveRuns {
  readonly #store: Store;
  readonly #settings: EngineSettings;
  readonly #known: KnownWorkflows;
  readonly #owner: string = newOwner();
  readonly #leaseMs: number;
  readonly #leases: Leases;
  readonly #slots: Slots;
  readonly #active = new Map<string, Active>();
  /** Why runs stop, once the engine is closed. */
  #closed: HoldfastError | null = null;

  constructor(
    store: Store,
    settings: EngineSettings,
    known: KnownWorkflows,
    { leaseMs = 5000, concurrency = Infinity }: { leaseMs?: number | undefined; concurrency?: number | undefined },
  ) {
    const { runtime } = settings;
    this.#store = store;
    this.#settings = settings;
    this.#known = known;
    this.#leaseMs = leaseMs;
    this.#leases = new Leases(store, runtime, this.#owner, leaseMs);
    this.#slots = new Slots(concurrency, runtime.clock);
  }

  has(runId: string): boolean {
    return this.#active.has(runId);
  }

  /** Takes nothing on any more. Gives the runs that are under way. */
  refuse(): ClosingRun[] {
    const closed = (this.#closed = new HoldfastError(
      "ENGINE_CLOSED",
      "The engine was closed while the run was under way. Run it again with the same id to go on.",
    ));
    return [...this.#active].map(([runId, active]) => ({
      runId,
      result: active.result,
      get isStored() {
        return active.isStored;
      },
      stop() {
        active.journal?.abandon(closed);
        active.scope.abort(closed);
      },
    }));
  }

  expectOpen(): void {
    if (this.#closed !== null)
      throw new HoldfastError("ENGINE_CLOSED", "The engine is closed. Create another one on the same store.");
  }

  /** Takes a run that is known, with the input that it was started with. */
  async resume<Out>(
    workflow: Runnable<never, Out>,
    runId: string,
    signal: AbortSignal | undefined,
  ): Promise<Active<Out>> {
    const row = await this.#store.get(runId);
    if (row === undefined) throw new NotFoundError(`There is no run "${runId}" in ${this.#store.location}.`);
    if (row.version === 0 && row.head.version === 0) {
      throw new NotFoundError(`The start of run "${runId}" was never recorded. Run it with its input.`);
    }
    return this.take(workflow, await readInput(this.#store, runId), runId, signal);
  }

  /** The run of that id, which is begun unless it is under way here. */
  take<Out>(
    workflow: Runnable<never, Out>,
    input: string,
    runId: string,
    signal: AbortSignal | undefined,
  ): Active<Out> {
    const prepared = this.#known.prepare(workflow);
    const active = this.#active.get(runId);
    if (active === undefined) return this.#begin(runId, prepared, { input }, signal) as Active<Out>;
    if (active.input === null)
      throw new RunInUseError(runId, `Run "${runId}" is being redriven. Run it again when that has ended.`);
    const { definition, outline, fingerprint } = active.prepared.plan;
    const started = { workflowId: definition.id, input: active.input, outline, fingerprint };
    checkSameRun(runId, prepared.plan, started, input);
    cancelOn(active, signal);
    return active as Active<Out>;
  }

  redrive(letter: DeadLetter): Promise<RunResult> {
    const workflow = this.#known.byId(letter.workflowId);
    if (workflow === undefined) {
      throw new NotFoundError(
        `This engine does not know the workflow "${letter.workflowId}" of dead letter "${letter.id}". Give it to createEngine({ workflows: [...] }).`,
      );
    }
    if (this.#active.has(letter.runId))
      throw new RunInUseError(letter.runId, `Run "${letter.runId}" is under way; redrive it when it has ended.`);
    return this.#begin(letter.runId, this.#known.prepare(workflow), { redrive: letter }, undefined).result;
  }

  #begin(runId: string, prepared: Prepared, errand: Errand, signal: AbortSignal | undefined): Active {
    this.expectOpen();
    let begin!: () => void;
    const active: Active = {
      prepared,
      input: "input" in errand ? errand.input : null,
      scope: new AbortController(),
      journal: null,
      result: null!,
      isStored: false,
      begun: new Promise((resolve) => (begin = resolve)),
      begin() {
        active.isStored = true;
        begin();
      },
    };
    active.result = this.#carryOut(runId, active, errand).finally(() => this.#active.delete(runId));
    this.#active.set(runId, active);
    cancelOn(active, signal);
    return active;
  }

  async #carryOut(runId: string, active: Active, errand: Errand): Promise<RunResult> {
    const { runtime, codec } = this.#settings;
    const { plan, guards } = active.prepared;
    let journal: Journal | undefined;
    let readiness: Readiness | undefined;
    let hasSlot = false;
    try {
      journal = await this.#open(runId, active, errand);
      const resumed = journal.state.status !== "new";
      if (!isSettled(journal, errand)) {
        let redriving = resumed ? null : await this.#stage(active, journal, errand);
        hasSlot = this.#slots.tryTake();
        if (!hasSlot) {
          // A new run is recorded before it waits for its turn. One that is known gives its lease back: that the process
          // dies meanwhile must not count as a crash of its nodes, and whoever has a free slot may go on with it.
          if (!resumed) await journal.commit();
          else await journal.release().then(active.begin);
          await this.#slots.wait(callFrom(runtime.clock, undefined), Infinity);
          hasSlot = true;
          if (this.#closed !== null) throw this.#closed;
          if (resumed) journal = await this.#open(runId, active, errand);
        }
        if (!isSettled(journal, errand)) {
          redriving ??= await this.#stage(active, journal, errand);
          readiness = new Readiness(plan, journal.state);
          const { scope } = active;
          await walk({ runId, plan, guards, journal, readiness, settings: this.#settings, scope, redriving });
        }
      }
      const { state } = journal;
      const ends = servedEnds(plan, state, readiness);
      await journal.load(ends.flatMap(([, served]) => (served ? [invocationKey(served.id)] : [])));
      const isWhole = state.status === "completed" && !isDegraded(state);
      const letters = isWhole || state.status === "cancelled" ? [] : await this.#store.deadLetters({ runId });
      return resultOf(runId, plan, state, codec, letters, resumed, ends);
    } catch (error) {
      // A run that was not begun here, because somebody else has it or it is another one, has not stopped.
      if (active.journal !== null) {
        runtime.events.emit?.("run.stopped", { runId, workflowId: plan.definition.id, error });
      }
      active.scope.abort(error);
      await journal?.release().catch(() => {});
      throw error;
    } finally {
      if (journal !== undefined) this.#leases.drop(journal);
      if (hasSlot) this.#slots.give();
    }
  }

  /** Opens the journal of a run, which must be what it was started as. */
  async #open(runId: string, { prepared: { plan } }: Active, errand: Errand): Promise<Journal> {
    if (this.#closed !== null) throw this.#closed;
    const journal = await Journal.open(this.#store, this.#settings.runtime, {
      runId,
      workflowId: plan.definition.id,
      owner: this.#owner,
      leaseMs: this.#leaseMs,
      snapshots: this.#settings.snapshots,
      isDead,
      reopen: "redrive" in errand,
    });
    const { state } = journal;
    try {
      if (state.status !== "new") checkSameRun(runId, plan, state, "input" in errand ? errand.input : state.input);
      return journal;
    } catch (error) {
      await journal.release().catch(() => {});
      throw error;
    }
  }

  /** Stages what a run begins with here, and keeps its lease from now on. */
  async #stage(active: Active, journal: Journal, errand: Errand): Promise<ActiveRun["redriving"]> {
    const at = this.#settings.runtime.clock.wallNow();
    const redriving = await stageErrand(this.#store, active.prepared.plan, journal, errand, at);
    // Closed while the journal was being opened: the run stops here, which is not to be cancelled.
    if (this.#closed !== null) throw this.#closed;
    active.journal = journal;
    journal.onCommitted = active.begin;
    this.#leases.hold(journal);
    return redriving;
  }
}

/** Whether nothing of what is asked for is left to do. */
function isSettled({ state }: Journal, errand: Errand): boolean {
  return "input" in errand && state.status !== "new" && state.status !== "running";
}

/** Resolves once the start of a run is stored, or is known to have been. */
export async function handleOf<Out>(runId: string, { begun, result }: Active<Out>): Promise<RunHandle<Out>> {
  // One that had ended before begins nothing.
  await Promise.race([begun, result]);
  result.catch(() => {});
  return { runId, result };
}

/** Lets a caller's signal cancel the run for as long as it is under way. */
function cancelOn({ scope, result }: Active, signal: AbortSignal | undefined): void {
  if (signal === undefined) return;
  const cancel = (): void => scope.abort(signal.reason);
  if (signal.aborted) return cancel();
  const stop = (): void => signal.removeEventListener("abort", cancel);
  signal.addEventListener("abort", cancel, { once: true });
  result.then(stop, stop);
}
