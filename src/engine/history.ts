import type { RunRow, Store } from "../core/store.ts";
import { applyEvent } from "../workflow/apply-event.ts";
import { newRunState, type RunEvent, type RunState } from "../workflow/run-state.ts";
import { intactRecords, startOf, vanishedTail } from "./records.ts";

/** What the journal of a run says, read by somebody who does not carry the run out. */
export interface RunHistory {
  readonly row: RunRow;
  /** Where the run stands by its intact records; `new` where there are none. */
  readonly state: RunState;
  /** In order, each with the number of the record that holds it. */
  readonly events: readonly { readonly record: number; readonly event: RunEvent }[];
  /** What is wrong with the journal; undefined where nothing is. */
  readonly damage: string | undefined;
}

/**
 * Reads and checks the journal of a run without claiming it, also while another process writes it. Damage is told and
 * left where it is: only the holder of the lease may set it aside. Undefined where there is no such run.
 */
export async function readHistory(store: Store, runId: string): Promise<RunHistory | undefined> {
  // The row first: records that come after it then only make the journal longer than the row says, never shorter.
  const row = await store.get(runId);
  if (row === undefined) return undefined;
  const records = await store.read(runId);
  const state = newRunState();
  const events: { record: number; event: RunEvent }[] = [];
  let intact = 0;
  for (const record of intactRecords(records, startOf(runId, null), row.snapshot)) {
    for (const event of record.events) {
      applyEvent(state, event);
      events.push({ record: intact, event });
    }
    intact++;
  }
  return { row, state, events, damage: damageOf(intact, records.length, row.head.version) };
}

/**
 * The input that a run was started with, from its first record alone. Empty where that is damaged, which whoever opens
 * the journal tells and reports.
 */
export async function readInput(store: Store, runId: string): Promise<string> {
  const state = newRunState();
  for (const { events } of intactRecords(await store.read(runId, 0, 1), startOf(runId, null)))
    for (const event of events) applyEvent(state, event);
  return state.input;
}

function damageOf(intact: number, found: number, written: number): string | undefined {
  if (intact < found) return `record ${intact} of ${found} is damaged, and nothing after it can be trusted`;
  return vanishedTail(intact, written);
}
