import type { Store } from "../core/store.ts";
import type { ContractCase } from "./contract-case.ts";
import { FakeClock } from "./fake-clock.ts";
import type { StoreCases } from "./store-bench.ts";
import { LEASES } from "./store-lease-cases.ts";
import { LISTS } from "./store-list-cases.ts";
import { RECORDS } from "./store-record-cases.ts";
import { RETENTION } from "./store-retention-cases.ts";
import { SIGNALS } from "./store-signal-cases.ts";
import { WORK } from "./store-work-cases.ts";

/** A place for runs that a test may fill and throw away. */
export interface StorePlace {
  /** A store on the place. Each further one sees the same runs, as another process would. */
  open(clock: FakeClock): Store | Promise<Store>;
  /** Called when the case is over and its stores are closed. */
  remove?(): void | Promise<void>;
}

/**
 * What every store must do, as cases for any test runner; `newPlace` gives each of them an empty place.
 *
 * @example
 * ```ts no-run
 * import { MemoryStore } from "holdfast";
 * import { storeContract, type StorePlace } from "holdfast/testing";
 * import { it } from "vitest";
 *
 * const newPlace = (): StorePlace => {
 *   let store: MemoryStore | undefined;
 *   return { open: (clock) => (store ??= new MemoryStore({ clock })) };
 * };
 * for (const { title, run } of storeContract(newPlace)) it(title, run);
 * ```
 */
export function storeContract(newPlace: () => StorePlace | Promise<StorePlace>): ContractCase[] {
  const cases: StoreCases = { ...LEASES, ...RECORDS, ...LISTS, ...SIGNALS, ...RETENTION, ...WORK };
  return Object.entries(cases).map(([title, check]) => ({
    title,
    run: async () => {
      const place = await newPlace();
      const clock = new FakeClock();
      const opened: Store[] = [];
      const open = async (): Promise<Store> => {
        const store = await place.open(clock);
        opened.push(store);
        return store;
      };
      try {
        await check({ store: await open(), open, clock });
      } finally {
        for (const store of opened) await store.close();
        await place.remove?.();
      }
    },
  }));
}
