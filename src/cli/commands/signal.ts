import { NotFoundError } from "../../core/errors.ts";
import { uniqueId } from "../../core/random.ts";
import { createEngine } from "../../default-engine.ts";
import { readHistory } from "../../engine/history.ts";
import { commandLine } from "../command-line.ts";
import { EXIT } from "../exit-codes.ts";
import { jsonOption } from "../json-option.ts";
import { loadWorkflows } from "../load-workflow.ts";
import { StoreChoice } from "../store-choice.ts";
import type { Terminal } from "../terminal.ts";
import { clean, jsonLine } from "../text.ts";
import { waitingIn } from "../waiting.ts";

export interface SignalCommand {
  payload?: string;
  id?: string;
  file?: string;
  store?: string;
  json?: boolean;
}

/**
 * `holdfast signal ID NAME`: keeps a signal for a run, which takes it as soon as it is carried out. Needs no code of the
 * workflow; with its file, a name and a payload that no node takes are refused.
 */
export async function signal(terminal: Terminal, runId: string, name: string, options: SignalCommand): Promise<number> {
  const { id = uniqueId(), file } = options;
  const payload = options.payload === undefined ? undefined : jsonOption("--payload", "payload", options.payload);
  if (file !== undefined) terminal.divertConsole();
  const workflows = file === undefined ? [] : (await loadWorkflows(file)).all;
  const choice = new StoreChoice(options.store);
  const store = choice.openFor(`run "${runId}"`);
  const engine = createEngine({ store, workflows });
  try {
    const history = await readHistory(store, runId);
    if (history === undefined) throw new NotFoundError(`There is no run "${runId}" in ${store.location}.`);
    await engine.signal(runId, name, payload, { id });
    if (options.json) terminal.print(jsonLine({ runId, signal: name, id }));
    else terminal.talk(`Signal ${clean(name)} is kept for run ${clean(runId)}.`);
    if (history.row.status !== "waiting") return EXIT.OK;
    const others = waitingIn(history.state).flatMap((wait) => (wait.signal === null ? [] : [wait.signal]));
    if (!others.includes(name)) {
      const known =
        others.length === 0 ? "no signal now" : `${others.map(clean).join(", ")} now, not for ${clean(name)}`;
      terminal.talk(`The run waits for ${known}; a node that comes to wait for it will take it.`);
    }
    const resume = commandLine("run", file ?? "FILE", "--run-id", runId, "--resume", ...choice.argument);
    terminal.talk(`Whoever looks after the run goes on with it. If nobody does:\n  ${resume}`);
    return EXIT.OK;
  } finally {
    await engine.close();
  }
}
