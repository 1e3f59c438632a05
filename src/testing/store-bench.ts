import type { Append, Claim, DeadLetter, Signal, Store } from "../core/store.ts";
import type { FakeClock } from "./fake-clock.ts";

/** What a case works with. */
interface StoreBench {
  store: Store;
  /** Another handle on the same place. */
  open: () => Promise<Store>;
  clock: FakeClock;
}

/** How long leases last in the cases. */
export const LEASE_MS = 5000;

export function claimOf(runId: string, more: Partial<Claim> = {}): Claim {
  return { runId, workflowId: "w", owner: "one", leaseMs: LEASE_MS, isDead: () => false, reopen: false, ...more };
}

export function appendOf(runId: string, token: number, version: number, more: Partial<Append> = {}): Append {
  return { runId, token, version, body: bytes(`${runId} ${version}`), checksum: version + 1, ...more };
}

export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function letterOf(id: string, more: Partial<DeadLetter> = {}): DeadLetter {
  const errorDetail = { name: "Error", message: "no", cause: { name: "Error", message: "deeper" } };
  return {
    ...{ id, timestamp: 1, workflowId: "w", runId: "r", nodeId: "n", invocationId: "n#0", error: "no", errorDetail },
    ...{ attempts: 1, retryCount: 0, maxRetries: 3, nextRetryAt: 5, status: "pending", payload: null },
    ...more,
  };
}

export function signalOf(runId: string, id: string, more: Partial<Signal> = {}): Signal {
  return { runId, id, name: "approved", payload: `"${id}"`, at: 1, ...more };
}

/** What a store says of a run, all of it: to see that nothing has changed. */
export async function everything(store: Store, runId: string): Promise<unknown> {
  return {
    row: await store.get(runId),
    records: await store.read(runId),
    letters: await store.deadLetters(),
    signals: await store.signals({ runId }),
  };
}

export type StoreCase = (bench: StoreBench) => Promise<void>;

/** Cases by their titles. */
export type StoreCases = Readonly<Record<string, StoreCase>>;
