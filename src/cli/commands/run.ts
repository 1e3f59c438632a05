import { ConfigError, NotFoundError, RunInUseError } from "../../core/errors.ts";
import { checkId } from "../../core/options.ts";
import { uniqueId } from "../../core/random.ts";
import { createEngine } from "../../default-engine.ts";
import { planWorkflow } from "../../workflow/plan.ts";
import { carryOut } from "../carry-out.ts";
import { conclude } from "../conclusion.ts";
import { jsonOption } from "../json-option.ts";
import { loadWorkflow } from "../load-workflow.ts";
import { StoreChoice } from "../store-choice.ts";
import type { Terminal } from "../terminal.ts";

export interface RunCommand {
  input?: string;
  runId?: string;
  resume?: boolean;
  workflow?: string;
  store?: string;
  json?: boolean;
}

/** `holdfast run FILE`: starts a run, or carries on, or shows the result of, the one that has the id. */
export async function run(terminal: Terminal, file: string, options: RunCommand): Promise<number> {
  const { resume = false } = options;
  if (resume && options.runId === undefined)
    throw new ConfigError("--resume needs --run-id: it says which run to go on with.");
  const runId = checkId("--run-id", options.runId ?? uniqueId());
  const input = options.input === undefined ? undefined : jsonOption("--input", "input", options.input);
  terminal.divertConsole();
  const workflow = await loadWorkflow(file, options.workflow);
  // Before the store is opened: a workflow that cannot run is to leave none behind.
  const plan = planWorkflow(workflow.definition);
  const choice = new StoreChoice(options.store);
  const store = resume ? choice.openFor(`run "${runId}"`) : choice.open();
  const engine = createEngine({ store });
  try {
    if (resume && (await engine.get(runId)) === undefined)
      throw new NotFoundError(`There is no run "${runId}" in ${store.location}.`);
    const ending = await carryOut({ terminal, choice, store, engine }, plan, runId, () =>
      resume && options.input === undefined
        ? engine.resume(workflow, runId)
        : engine.run(workflow, input as never, { runId }),
    );
    return conclude(terminal, ending, {
      runId,
      file,
      store: choice.argument,
      workflow: options.workflow === undefined ? [] : ["--workflow", options.workflow],
      isKept: store.durability !== "memory",
      json: options.json ?? false,
    });
  } catch (error) {
    const isOtherInput = error instanceof RunInUseError && error.retryAfterMs === undefined && !resume;
    if (!isOtherInput || options.input !== undefined) throw error;
    throw new RunInUseError(runId, `${error.message} With --resume it goes on with the input that it has.`);
  } finally {
    await engine.close();
  }
}
