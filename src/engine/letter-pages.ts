import { NotFoundError } from "../core/errors.ts";
import { anId, checkOptions, oneOf, type Rule, type Rules, wholeNumber } from "../core/options.ts";
import { type DeadLetter, type DeadLetterFilter, isSettled, type Store } from "../core/store.ts";

/** Which entries are meant, however many they are. */
export type DeadLetterSelection = Omit<DeadLetterFilter, "olderThan" | "limit">;

/** Payloads may be large, so that few entries are held at once. */
const PAGE = 100;

/** An instant on the wall clock. */
export const anInstant: Rule = {
  says: "a number of milliseconds since 1970",
  allows: (value) => typeof value === "number" && !Number.isNaN(value),
};

const SELECTION: Rules<DeadLetterSelection> = {
  workflowId: anId,
  nodeId: anId,
  runId: anId,
  status: oneOf("pending", "retrying", "succeeded", "permanent_failure"),
  errorCode: { says: "a string", allows: (value) => typeof value === "string" },
  enteredFrom: anInstant,
  enteredBefore: anInstant,
};

/** A misspelt field would choose all entries, and that by accident. */
export function checkSelection(owner: string, selection: DeadLetterSelection): DeadLetterSelection {
  return checkOptions(owner, selection, SELECTION);
}

export function checkFilter(owner: string, filter: DeadLetterFilter): DeadLetterFilter {
  return checkOptions(owner, filter, { ...SELECTION, olderThan: anId, limit: wholeNumber(0, true) });
}

/** Entries, newest first, a page of them in memory at a time. */
export async function* lettersOf(store: Store, selection: DeadLetterSelection): AsyncGenerator<DeadLetter, void> {
  let page = await store.deadLetters({ ...selection, limit: PAGE });
  for (;;) {
    yield* page;
    if (page.length < PAGE) return;
    page = await pageAfter(store, selection, page);
  }
}

/** Those that something is left to be done about: neither succeeded nor discarded. */
export async function* openLetters(store: Store, selection: DeadLetterSelection): AsyncGenerator<DeadLetter, void> {
  for await (const letter of lettersOf(store, selection)) if (!isSettled(letter)) yield letter;
}

async function pageAfter(store: Store, selection: DeadLetterSelection, page: DeadLetter[]): Promise<DeadLetter[]> {
  // Retention may have taken the last entry away meanwhile; the one before it then marks the place.
  for (const { id } of page.toReversed()) {
    try {
      return await store.deadLetters({ ...selection, olderThan: id, limit: PAGE });
    } catch (error) {
      if (!(error instanceof NotFoundError)) throw error;
    }
  }
  const enteredBefore = Math.min(selection.enteredBefore ?? Infinity, page.at(-1)!.timestamp);
  return store.deadLetters({ ...selection, enteredBefore, limit: PAGE });
}
