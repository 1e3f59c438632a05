import { ConfigError } from "../../core/errors.ts";
import { systemClock } from "../../core/clock.ts";
import { pruneRuns } from "../../engine/retention.ts";
import { EXIT } from "../exit-codes.ts";
import { StoreChoice } from "../store-choice.ts";
import type { Terminal } from "../terminal.ts";
import { clean, jsonLine } from "../text.ts";

export interface PruneCommand {
  /** In milliseconds. */
  olderThan?: number;
  keep?: number;
  workflow?: string;
  dryRun?: boolean;
  store?: string;
  json?: boolean;
}

/** `holdfast prune`: deletes ended runs with all that belongs to them. */
export async function prune(terminal: Terminal, options: PruneCommand): Promise<number> {
  const { olderThan: olderThanMs, keep, workflow: workflowId, dryRun = false, json } = options;
  if (olderThanMs === undefined && keep === undefined)
    throw new ConfigError("prune needs --older-than or --keep: without one of them no run may go.");
  const choice = new StoreChoice(options.store);
  const store = choice.openExisting();
  if (store === undefined) {
    terminal.talk(`Nothing has been run on ${choice.path} yet.`);
    return EXIT.OK;
  }
  try {
    const runs = await pruneRuns(store, systemClock, { olderThanMs, keep, workflowId, dryRun });
    const many = `${runs.length} ended ${runs.length === 1 ? "run" : "runs"}`;
    if (json) terminal.print(jsonLine({ dryRun, runs }));
    else for (const runId of runs) terminal.print(clean(runId));
    if (!dryRun) terminal.talk(`Deleted ${many} of ${store.location}.`);
    else terminal.talk(`Nothing was deleted. Without --dry-run ${many} of ${store.location} would be.`);
    return EXIT.OK;
  } finally {
    await store.close();
  }
}
