import { NotFoundError } from "../../core/errors.ts";
import { createEngine } from "../../default-engine.ts";
import { EXIT } from "../exit-codes.ts";
import { holderOf } from "../holder.ts";
import { loadWorkflows } from "../load-workflow.ts";
import { StoreChoice } from "../store-choice.ts";
import type { Terminal } from "../terminal.ts";
import { clean, jsonLine } from "../text.ts";

export interface CancelCommand {
  reason?: string;
  compensate?: boolean;
  file?: string;
  store?: string;
  json?: boolean;
}

/**
 * `holdfast cancel ID`: tells whoever carries a run out to cancel it. Needs no code of the workflow; with its file, a
 * run that nobody carries out is cancelled, and undone where that is asked for, at once.
 */
export async function cancel(terminal: Terminal, runId: string, options: CancelCommand): Promise<number> {
  const { reason = "somebody cancelled it from the command line", compensate = false, file } = options;
  if (file !== undefined) terminal.divertConsole();
  const workflows = file === undefined ? [] : (await loadWorkflows(file)).all;
  const choice = new StoreChoice(options.store);
  const store = choice.openFor(`run "${runId}"`);
  const engine = createEngine({ store, workflows });
  try {
    if ((await engine.get(runId)) === undefined)
      throw new NotFoundError(`There is no run "${runId}" in ${store.location}.`);
    await engine.cancel(runId, reason, { compensate });
    const row = (await engine.get(runId))!;
    const { status } = row;
    const holder = holderOf(row);
    if (options.json) terminal.print(jsonLine({ runId, status, heldBy: holder ?? null }));
    if (status === "cancelled") terminal.talk(`Run ${clean(runId)} is cancelled.`);
    else if (holder !== undefined)
      terminal.talk(`Run ${clean(runId)} is told to stop, which ${clean(holder)} notices with its next heartbeat.`);
    else {
      terminal.talk(
        `Run ${clean(runId)} is told to stop, and ends when somebody takes it up. To end it now, add --file with the file that exports its workflow.`,
      );
    }
    return EXIT.OK;
  } finally {
    await engine.close();
  }
}
