import { crc32c, utf8Bytes } from "../core/bytes.ts";
import type { StoredRecord } from "../core/record.ts";
import type { Store } from "../core/store.ts";
import type { Invocation, RunEvent, RunState } from "../workflow/run-state.ts";
import { decodeEvents, valuesIn } from "./records.ts";

/**
 * Outputs are nearly all of a long run, and they are in its journal already. A snapshot that repeated them would cost
 * as much as the journal, and reading it as much as a replay. So it says where they are, and they are read from there
 * when a node is to work on them, which is rare: what has ended long ago is seldom needed again.
 *
 * A note is a text that no codec writes, so that one which is mistaken for a value is noticed at once.
 */
const NOTE = "@";

/** A value that is not longer than a note is repeated: it costs nothing, and saves the way. */
const SHORT = 32;

/** Notes whose records lie no further apart than this are read at once, and with them what lies between. */
const NEAR = 8;
/** How many records are read at once. */
const RECORDS_AT_ONCE = 500;

interface Place {
  readonly seq: number;
  /** Which of the values in the record. */
  readonly index: number;
}

/** Where the values of a run lie in its journal. */
export class JournaledValues {
  /** What has come since the last snapshot: looking through it can wait until there is one, and often there is none. */
  #fresh: { seq: number; events: readonly RunEvent[] }[] = [];
  #notes = new Map<string, string>();

  add(seq: number, events: readonly RunEvent[]): void {
    this.#fresh.push({ seq, events });
  }

  /** What has been read in is not repeated in the next snapshot either. */
  learn(values: ReadonlyMap<string, string>): void {
    for (const [note, value] of values) this.#notes.set(value, note);
  }

  /** The state with notes in it for the values that are in the journal. Forgets those that the state has no more. */
  noted(state: RunState): RunState {
    const fresh = new Map<string, Place>();
    for (const { seq, events } of this.#fresh)
      for (const [index, value] of valuesIn(events).entries())
        if (value.length > SHORT) fresh.set(value, { seq, index });
    const notes = new Map<string, string>();
    const noteOf = (value: string): string => {
      let note = this.#notes.get(value);
      const place = fresh.get(value);
      if (note === undefined && place !== undefined) note = `${NOTE}${place.seq}.${place.index}.${checksumOf(value)}`;
      if (note !== undefined) notes.set(value, note);
      return note ?? value;
    };
    const noted: RunState = {
      ...state,
      invocations: mapped(state.invocations, (it) =>
        it.status === "completed" ? { ...it, output: noteOf(it.output) } : it,
      ),
      steps: mapped(state.steps, (steps) => mapped(steps, noteOf)),
    };
    this.#fresh = [];
    this.#notes = notes;
    return noted;
  }
}

/** The notes among the values of an invocation: its output, and the steps that it has made. */
export function notesOf({ invocations, steps }: RunState, key: string): string[] {
  const invocation = invocations.get(key);
  const values = [...(steps.get(key)?.values() ?? [])];
  if (invocation?.status === "completed") values.push(invocation.output);
  return values.filter(isNote);
}

/** Puts values in the place of their notes. */
export function replaceNotes({ invocations, steps }: RunState, key: string, values: ReadonlyMap<string, string>): void {
  const valueOf = (text: string): string => values.get(text) ?? text;
  const invocation = invocations.get(key);
  if (invocation?.status === "completed") Object.assign(invocation, { output: valueOf(invocation.output) });
  const made = steps.get(key);
  for (const [step, output] of made ?? []) made!.set(step, valueOf(output));
}

/** Reads what notes stand for. What is damaged, or is not there, is not among what it gives. */
export async function readNoted(store: Store, runId: string, notes: readonly string[]): Promise<Map<string, string>> {
  const places = notes.map((note) => ({ note, ...placeOf(note) })).sort((a, b) => a.seq - b.seq);
  const found = new Map<string, string>();
  for (let i = 0; i < places.length;) {
    const first = places[i]!.seq;
    let last = first;
    const wanted: typeof places = [];
    for (; i < places.length && places[i]!.seq - last <= NEAR && places[i]!.seq - first < RECORDS_AT_ONCE; i++) {
      last = places[i]!.seq;
      wanted.push(places[i]!);
    }
    const records = new Map((await store.read(runId, first, last + 1)).map((record) => [record.seq, record]));
    const values = new Map<number, readonly string[]>();
    for (const { note, seq, index } of wanted) {
      if (!values.has(seq)) values.set(seq, valuesOf(records.get(seq)));
      const value = values.get(seq)![index];
      if (value !== undefined && note.endsWith(`.${checksumOf(value)}`)) found.set(note, value);
    }
  }
  return found;
}

/** Which record a note points into. */
export function placeOf(note: string): Place {
  const [seq, index] = note.slice(NOTE.length).split(".");
  return { seq: Number(seq), index: Number(index) };
}

function isNote(text: string): boolean {
  return text.startsWith(NOTE);
}

function checksumOf(value: string): string {
  return crc32c(utf8Bytes(value)).toString(36);
}

// A damaged record may be anything, also no text and no JSON.
function valuesOf(record: StoredRecord | undefined): readonly string[] {
  try {
    return record === undefined ? [] : valuesIn(decodeEvents(record.body));
  } catch {
    return [];
  }
}

function mapped<V extends string | Invocation | Map<string, string>>(
  map: ReadonlyMap<string, V>,
  change: (value: V) => V,
): Map<string, V> {
  return new Map(Array.from(map, ([key, value]) => [key, change(value)]));
}
