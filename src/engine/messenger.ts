import { codeOf, ConfigError, NotFoundError } from "../core/errors.ts";
import { aBoolean, anId, checkId, checkOptions, type Rules, show } from "../core/options.ts";
import { uniqueId } from "../core/random.ts";
import { validate } from "../core/schema.ts";
import { isEnded, type Signal, type Store } from "../core/store.ts";
import type { NodeDefinition, WorkflowDefinition } from "../workflow/definition.ts";
import type { ActiveRuns } from "./active-runs.ts";
import { CANCEL, Cancellation } from "./cancellation.ts";
import type { KnownWorkflows } from "./known-workflows.ts";
import type { EngineSettings } from "./run.ts";

export interface SignalOptions {
  /** Names what is told: under one id it is told once. @default a new id */
  id?: string | undefined;
}

export interface CancelOptions {
  /** Whether to undo what nodes have done that have a `compensate` function. @default false */
  compensate?: boolean | undefined;
}

const SIGNAL_RULES: Rules<SignalOptions> = { id: anId };
const CANCEL_RULES: Rules<CancelOptions> = { compensate: aBoolean };

/** Tells runs something, wherever they are carried out: the store keeps it for them. */
export class Messenger {
  readonly #store: Store;
  readonly #settings: EngineSettings;
  readonly #known: KnownWorkflows;
  readonly #runs: ActiveRuns;

  constructor(store: Store, settings: EngineSettings, known: KnownWorkflows, runs: ActiveRuns) {
    this.#store = store;
    this.#settings = settings;
    this.#known = known;
    this.#runs = runs;
  }

  async signal(runId: string, name: string, payload: unknown, options: SignalOptions): Promise<void> {
    const { id = uniqueId() } = checkOptions("engine.signal", options, SIGNAL_RULES);
    checkId("the name of a signal", name);
    if (name.startsWith("$")) throw new ConfigError(`Signals whose names begin with "$" are our own, got "${name}".`);
    const row = await this.#store.get(runId);
    const workflow = row && this.#known.byId(row.workflowId)?.definition;
    if (workflow !== undefined) await expectTaker(workflow, name, payload);
    const { codec, values } = this.#settings;
    const what = `the payload of signal "${name}"`;
    await this.#send(runId, name, await values.keep(codec.encode(payload, what), what), id);
  }

  async cancel(runId: string, reason: unknown = "no reason was given", options: CancelOptions): Promise<void> {
    const { compensate = false } = checkOptions("engine.cancel", options, CANCEL_RULES);
    const cancellation = new Cancellation(reason, compensate);
    const here = this.#runs.cancel(runId, cancellation);
    if (here !== undefined) return here;
    const before = await this.#store.get(runId);
    if (before !== undefined && isEnded(before.status))
      throw new NotFoundError(`Run "${runId}" has ended (${before.status}) and cannot be cancelled any more.`);
    // Short, and read by whoever gets it at once: never among the blobs.
    const payload = this.#settings.codec.encode({ reason: cancellation.message, compensate }, "the reason");
    await this.#send(runId, CANCEL, payload, uniqueId());
    const row = await this.#store.get(runId);
    const workflow = row && this.#known.byId(row.workflowId);
    if (workflow === undefined) return;
    try {
      await (
        await this.#runs.resume(workflow, runId, undefined)
      ).result;
    } catch (error) {
      // Its holder has been told, and reads it with his next heartbeat.
      if (codeOf(error) !== "RUN_IN_USE") throw error;
    }
  }

  async #send(runId: string, name: string, payload: string, id: string): Promise<void> {
    const signal: Signal = { id, runId, name, payload, at: this.#settings.runtime.clock.wallNow() };
    await this.#store.signal(signal);
    this.#runs.deliver(signal);
  }
}

async function expectTaker({ id, nodes }: WorkflowDefinition, name: string, payload: unknown): Promise<void> {
  const names = new Map(nodes.flatMap((node) => (signalOf(node) === null ? [] : [[signalOf(node)!, node] as const])));
  const taker = names.get(name);
  if (taker === undefined) {
    const known = [...names.keys()].map(show).join(", ");
    throw new ConfigError(
      `No node of workflow "${id}" waits for the signal "${name}". ${known === "" ? "None of its nodes waits for any." : `There are: ${known}.`}`,
    );
  }
  if (taker.output !== undefined) await validate(taker.output, payload, `the output of node "${taker.id}"`);
}

function signalOf({ id, run }: NodeDefinition): string | null {
  return typeof run === "object" && run.kind === "signal" ? (run.name ?? id) : null;
}
