import type { Clock, Timer } from "../core/clock.ts";
import { ConfigError } from "../core/errors.ts";
import { aBoolean, anId, checkOptions, durationMs, positiveMs, type Rules, wholeNumber } from "../core/options.ts";
import type { Runtime } from "../core/runtime.ts";
import type { PruneFilter, Store } from "../core/store.ts";

/**
 * Which ended runs are to be deleted: those that are old enough, and those beyond the newest `keep` ended ones of each
 * workflow. Either is enough.
 */
export interface PruneOptions {
  /** Those that ended before this instant, in wall-clock milliseconds. */
  endedBefore?: number | undefined;
  /** Those that ended longer ago than this. */
  olderThanMs?: number | undefined;
  /** How many of each workflow stay, the newest ones. */
  keep?: number | undefined;
  /** Only runs of this workflow. */
  workflowId?: string | undefined;
  /** Only say which would be deleted. @default false */
  dryRun?: boolean | undefined;
}

/** How long ended runs are kept by an engine that deletes them by itself. At least one of the first two is needed. */
export interface RetentionOptions {
  /** How long a run is kept after its end. */
  maxAgeMs?: number | undefined;
  /** How many ended runs of each workflow are kept, the newest ones. */
  keep?: number | undefined;
  /** How often it is looked which may go. @default 600000 */
  everyMs?: number | undefined;
}

const PRUNE_RULES: Rules<PruneOptions> = {
  endedBefore: { says: "an instant in milliseconds", allows: (value) => typeof value === "number" && value >= 0 },
  olderThanMs: durationMs,
  keep: wholeNumber(0),
  workflowId: anId,
  dryRun: aBoolean,
};

const RETENTION_RULES: Rules<RetentionOptions> = { maxAgeMs: durationMs, keep: wholeNumber(0), everyMs: positiveMs };

/**
 * Deletes ended runs with their dead letters and signals, oldest first, and gives their ids. Not in one go, so that the
 * others who write get at the store in between. Runs that have not ended stay, and those with a dead letter that is open.
 */
export async function pruneRuns(store: Store, clock: Clock, options: PruneOptions): Promise<string[]> {
  const filter = pruneFilter(clock, options);
  // Nothing is locked to look at runs, and what would be in the next part is known only when this one has gone.
  if (filter.dryRun === true) return store.prune({ ...filter, limit: Infinity });
  const gone: string[] = [];
  for (;;) {
    const part = await store.prune(filter);
    if (part.length === 0) return gone;
    gone.push(...part);
  }
}

function pruneFilter(clock: Clock, options: PruneOptions): PruneFilter {
  const { endedBefore, olderThanMs, keep, ...rest } = checkOptions("prune", options, PRUNE_RULES);
  if (endedBefore !== undefined && olderThanMs !== undefined)
    throw new ConfigError("prune takes one of endedBefore and olderThanMs, got both.");
  if (endedBefore === undefined && olderThanMs === undefined && keep === undefined)
    throw new ConfigError("prune needs endedBefore, olderThanMs or keep: without one of them no run may go.");
  return { ...rest, keep, endedBefore: olderThanMs === undefined ? endedBefore : clock.wallNow() - olderThanMs };
}

/** The options of automatic retention, checked. */
export function retentionOptions(options: RetentionOptions): RetentionOptions {
  const checked = checkOptions("engine.retention", options, RETENTION_RULES);
  if (checked.maxAgeMs === undefined && checked.keep === undefined)
    throw new ConfigError("engine.retention needs maxAgeMs or keep: without one of them no run may go.");
  return checked;
}

/**
 * Deletes ended runs now and then. Every engine on a store may do so: whoever comes second finds nothing. Trouble with
 * the store is reported, and the next time comes all the same.
 */
export class Retention {
  readonly #store: Store;
  readonly #runtime: Runtime;
  readonly #options: RetentionOptions;
  #timer: Timer | null = null;
  #pruning: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(store: Store, runtime: Runtime, options: RetentionOptions) {
    this.#store = store;
    this.#runtime = runtime;
    this.#options = options;
    this.#arm();
  }

  /** Stops, when what is being deleted has been. */
  close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    return this.#pruning;
  }

  #arm(): void {
    const { everyMs = 600_000 } = this.#options;
    this.#timer = this.#runtime.clock.timer(everyMs, () => (this.#pruning = this.#prune()));
    // Nobody waits for old runs to go.
    this.#timer.unref();
  }

  async #prune(): Promise<void> {
    const { maxAgeMs, keep } = this.#options;
    const { clock, events } = this.#runtime;
    const endedBefore = maxAgeMs === undefined ? undefined : clock.wallNow() - maxAgeMs;
    let runs = 0;
    try {
      for (let part = -1; part !== 0 && !this.#closed; runs += part)
        part = (await this.#store.prune({ keep, endedBefore })).length;
    } catch (error) {
      events.emit?.("retention.failed", { error });
    }
    if (runs > 0) events.emit?.("retention.pruned", { runs });
    if (!this.#closed) this.#arm();
  }
}
