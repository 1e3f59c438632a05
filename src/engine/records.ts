import { utf8Text } from "../core/bytes.ts";
import { firstLink, link, type StoredRecord } from "../core/record.ts";
import type { Snapshot } from "../core/store.ts";
import type { RunEvent } from "../workflow/run-state.ts";
import { isSnapshot } from "./snapshot.ts";

/** A record that is what was written in its place, with what it says. */
export interface IntactRecord {
  readonly checksum: number;
  readonly body: Uint8Array;
  /** None for a snapshot, which says nothing that they do not say. */
  readonly events: readonly RunEvent[];
  /** Only of a snapshot that is not needed. */
  readonly isDamaged?: true;
}

/** From where on a journal is read: the number of the first record, and the checksum of the one before it. */
export function startOf(runId: string, snapshot: Snapshot | null): Snapshot {
  return snapshot ?? { seq: 0, previous: firstLink(runId) };
}

/**
 * The records from a place on, up to the first one that is damaged or not where it belongs. A damaged snapshot alone is
 * passed over: the events before it say the same, and that its checksum is as it was, the record behind it shows.
 */
export function* intactRecords(
  records: readonly StoredRecord[],
  start: Snapshot,
  snapshot: Snapshot | null = null,
): Generator<IntactRecord, void> {
  let checksum = start.previous;
  for (const [i, record] of records.entries()) {
    const seq = start.seq + i;
    checksum = link(checksum, seq, record.body);
    if (record.seq !== seq) return;
    if (record.checksum === checksum) {
      yield { checksum, body: record.body, events: isSnapshot(record.body) ? [] : decodeEvents(record.body) };
      continue;
    }
    const next = records[i + 1];
    if (seq !== snapshot?.seq || next === undefined) return;
    checksum = record.checksum;
    if (link(checksum, seq + 1, next.body) !== next.checksum) return;
    yield { checksum, body: record.body, events: [], isDamaged: true };
  }
}

/** What to say of a journal that ends before a record that is known to have been written; undefined for a whole one. */
export function vanishedTail(intact: number, written: number): string | undefined {
  if (intact >= written) return undefined;
  return `the newest ${written - intact} of ${written} records known to have been written are gone`;
}

/** Fields of events that are encoded values. */
export const VALUES: Partial<Record<RunEvent["kind"], string>> = {
  run_started: "input",
  invocation_completed: "output",
  step_completed: "output",
};

/**
 * Events as text: a line of JSON, then the encoded values one after the other, each named in the line by its length.
 * A value is already JSON, and putting it into JSON once more would double its quotes and its cost.
 */
export function encodeEvents(events: readonly RunEvent[]): string {
  let values = "";
  const heads = events.map((event) => {
    const field = VALUES[event.kind];
    if (field === undefined) return event;
    const value = (event as unknown as Record<string, string>)[field]!;
    values += value;
    return { ...event, [field]: value.length };
  });
  return `${JSON.stringify(heads)}\n${values}`;
}

export function decodeEvents(body: Uint8Array): RunEvent[] {
  const text = utf8Text(body);
  const newline = text.indexOf("\n");
  const heads = JSON.parse(text.slice(0, newline)) as RunEvent[];
  let from = newline + 1;
  for (const event of heads) {
    const field = VALUES[event.kind];
    if (field === undefined) continue;
    const values = event as unknown as Record<string, string | number>;
    values[field] = text.slice(from, (from += values[field] as number));
  }
  return heads;
}

/** The values in events, in order: what a note counts by. */
export function valuesIn(events: readonly RunEvent[]): string[] {
  return events.flatMap((event) => {
    const field = VALUES[event.kind];
    return field === undefined ? [] : [(event as unknown as Record<string, string>)[field]!];
  });
}
