import { ConfigError } from "../../core/errors.ts";
import { createEngine } from "../../default-engine.ts";
import type { DeadLetters } from "../../engine/dead-letters.ts";
import { plainLetter } from "../../engine/plain-letter.ts";
import { EXIT } from "../exit-codes.ts";
import { StoreChoice } from "../store-choice.ts";
import type { Terminal } from "../terminal.ts";
import { clean, counted, jsonLine } from "../text.ts";
import { isFiltered, letterFilter, type LetterFilters, letterTable } from "./dlq.ts";

export interface DiscardCommand extends LetterFilters {
  reason: string;
  yes?: boolean;
  store?: string;
  json?: boolean;
}

/**
 * `holdfast dlq discard`: with an id that entry, at once; without one all open entries that fit, which are only shown
 * unless `--yes` says to do it.
 */
export async function discard(terminal: Terminal, id: string | undefined, options: DiscardCommand): Promise<number> {
  if (id !== undefined && isFiltered(options))
    throw new ConfigError("Give the id of one dead letter, or options that choose several; not both.");
  const choice = new StoreChoice(options.store);
  const store = choice.openFor(id === undefined ? "dead letter" : `dead letter "${id}"`);
  const engine = createEngine({ store });
  try {
    if (id === undefined) return await discardAll(terminal, engine.deadLetters, store.location, options);
    const letter = await engine.deadLetters.discard(id, options.reason);
    if (options.json) terminal.print(jsonLine(plainLetter(letter)));
    else terminal.talk(clean(`Dead letter ${id} of run ${letter.runId} is discarded: ${letter.discarded!.reason}`));
    return EXIT.OK;
  } finally {
    await engine.close();
  }
}

async function discardAll(
  terminal: Terminal,
  deadLetters: DeadLetters,
  location: string,
  { reason, yes, json, ...filters }: DiscardCommand,
): Promise<number> {
  const selection = letterFilter(filters);
  if (yes !== true) {
    const letters = await deadLetters.queue(selection);
    if (letters.length === 0) terminal.talk(`No dead letters to discard in ${location}, or none that fit.`);
    else {
      if (json) for (const letter of letters) terminal.print(jsonLine(plainLetter(letter)));
      else terminal.print(letterTable(letters, await terminal.paint(), terminal.width));
      terminal.talk(
        `Nothing was done. Add --yes to discard ${letters.length === 1 ? "it" : `these ${letters.length}`}.`,
      );
    }
    return EXIT.OK;
  }
  const report = await deadLetters.discardAll(selection, reason);
  for (const entry of report.entries) {
    if (json) terminal.print(jsonLine(entry));
    else if (entry.skipped === undefined) terminal.print(clean(`${entry.id} of run ${entry.runId} discarded`));
    else terminal.talk(clean(`${entry.id} was not discarded: ${entry.skipped.why}`));
  }
  terminal.talk(`${counted(report.discarded, "dead letter")} discarded, ${report.skipped} skipped.`);
  return EXIT.OK;
}
