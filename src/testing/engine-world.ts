import type { BlobRow, Blobs } from "../core/blobs.ts";
import type { Clock } from "../core/clock.ts";
import type { EventType, HoldfastEvent } from "../core/events.ts";
import type { NodeContext, NodeFunction } from "../core/node.ts";
import type { Runtime } from "../core/runtime.ts";
import type { StandardSchema } from "../core/schema.ts";
import type { DeadLetter, DeadLetterFilter, RunRow, Store } from "../core/store.ts";
import { observed } from "./contract-case.ts";
import { CallLog } from "./call-log.ts";
import { type FakeRuntime, fakeRuntime, record } from "./fake-clock.ts";
import { FaultyBlobs } from "./faulty-blobs.ts";
import { FaultyStore } from "./faulty-store.ts";

/** What a workflow or a node takes and gives. */
interface Schemas {
  input?: StandardSchema;
  output?: StandardSchema;
}

/** A node that is no function. Instants are wall-clock milliseconds. */
export type ReadyMade =
  | { readonly kind: "wait"; readonly until: (input: never, now: number) => number }
  | { readonly kind: "signal"; readonly name: string | undefined; readonly timeoutMs: number }
  /** A workflow of the engine's own kind. */
  | { readonly kind: "workflow"; readonly workflow: unknown };

/** How a node joins, fails and hands off, what it takes and gives, and how it is undone. */
interface NodeForm extends Schemas {
  join?: "all" | "any";
  onFailure?: "fail" | "continue";
  handoffTo?: string[];
  compensate?: (output: never, context: NodeContext) => unknown;
}

/** A workflow as a case describes it, for the engine's own kind of workflow to be made of. */
export interface Graph extends Schemas {
  id?: string;
  version?: string;
  concurrency?: number;
  nodes: Readonly<Record<string, NodeFunction<never> | ReadyMade>>;
  edges?: readonly (readonly [
    from: string,
    to: string,
    mapping?: Readonly<Record<string, string>> | undefined,
    when?: (output: never) => boolean,
  ])[];
  /** Of nodes that are not as usual. */
  forms?: Readonly<Record<string, NodeForm>>;
  maxNodeInvocations?: number;
  onFailure?: "fail" | "continue";
  fallbacks?: readonly (readonly [primary: string, backup: string])[];
  policies?: Readonly<Record<string, { retry?: object; circuitBreaker?: object; timeout?: object }>>;
}

/** The result of a run as the cases look at it. */
export interface RunOutcome {
  runId: string;
  status: "completed" | "failed" | "cancelled";
  success: boolean;
  output: unknown;
  error?: Error;
  degraded: boolean;
  agentSteps: readonly { nodeId: string; invocationId: string; attempts: number; servedBy: string; error?: Error }[];
  nodeFailures: ReadonlyMap<string, number>;
  deadLetters: readonly DeadLetter[];
  startedAt: number;
  endedAt: number;
  resumed: boolean;
}

/** What became of several dead letters that were to be redriven. */
export interface RedriveOutcome {
  succeeded: number;
  failed: number;
  skipped: number;
  entries: readonly { id: string; outcome: string; skipped?: { code?: string | undefined } }[];
}

/** What the cases need of an engine. */
export interface EngineUnderTest<W> {
  run(workflow: W, input: unknown, options?: { runId?: string; signal?: AbortSignal }): Promise<RunOutcome>;
  resume(workflow: W, runId: string): Promise<RunOutcome>;
  recover(): Promise<unknown>;
  get(runId: string): Promise<RunRow | undefined>;
  signal(runId: string, name: string, payload?: unknown, options?: { id?: string }): Promise<void>;
  cancel(runId: string, reason?: unknown, options?: { compensate?: boolean }): Promise<void>;
  readonly deadLetters: {
    list(filter?: DeadLetterFilter): Promise<DeadLetter[]>;
    get(id: string): Promise<DeadLetter | undefined>;
    redrive(id: string, options?: { force?: boolean }): Promise<RunOutcome>;
    redriveAll(selection: { nodeId?: string }, options?: { concurrency?: number }): Promise<RedriveOutcome>;
    discard(id: string, reason: string): Promise<DeadLetter>;
  };
  close(): Promise<unknown>;
  sweepBlobs(options?: { olderThanMs?: number; dryRun?: boolean }): Promise<readonly { name: string }[]>;
}

export interface EngineLimits {
  concurrency?: number;
  leaseMs?: number;
  maxCrashes?: number;
  maxRetries?: number;
  pauseMs?: number;
  blobs?: Blobs;
  journaledBytes?: number;
  snapshots?: { minEvents?: number; bytesPerEvent?: number };
}

/** An engine and what it needs, as somebody who tests it hands it in. */
export interface EngineSubject<W> {
  /** An empty store of the kind that the engine is to be tested on. */
  newStore(clock: Clock): Store | Promise<Store>;
  /** An empty place for large values. */
  newBlobs(clock: Clock): Blobs | Promise<Blobs>;
  newEngine(store: Store, runtime: Runtime, limits: EngineLimits, workflows: readonly W[]): EngineUnderTest<W>;
  workflow(graph: Graph): W;
}

/** How long leases last in the cases. */
const LEASE_MS = 5000;

/** One store, one clock, and the engines that a case starts on them, one after the other or side by side. */
export class EngineWorld<W> {
  readonly runtime: FakeRuntime;
  readonly store: Store;
  readonly events: HoldfastEvent[];
  /** Calls of functions made by `node`, and ends of invocations that were announced. */
  readonly log: CallLog = new CallLog();
  readonly #subject: EngineSubject<W>;
  readonly #engines: EngineUnderTest<W>[] = [];
  readonly #places: Blobs[] = [];

  private constructor(subject: EngineSubject<W>, runtime: FakeRuntime, store: Store) {
    this.#subject = subject;
    this.runtime = runtime;
    this.store = store;
    this.events = record(runtime.events);
    runtime.events.on((event) => {
      if (event.type === "node.completed" || event.type === "node.failed")
        this.log.acknowledged(event.runId, event.invocationId);
    });
  }

  /** Gives a case a world of its own, and ends what it has started in it. */
  static async run<W>(subject: EngineSubject<W>, check: (world: EngineWorld<W>) => Promise<void>): Promise<void> {
    const runtime = fakeRuntime();
    const store = await subject.newStore(runtime.clock);
    const world = new EngineWorld(subject, runtime, store);
    try {
      await check(world);
    } finally {
      for (const engine of world.#engines) await engine.close();
      for (const blobs of world.#places) await blobs.close();
      await store.close();
    }
  }

  /** A world beside this one, for a case that needs many. */
  async another<T>(check: (world: EngineWorld<W>) => Promise<T>): Promise<T> {
    let result!: T;
    await EngineWorld.run(this.#subject, async (world) => void (result = await check(world)));
    return result;
  }

  /** An empty place for large values; gives ways of its own to it, as each process has. */
  async blobs(): Promise<() => FaultyBlobs> {
    const blobs = await this.#subject.newBlobs(this.runtime.clock);
    this.#places.push(blobs);
    return () => new FaultyBlobs(blobs);
  }

  async blobsOf(blobs: Blobs): Promise<BlobRow[]> {
    const rows: BlobRow[] = [];
    for await (const row of blobs.list()) rows.push(row);
    return rows;
  }

  /** A way of its own to the store, as each process has. */
  handle(): FaultyStore {
    return new FaultyStore(this.store);
  }

  /** An engine whose runs stop at once where the store fails, as those of a process that dies, unless it is told otherwise. */
  engine(limits: EngineLimits & { store?: Store; workflows?: readonly W[] } = {}): EngineUnderTest<W> {
    const { store = this.handle(), workflows = [], ...rest } = limits;
    const engine = this.#subject.newEngine(store, this.runtime, { leaseMs: LEASE_MS, pauseMs: 0, ...rest }, workflows);
    this.#engines.push(engine);
    // A case that fails half way leaves runs behind that nobody awaits.
    const { run } = engine;
    engine.run = (...args) => observed(run.apply(engine, args));
    return engine;
  }

  workflow(graph: Graph): W {
    return this.#subject.workflow(graph);
  }

  /** A node function whose calls are in the log. */
  node<In, Out>(run: (input: In, context: NodeContext) => Out): NodeFunction<In, Out> {
    return (input, context) => {
      this.log.called(context.runId, context.invocationId);
      return run(input, context) as Out;
    };
  }

  /** Lets time pass until a promise has settled. */
  async finish<T>(promise: Promise<T>): Promise<T> {
    let isSettled = false;
    const settled = (): void => void (isSettled = true);
    promise.then(settled, settled);
    for (let step = 0; !isSettled; step++) {
      if (step === 2000) throw new Error("The promise has not settled within 2000 s of the test's clock.");
      await this.runtime.clock.advance(step < 5 ? 0 : 1000);
    }
    return promise;
  }

  /** Lets time pass until nothing more happens at this instant. */
  async settle(): Promise<void> {
    for (let i = 0; i < 5; i++) await this.runtime.clock.advance(0);
  }

  /** Lets leases run out that nobody renews. */
  leasesRunOut(): Promise<void> {
    return this.runtime.clock.advance(LEASE_MS);
  }

  eventsOf<K extends EventType>(type: K): Extract<HoldfastEvent, { type: K }>[] {
    return this.events.filter((event): event is Extract<HoldfastEvent, { type: K }> => event.type === type);
  }
}

/** A promise that the test settles. */
export interface Gate<T = void> {
  promise: Promise<T>;
  open: (value: T) => void;
}

export function gate<T = void>(): Gate<T> {
  let open!: (value: T) => void;
  const promise = new Promise<T>((resolve) => (open = resolve));
  return { promise, open };
}

/** Cases by their titles. The kind of workflow is the engine's own affair. */
export type EngineCases = Readonly<Record<string, (world: EngineWorld<unknown>) => Promise<void>>>;

/** What nodes throw that are to fail. */
export class Broken extends Error {
  override readonly name = "Broken";
}

/** A node function that always fails. */
export function fail(message: string): () => never {
  return () => {
    throw new Broken(message);
  };
}
