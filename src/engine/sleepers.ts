import { HoldfastError } from "../core/errors.ts";
import { show } from "../core/options.ts";
import { SchemaError, validate } from "../core/schema.ts";
import type { Signal } from "../core/store.ts";
import type { SignalNode, WaitNode } from "../workflow/definition.ts";
import { invocationKey, type InvocationId } from "../workflow/invocation-id.ts";
import { sleeps } from "../workflow/plan.ts";
import type { Invocation } from "../workflow/run-state.ts";
import { completion, expectInvocationsLeft, failure, type InvocationEnd, servingNode } from "./invocation-end.ts";
import { inputOf } from "./node-input.ts";
import type { ActiveRun } from "./run.ts";

type Sleeping = Extract<Invocation, { status: "sleeping" }>;

/** An invocation whose time or signal has come, or which could not fall asleep. */
export interface Awake {
  readonly invocation: Invocation;
  readonly signal?: Signal | undefined;
  readonly error?: unknown;
}

/** How an invocation ends that has slept, and the signal that it has taken. */
export interface Settled {
  readonly end: InvocationEnd;
  readonly signalTaken?: string | undefined;
}

/** The invocations of a run that wait for an instant or a signal, without anybody working on them. */
export class Sleepers {
  readonly #run: ActiveRun;
  readonly #asleep = new Map<string, Sleeping>();
  readonly #sleepless: Awake[] = [];

  constructor(run: ActiveRun) {
    this.#run = run;
  }

  get size(): number {
    return this.#asleep.size + this.#sleepless.length;
  }

  /** Takes an open invocation where its node waits: one that has begun just now, or one of an earlier life. */
  takes(invocation: Invocation): boolean {
    const { id } = invocation;
    const { id: nodeId, run: work } = servingNode(this.#run, id);
    if (!sleeps(work)) return false;
    try {
      if (invocation.status !== "sleeping") {
        expectInvocationsLeft(this.#run);
        const at = this.#run.settings.runtime.clock.wallNow();
        const signal = work.kind === "signal" ? (work.name ?? nodeId) : null;
        this.#run.journal.stage({ kind: "invocation_sleeping", id, wakeAt: this.#wakeAtOf(id, work, at), signal, at });
      }
      this.#asleep.set(invocationKey(id), invocation as Sleeping);
    } catch (error) {
      this.#sleepless.push({ invocation, error });
    }
    return true;
  }

  /** When the first of them wakes by itself, or at once where a signal for one is there; `Infinity` where none does. */
  get wakeAt(): number {
    if (this.#sleepless.length > 0) return 0;
    let first = Infinity;
    for (const { wakeAt, signal } of this.#asleep.values()) {
      if (signal !== null && this.#run.mailbox.has(signal)) return 0;
      first = Math.min(first, wakeAt ?? Infinity);
    }
    return first;
  }

  /** Those that are awake now. They belong to the caller from now on. */
  wake(): Awake[] {
    const awake = this.#sleepless.splice(0);
    const now = this.#run.settings.runtime.clock.wallNow();
    for (const [key, invocation] of this.#asleep) {
      const { wakeAt, signal: name } = invocation;
      // A signal that has come counts also where the time is up: somebody has answered.
      const signal = name === null ? undefined : this.#run.mailbox.take(name);
      if (signal === undefined && (wakeAt === null || wakeAt > now)) continue;
      this.#asleep.delete(key);
      awake.push({ invocation, signal });
    }
    return awake;
  }

  #wakeAtOf(id: InvocationId, work: WaitNode | SignalNode, now: number): number | null {
    if (work.kind === "signal") return work.timeoutMs === Infinity ? null : now + work.timeoutMs;
    const wakeAt = work.until(inputOf(this.#run, id) as never, now);
    if (Number.isFinite(wakeAt)) return wakeAt;
    throw new TypeError(`The node is to wait until ${show(wakeAt)}, which is no instant in milliseconds.`);
  }
}

/** What becomes of an invocation that is awake. Never rejects for a failing node, like `invokeNode`. */
export async function getUp(run: ActiveRun, { invocation, signal, error }: Awake): Promise<Settled> {
  const { id, attempts } = invocation;
  const { id: nodeId, output: schema } = servingNode(run, id);
  try {
    if (error !== undefined) throw error;
    let value: unknown;
    if (signal !== undefined) value = run.settings.codec.decode(signal.payload);
    else if ((invocation as Sleeping).signal === null) value = inputOf(run, id);
    else throw signalTimeout(run, invocation as Sleeping);
    if (schema !== undefined) value = await validate(schema, value, `the output of node "${nodeId}"`);
    return { end: await completion(run, id, attempts, value), signalTaken: signal?.id };
  } catch (caught) {
    // A signal that no node can take is gone. Any other stays where it is: its node may take it when it is redriven.
    const signalTaken = caught instanceof SchemaError ? signal?.id : undefined;
    return { end: failure(run, id, attempts, caught), signalTaken };
  }
}

function signalTimeout({ runId }: ActiveRun, { signal, startedAt, wakeAt }: Sleeping): HoldfastError {
  return new HoldfastError(
    "SIGNAL_TIMEOUT",
    `No signal "${signal}" came to run "${runId}" within ${wakeAt! - startedAt} ms. Send one and redrive the dead letter, or give the node a fallback.`,
  );
}
