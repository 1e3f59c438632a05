import { NotFoundError } from "../../core/errors.ts";
import type { DeadLetter, DeadLetterFilter, DeadLetterStatus } from "../../core/store.ts";
import { jsonLetter } from "../conclusion.ts";
import { commandLine } from "../command-line.ts";
import { EXIT } from "../exit-codes.ts";
import { StoreChoice } from "../store-choice.ts";
import { facts, type Paint, table } from "../table.ts";
import type { Terminal } from "../terminal.ts";
import { clean, errorLines, instant, jsonLine, readable } from "../text.ts";

/** Which dead letters are meant. */
export interface LetterFilters {
  workflow?: string;
  node?: string;
  run?: string;
}

export interface ListLettersCommand extends LetterFilters {
  status?: DeadLetterStatus;
  limit: number;
  store?: string;
  json?: boolean;
}

/** `holdfast dlq list`: newest first. */
export async function listLetters(terminal: Terminal, options: ListLettersCommand): Promise<number> {
  const { status, limit, json } = options;
  const choice = new StoreChoice(options.store);
  const store = choice.openExisting();
  if (store === undefined) {
    terminal.talk(`Nothing has been run on ${choice.path} yet.`);
    return EXIT.OK;
  }
  try {
    const found = await store.deadLetters({ ...letterFilter(options), status, limit: limit + 1 });
    const letters = found.slice(0, limit);
    if (json) for (const letter of letters) terminal.print(jsonLine(jsonLetter(letter)));
    else if (letters.length > 0) terminal.print(letterTable(letters, await terminal.paint(), terminal.width));
    else terminal.talk(`No dead letters in ${store.location}, or none that fit.`);
    if (found.length > limit) terminal.talk(`There are more; --limit shows more than ${limit}.`);
    return EXIT.OK;
  } finally {
    await store.close();
  }
}

export function letterFilter({ workflow, node, run }: LetterFilters): DeadLetterFilter {
  return { workflowId: workflow, nodeId: node, runId: run };
}

export function letterTable(letters: readonly DeadLetter[], paint: Paint, width: number): string {
  const rows = letters.map((letter) => [
    letter.id,
    letter.runId,
    letter.workflowId,
    letter.nodeId,
    letter.status,
    `${letter.retryCount}/${letter.maxRetries}`,
    letter.error,
  ]);
  return table(["DEAD LETTER", "RUN", "WORKFLOW", "NODE", "STATUS", "REDRIVES", "ERROR"], rows, paint, width);
}

export interface ShowLetterCommand {
  store?: string;
  json?: boolean;
}

/** `holdfast dlq show ID`: one entry with its payload and everything that its error was caused by. */
export async function showLetter(terminal: Terminal, id: string, options: ShowLetterCommand): Promise<number> {
  const choice = new StoreChoice(options.store);
  const store = choice.openFor(`dead letter "${id}"`);
  try {
    const letter = await store.deadLetter(id);
    if (letter === undefined) throw new NotFoundError(`There is no dead letter "${id}" in ${store.location}.`);
    if (options.json) terminal.print(jsonLine(jsonLetter(letter)));
    else terminal.print(textLetter(letter, choice.argument, await terminal.paint()));
    return EXIT.OK;
  } finally {
    await store.close();
  }
}

function textLetter(letter: DeadLetter, store: readonly string[], paint: Paint): string {
  const { id, runId, workflowId, nodeId, status, timestamp, attempts, retryCount, maxRetries, payload } = letter;
  const redrive = commandLine("dlq", "redrive", id, "--file", "FILE", ...store);
  return [
    facts([
      ["dead letter", id],
      ["run", clean(runId)],
      ["workflow", clean(workflowId)],
      ["node", clean(nodeId)],
      ["status", paint(status)],
      ["since", instant(timestamp)],
      ["attempts", String(attempts)],
      ["redrives", `${retryCount} of ${maxRetries}`],
      ["error", errorLines(letter.errorDetail).join("\n")],
      ["payload", payload === null ? "could not be stored" : readable(payload)],
    ]),
    ...(status === "pending" ? [`\nRedrive it with:\n  ${redrive}`] : []),
  ].join("\n");
}
