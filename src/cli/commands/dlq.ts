import { NotFoundError } from "../../core/errors.ts";
import type { DeadLetter, DeadLetterStatus } from "../../core/store.ts";
import { createEngine } from "../../default-engine.ts";
import type { DeadLetterSelection } from "../../engine/letter-pages.ts";
import type { DeadLetterStats } from "../../engine/letter-stats.ts";
import { plainLetter } from "../../engine/plain-letter.ts";
import { commandLine } from "../command-line.ts";
import { EXIT } from "../exit-codes.ts";
import { StoreChoice } from "../store-choice.ts";
import { facts, type Paint, table } from "../table.ts";
import type { Terminal } from "../terminal.ts";
import { clean, cleanLines, duration, errorLines, instant, jsonLine, readable } from "../text.ts";

/** Which dead letters are meant. */
export interface LetterFilters {
  workflow?: string;
  node?: string;
  run?: string;
  code?: string;
  status?: DeadLetterStatus;
  since?: number;
}

export interface ListLettersCommand extends LetterFilters {
  limit: number;
  store?: string;
  json?: boolean;
}

/** `holdfast dlq list`: newest first. */
export async function listLetters(terminal: Terminal, options: ListLettersCommand): Promise<number> {
  const { limit, json } = options;
  const choice = new StoreChoice(options.store);
  const store = choice.openExisting();
  if (store === undefined) {
    terminal.talk(`Nothing has been run on ${choice.path} yet.`);
    return EXIT.OK;
  }
  try {
    const found = await store.deadLetters({ ...letterFilter(options), limit: limit + 1 });
    const letters = found.slice(0, limit);
    if (json) for (const letter of letters) terminal.print(jsonLine(plainLetter(letter)));
    else if (letters.length > 0) terminal.print(letterTable(letters, await terminal.paint(), terminal.width));
    else terminal.talk(`No dead letters in ${store.location}, or none that fit.`);
    if (found.length > limit) terminal.talk(`There are more; --limit shows more than ${limit}.`);
    return EXIT.OK;
  } finally {
    await store.close();
  }
}

export function letterFilter({ workflow, node, run, code, status, since }: LetterFilters): DeadLetterSelection {
  return { workflowId: workflow, nodeId: node, runId: run, errorCode: code, status, enteredFrom: since };
}

/** Whether somebody has said which of several are meant. */
export function isFiltered(filters: LetterFilters): boolean {
  return Object.values(letterFilter(filters)).some((value) => value !== undefined);
}

/** What a table shows of an entry. */
type LetterRow = Pick<
  DeadLetter,
  "id" | "runId" | "workflowId" | "nodeId" | "status" | "retryCount" | "maxRetries" | "error" | "discarded"
>;

export function letterTable(letters: readonly LetterRow[], paint: Paint, width: number): string {
  const rows = letters.map((letter) => [
    letter.id,
    letter.runId,
    letter.workflowId,
    letter.nodeId,
    letter.discarded === undefined ? letter.status : "discarded",
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
    if (options.json) terminal.print(jsonLine(plainLetter(letter)));
    else terminal.print(textLetter(letter, choice.argument, await terminal.paint()));
    return EXIT.OK;
  } finally {
    await store.close();
  }
}

function textLetter(letter: DeadLetter, store: readonly string[], paint: Paint): string {
  const { id, runId, workflowId, nodeId, status, timestamp, attempts, retryCount, maxRetries, payload } = letter;
  const { discarded } = letter;
  const isQuarantined = status === "permanent_failure" && discarded === undefined;
  const force = isQuarantined ? ["--force"] : [];
  const redrive = commandLine("dlq", "redrive", id, "--file", "FILE", ...force, ...store);
  return [
    facts([
      ["dead letter", id],
      ["run", clean(runId)],
      ["workflow", clean(workflowId)],
      ["node", clean(nodeId)],
      ["status", paint(status)],
      ...(discarded === undefined
        ? []
        : [["discarded", `${instant(discarded.at)}: ${cleanLines(discarded.reason)}`] as const]),
      ["since", instant(timestamp)],
      ["attempts", String(attempts)],
      ["redrives", `${retryCount} of ${maxRetries}`],
      ["error", errorLines(letter.errorDetail).join("\n")],
      ["payload", payload === null ? "could not be stored" : readable(payload)],
    ]),
    ...(status === "pending" ? [`\nRedrive it with:\n  ${redrive}`] : []),
    ...(isQuarantined ? [`\nIt is quarantined. When the cause is mended, redrive it with:\n  ${redrive}`] : []),
  ].join("\n");
}

export interface ExportCommand extends LetterFilters {
  store?: string;
}

/** `holdfast dlq export`: every entry that fits as a line of JSON, however many they are. */
export async function exportLetters(terminal: Terminal, options: ExportCommand): Promise<number> {
  const choice = new StoreChoice(options.store);
  const store = choice.openExisting();
  if (store === undefined) {
    terminal.talk(`Nothing has been run on ${choice.path} yet.`);
    return EXIT.OK;
  }
  const engine = createEngine({ store });
  try {
    for await (const letter of engine.deadLetters.export(letterFilter(options)))
      await terminal.printed(jsonLine(letter));
    return EXIT.OK;
  } finally {
    await engine.close();
  }
}

export interface StatsCommand {
  workflow?: string;
  store?: string;
  json?: boolean;
}

/** `holdfast dlq stats`: how the queue stands. */
export async function showStats(terminal: Terminal, { workflow, store: url, json }: StatsCommand): Promise<number> {
  const choice = new StoreChoice(url);
  const store = choice.openExisting();
  if (store === undefined) {
    terminal.talk(`Nothing has been run on ${choice.path} yet.`);
    return EXIT.OK;
  }
  const engine = createEngine({ store });
  try {
    const stats = await engine.deadLetters.stats({ workflowId: workflow });
    if (json) terminal.print(jsonLine(stats));
    else terminal.print(textStats(stats, await terminal.paint(), terminal.width));
    return EXIT.OK;
  } finally {
    await engine.close();
  }
}

function textStats(
  { total, byStatus, quarantined, discarded, open, oldestAgeMs, groups }: DeadLetterStats,
  paint: Paint,
  width: number,
): string {
  const { pending, retrying, succeeded } = byStatus;
  const counts = Object.entries({ total, pending, retrying, quarantined, succeeded, discarded, open });
  const lines = counts.map(([name, count]) => [name, String(count)] as const);
  const text = facts(oldestAgeMs === null ? lines : [...lines, ["oldest", `${duration(oldestAgeMs)} old`]]);
  if (groups.length === 0) return text;
  const rows = groups.map(({ workflowId, nodeId, errorName, errorCode, count, oldestAt }) => [
    ...[String(count), workflowId, nodeId, instant(oldestAt)],
    errorCode === undefined ? errorName : `${errorName} [${errorCode}]`,
  ]);
  return `${text}\n\n${table(["OPEN", "WORKFLOW", "NODE", "OLDEST", "ERROR"], rows, paint, width)}`;
}
