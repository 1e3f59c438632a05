import { LargeValues } from "../../engine/large-values.ts";
import { plainCodec } from "../../core/codec.ts";
import { ConfigError, HoldfastError, NotFoundError } from "../../core/errors.ts";
import { systemRuntime } from "../../core/runtime.ts";
import type { DeadLetter, Store } from "../../core/store.ts";
import { createEngine } from "../../default-engine.ts";
import { DeadLetters } from "../../engine/dead-letters.ts";
import type { Engine } from "../../engine/engine.ts";
import { KnownWorkflows } from "../../engine/known-workflows.ts";
import type { RedriveTerms } from "../../engine/redrivable.ts";
import type { RedriveEntry, RedriveReport } from "../../engine/redriving.ts";
import { type Plan, planWorkflow } from "../../workflow/plan.ts";
import { carryOut, type Ending } from "../carry-out.ts";
import { conclude } from "../conclusion.ts";
import { EXIT } from "../exit-codes.ts";
import { loadWorkflows } from "../load-workflow.ts";
import { StoreChoice } from "../store-choice.ts";
import type { Terminal } from "../terminal.ts";
import { clean, counted, jsonLine } from "../text.ts";
import { isFiltered, letterFilter, type LetterFilters, letterTable } from "./dlq.ts";

export interface RedriveCommand extends LetterFilters {
  file: string;
  force?: boolean;
  yes?: boolean;
  dryRun?: boolean;
  stagger?: number;
  limit?: number;
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
  /** The same, as redriving wants them. */
  known: KnownWorkflows;
  options: RedriveCommand;
}

/**
 * `holdfast dlq redrive`: with an id that entry, at once; without one all open entries that fit, which is only shown
 * unless `--yes` says to do it. The file is needed for the code: a store keeps what a run did, not how.
 */
export async function redrive(terminal: Terminal, id: string | undefined, options: RedriveCommand): Promise<number> {
  if (id !== undefined && (isFiltered(options) || (options.dryRun ?? options.stagger ?? options.limit) !== undefined))
    throw new ConfigError("Give the id of one dead letter, or options that choose several; not both.");
  if (options.yes && options.dryRun) throw new ConfigError("Give --yes or --dry-run, not both.");
  terminal.divertConsole();
  const { all } = await loadWorkflows(options.file);
  const plans = new Map(all.map(({ definition }) => [definition.id, planWorkflow(definition)]));
  const known = new KnownWorkflows(systemRuntime);
  for (const workflow of all) known.prepare(workflow);
  const choice = new StoreChoice(options.store);
  const store = choice.openFor(id === undefined ? "dead letter" : `dead letter "${id}"`);
  const engine = createEngine({ store, workflows: all });
  const redriver = { terminal, choice, store, engine, plans, known, options };
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
  const ending = await carryOn(redriver, letter, { force: options.force });
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
  const { terminal, plans, options } = redriver;
  const isDry = options.yes !== true;
  const stop = new AbortController();
  let interruptedBy: "SIGINT" | "SIGTERM" | undefined;
  let done = 0;
  const interrupt = (by: "SIGINT" | "SIGTERM"): void => {
    interruptedBy = by;
    stop.abort(new HoldfastError("ENGINE_CLOSED", "Redriving was interrupted."));
  };
  const endInterrupts = isDry ? () => {} : terminal.onInterrupt(interrupt);
  try {
    const report = await lettersCarriedOut(redriver, stop.signal).redriveAll(letterFilter(options), {
      ...{ dryRun: isDry, force: options.force, staggerMs: options.stagger, limit: options.limit },
      onEntry: (entry) => {
        if (isDry || !plans.has(entry.workflowId)) return;
        done++;
        tell(terminal, entry, options.json);
      },
    });
    return await concludeAll(redriver, report, isDry);
  } catch (error) {
    if (interruptedBy === undefined) throw error;
    terminal.talk(`Interrupted after ${counted(done, "dead letter")}. Run the same command again to go on.`);
    return EXIT[interruptedBy];
  } finally {
    endInterrupts();
  }
}

/** Dead letters whose runs are carried out as `run` does it, so that it can be seen how each goes. */
function lettersCarriedOut(redriver: Redriver, closed: AbortSignal): DeadLetters {
  const { store, known } = redriver;
  return new DeadLetters({
    ...{ store, known, closed, runtime: systemRuntime, settings: { codec: plainCodec, values: new LargeValues(null) } },
    isUnderWay: () => false,
    async redrive(letter, terms) {
      const ending = await carryOn(redriver, letter, terms);
      if ("interruptedBy" in ending) throw closed.reason;
      return ending.result;
    },
  });
}

function tell(terminal: Terminal, entry: RedriveEntry, json: boolean | undefined): void {
  const { id, runId, status, error, outcome, skipped } = entry;
  if (skipped !== undefined) terminal.talk(clean(`${id} was not redriven: ${skipped.why}`));
  if (json) terminal.print(jsonLine(entry));
  else if (skipped === undefined)
    terminal.print(clean(`${id} of run ${runId} ${status}${status === "succeeded" ? "" : `: ${error}`}`));
  if (outcome === "waiting") terminal.talk(clean(`Run ${runId} waits for a signal, and goes on by itself then.`));
}

/** Says what became of several entries, or would; gives the exit code. */
async function concludeAll(redriver: Redriver, report: RedriveReport, isDry: boolean): Promise<number> {
  const { terminal, store, plans, options } = redriver;
  const entries = report.entries.filter(({ workflowId }) => plans.has(workflowId));
  const others = report.entries.length - entries.length;
  if (others > 0)
    terminal.talk(`Left out: ${counted(others, "dead letter")} of workflows that ${options.file} does not export.`);
  if (entries.length === 0) {
    terminal.talk(`No dead letters to redrive in ${store.location}, or none that fit.`);
    return EXIT.OK;
  }
  if (report.left > 0)
    terminal.talk(
      `There ${report.left === 1 ? "is" : "are"} ${report.left} more; --limit lets no more than ${options.limit} through.`,
    );
  if (isDry) return foretell(redriver, entries);
  const redriven = report.succeeded + report.failed + report.waiting;
  const notRedriven = entries.length - redriven;
  const rest = notRedriven === 0 ? "" : ` ${notRedriven} not redriven.`;
  terminal.talk(`${counted(redriven, "dead letter")} redriven, ${report.failed} failed again.${rest}`);
  return report.failed === 0 && entries.every(isInOrder) ? EXIT.OK : EXIT.RUN_FAILED;
}

async function foretell({ terminal, options }: Redriver, entries: readonly RedriveEntry[]): Promise<number> {
  const redrivable = entries.filter(({ outcome }) => outcome === "redrivable");
  if (options.json) for (const entry of entries) terminal.print(jsonLine(entry));
  else if (redrivable.length > 0) terminal.print(letterTable(redrivable, await terminal.paint(), terminal.width));
  for (const { id, skipped } of entries)
    if (skipped !== undefined) terminal.talk(clean(`${id} would not be redriven: ${skipped.why}`));
  const these = redrivable.length === 1 ? "it" : `these ${redrivable.length}`;
  terminal.talk(redrivable.length === 0 ? "Nothing was done." : `Nothing was done. Add --yes to redrive ${these}.`);
  return EXIT.OK;
}

/** Whether an entry was left for a reason that is none to worry about: somebody else sees to it, or it is not its turn. */
function isInOrder({ skipped }: RedriveEntry): boolean {
  const code = skipped?.code ?? "";
  return skipped === undefined || code === "RUN_IN_USE" || code.startsWith("DEAD_LETTER_");
}

async function carryOn(
  { terminal, choice, store, engine, plans, options }: Redriver,
  letter: DeadLetter,
  terms: RedriveTerms,
): Promise<Ending> {
  const { id, runId, workflowId } = letter;
  const plan = plans.get(workflowId);
  if (plan === undefined)
    throw new NotFoundError(
      `${options.file} exports no workflow "${workflowId}", which dead letter "${id}" belongs to.`,
    );
  return carryOut({ terminal, choice, store, engine }, plan, runId, () =>
    engine.deadLetters.redrive(id, { force: terms.force }),
  );
}
