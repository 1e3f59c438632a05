import { revivedError, type StoredError } from "../core/errors.ts";
import type { RunRow } from "../core/store.ts";
import { type InvocationId, invocationKey } from "../workflow/invocation-id.ts";
import type { RunEvent } from "../workflow/run-state.ts";
import type { RunHistory } from "./history.ts";
import { VALUES } from "./records.ts";
import type { EngineSettings } from "./run.ts";

/** A run and what its journal says, to be read by people and programs. */
export interface History {
  run: RunRow;
  /** In the order in which they were stored. */
  events: HistoryEvent[];
  /** What is wrong with the journal, in words; what comes after the damage is not among the events. Absent where nothing is. */
  damage?: string;
}

/**
 * An event of a journal: its `kind`, when it happened in wall-clock milliseconds (`at`), the number of the record that
 * holds it, and its fields. Values are what nodes took and gave, and errors are errors.
 */
export type HistoryEvent = Readable<RunEvent>;

type Readable<E> = E extends RunEvent
  ? { readonly [K in keyof E as ReadableKey<K>]: ReadableValue<K, E[K]> } & OfInvocation<E> & {
        readonly at: number;
        readonly record: number;
      }
  : never;

type ReadableKey<K> = K extends "id" | "outline" ? never : K extends "node" ? "nodeId" : K;
type ReadableValue<K, V> = K extends "input" | "output" ? unknown : V extends StoredError ? Error : V;
type OfInvocation<E> = E extends { id: InvocationId }
  ? { readonly nodeId: string; readonly invocationId: string }
  : unknown;

/** The journal of a run as it is shown. Throws where it holds a value of a class that the codec does not know. */
export async function readable({ row, events, damage }: RunHistory, settings: EngineSettings): Promise<History> {
  const shown: HistoryEvent[] = [];
  for (const { record, event } of events) shown.push(await readableEvent(record, event, settings));
  return { run: row, events: shown, ...(damage !== undefined && { damage }) };
}

// What is done to the fields is the same for every kind, so that a kind that is added needs no line here.
async function readableEvent(
  record: number,
  event: RunEvent,
  { codec, values }: EngineSettings,
): Promise<HistoryEvent> {
  const shown: Record<string, unknown> = {};
  for (const [field, value] of Object.entries(event)) {
    if (field === "outline") continue;
    if (field === "id") {
      const id = value as InvocationId;
      Object.assign(shown, { nodeId: id.node, invocationId: invocationKey(id) });
    } else if (field === "node") shown["nodeId"] = value;
    else if (field === VALUES[event.kind]) shown[field] = codec.decode(await values.load(value as string));
    else if (field === "error" || field === "reason") shown[field] = revivedError(value as StoredError);
    else shown[field] = value;
  }
  const at = "at" in event ? event.at : event.retryAt - event.retryDelayMs;
  return { ...shown, at, record } as unknown as HistoryEvent;
}
