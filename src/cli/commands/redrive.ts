import { ConfigError, NotFoundError } from "../../core/errors.ts";
import type { DeadLetter, Store } from "../../core/store.ts";
import { createEngine } from "../../default-engine.ts";
import type { Engine } from "../../engine/engine.ts";
import { type Plan, planWorkflow } from "../../workflow/plan.ts";
import { carryOut, type Ending } from "../carry-out.ts";
import { conclude, jsonLetter } from "../conclusion.ts";
import { EXIT, exitCodeOf } from "../exit-codes.ts";
import { isInterrupted } from "../holder.ts";
import { loadWorkflows } from "../load-workflow.ts";
import { StoreChoice } from "../store-choice.ts";
import type { Terminal } from "../terminal.ts";
import { clean, counted, jsonLine, said } from "../text.ts";
import { letterFilter, type LetterFilters, letterTable } from "./dlq.ts";

export interface RedriveCommand extends LetterFilters {
  file: string;
  yes?: boolean;
  store?: string;
  json?: boolean;
}

interface Redriver {
  terminal: Terminal;
  choice: StoreChoice;
  store: Store;
  engine: Engine;
  /** The workflows of the file, by id. */
  plans: ReadonlyMap<string, Plan>;
  options: RedriveCommand;
}

/**
 * `holdfast dlq redrive`: with an id that entry, at once; without one all pending entries that fit, which is only shown
 * unless `--yes` says to do it. The file is needed for the code: a store keeps what a run did, not how.
 */
export async function redrive(terminal: Terminal, id: string | undefined, options: RedriveCommand): Promise<number> {
  const { workflow, node, run } = options;
  if (id !== undefined && (workflow ?? node ?? run) !== undefined)
    throw new ConfigError(
      "Give the id of one dead letter, or --workflow, --node and --run to choose several; not both.",
    );
  terminal.divertConsole();
  const { all } = await loadWorkflows(options.file);
  const plans = new Map(all.map(({ definition }) => [definition.id, planWorkflow(definition)]));
  const choice = new StoreChoice(options.store);
  const store = choice.openFor(id === undefined ? "dead letter" : `dead letter "${id}"`);
  const engine = createEngine({ store, workflows: all });
  const redriver = { terminal, choice, store, engine, plans, options };
  try {
    return id === undefined ? await redriveAll(redriver) : await redriveOne(redriver, id);
  } finally {
    await engine.close();
  }
}

async function redriveOne(redriver: Redriver, id: string): Promise<number> {
  const { terminal, choice, store, options } = redriver;
  const letter = await store.deadLetter(id);
  if (letter === undefined) throw new NotFoundError(`There is no dead letter "${id}" in ${store.location}.`);
  const ending = await carryOn(redriver, letter);
  return conclude(terminal, ending, {
    runId: letter.runId,
    file: options.file,
    store: choice.argument,
    workflow: redriver.plans.size > 1 ? ["--workflow", letter.workflowId] : [],
    isKept: true,
    json: options.json ?? false,
  });
}

async function redriveAll(redriver: Redriver): Promise<number> {
  const { terminal, store, plans, options } = redriver;
  const found = await openLetters(store, options);
  const letters = found.filter(({ workflowId }) => plans.has(workflowId));
  const others = found.length - letters.length;
  if (others > 0)
    terminal.talk(`Left out: ${counted(others, "dead letter")} of workflows that ${options.file} does not export.`);
  if (letters.length === 0) {
    terminal.talk(`No dead letters to redrive in ${store.location}, or none that fit.`);
    return EXIT.OK;
  }
  if (options.yes !== true) {
    if (options.json) for (const letter of letters) terminal.print(jsonLine(jsonLetter(letter)));
    else terminal.print(letterTable(letters, await terminal.paint(), terminal.width));
    terminal.talk(`Nothing was done. Add --yes to redrive ${letters.length === 1 ? "it" : `these ${letters.length}`}.`);
    return EXIT.OK;
  }
  let failed = 0;
  for (const [position, letter] of letters.entries()) {
    const outcome = await outcomeOf(redriver, letter);
    if ("interruptedBy" in outcome) {
      terminal.talk(`Interrupted after ${position} of ${letters.length}. Run the same command again to go on.`);
      return EXIT[outcome.interruptedBy];
    }
    if (outcome.status !== "succeeded") failed++;
    terminal.print(options.json ? jsonLine(jsonLetter(outcome)) : textOutcome(outcome));
  }
  terminal.talk(`${counted(letters.length, "dead letter")} redriven, ${failed} failed again.`);
  return failed === 0 ? EXIT.OK : EXIT.RUN_FAILED;
}

/** What is left to redrive, oldest first: pending entries, and those whose redriver has died or was interrupted. */
async function openLetters(store: Store, options: RedriveCommand): Promise<DeadLetter[]> {
  const filter = { ...letterFilter(options), limit: Infinity };
  const letters = await store.deadLetters({ ...filter, status: "pending" });
  for (const letter of await store.deadLetters({ ...filter, status: "retrying" })) {
    const row = await store.get(letter.runId);
    if (row !== undefined && isInterrupted(row)) letters.push(letter);
  }
  return letters.sort((a, b) => a.timestamp - b.timestamp);
}

type Interrupted = Extract<Ending, { interruptedBy: string }>;

/**
 * Redrives one of several; gives the entry as it is then. What one entry meets does not keep the others from their
 * turn, unless the store is in trouble.
 */
async function outcomeOf(redriver: Redriver, letter: DeadLetter): Promise<DeadLetter | Interrupted> {
  try {
    const ending = await carryOn(redriver, letter);
    if ("interruptedBy" in ending) return ending;
  } catch (error) {
    if (exitCodeOf(error) === EXIT.STORE) throw error;
    redriver.terminal.talk(`${letter.id} was not redriven: ${said(error)}`);
  }
  // The run may have failed at another node, and this entry be settled all the same.
  return (await redriver.store.deadLetter(letter.id)) ?? letter;
}

function textOutcome({ id, runId, status, error }: DeadLetter): string {
  return clean(`${id} of run ${runId} ${status}${status === "succeeded" ? "" : `: ${error}`}`);
}

async function carryOn({ terminal, store, engine, plans, options }: Redriver, letter: DeadLetter): Promise<Ending> {
  const { id, runId, workflowId } = letter;
  const plan = plans.get(workflowId);
  if (plan === undefined)
    throw new NotFoundError(
      `${options.file} exports no workflow "${workflowId}", which dead letter "${id}" belongs to.`,
    );
  return carryOut({ terminal, store, engine }, plan, runId, () => engine.deadLetters.redrive(id));
}
