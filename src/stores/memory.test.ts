import { describe, expect, it } from "vitest";
import type { StoredRecord } from "../core/record.ts";
import type {
  Append,
  Claim,
  ClaimedRun,
  DeadLetter,
  DeadLetterFilter,
  PruneFilter,
  RunFilter,
  RunRow,
  Signal,
  Store,
} from "../core/store.ts";
import { storeContract, type StorePlace } from "../testing/store-contract.ts";
import { MemoryStore } from "./memory.ts";

describe("MemoryStore keeps the contract of stores", () => {
  for (const { title, run } of storeContract(placeOf(MemoryStore))) it(title, run);
});

it("a store in memory says that nothing survives the process (C6.5)", () => {
  expect(new MemoryStore().durability).toBe("memory");
  expect(new MemoryStore().location).toBe("memory");
});

it("what is shared through a store in memory closes with it (C5.11)", async () => {
  const store = new MemoryStore();
  const put = (last: number | undefined) => ({ next: (last ?? 0) + 1, keepMs: Infinity, result: last });
  expect([await store.state.update("n", put), await store.state.update("n", put)]).toEqual([undefined, 1]);
  await store.close();
  await expect(store.state.update("n", put)).rejects.toThrow(/closed/);
});

// Each store below has one fault. The contract is worth something only if it finds it, and finds it where it lies.
describe("the contract of stores finds", () => {
  it("a store that does not look at the version (C6.1)", async () => {
    class IgnoresVersion extends MemoryStore {
      override async append(append: Append): Promise<void> {
        const row = await this.get(append.runId);
        return super.append({ ...append, version: row?.version ?? append.version });
      }
    }
    expect(await failures(IgnoresVersion)).toContainEqual(expect.stringContaining("another version"));
  });

  it("a store that does not look at the token (C6.4)", async () => {
    class IgnoresToken extends MemoryStore {
      override async append(append: Append): Promise<void> {
        const row = await this.get(append.runId);
        return super.append({ ...append, token: row?.token ?? append.token });
      }
    }
    expect(await failures(IgnoresToken)).toContainEqual(expect.stringContaining("token of a former holder"));
  });

  it("a store that stores what it refuses (C6.4)", async () => {
    class StoresRefused extends MemoryStore {
      override async append(append: Append): Promise<void> {
        const row = await this.get(append.runId);
        if (row?.token === append.token) return super.append(append);
        await super.append({ ...append, token: row?.token ?? 0 }).catch(() => {});
        return super.append(append);
      }
    }
    expect(await failures(StoresRefused)).toContainEqual(expect.stringContaining("token of a former holder"));
  });

  it("a store that forgets the last append (C6.1)", async () => {
    class ForgetsLastAppend extends MemoryStore {
      override async read(runId: string): Promise<StoredRecord[]> {
        return (await super.read(runId)).slice(0, -1);
      }
    }
    expect(await failures(ForgetsLastAppend)).toContainEqual(expect.stringContaining("come back in order"));
  });

  it("a store that leases a run twice (C6.4)", async () => {
    class LeasesTwice extends MemoryStore {
      override claim(claim: Claim): Promise<ClaimedRun> {
        return super.claim({ ...claim, isDead: () => true });
      }
    }
    expect(await failures(LeasesTwice)).toContainEqual(expect.stringContaining("of two claims at the same time"));
  });

  it("a store whose leases never run out (C6.4)", async () => {
    class LeasesForEver extends MemoryStore {
      override claim(claim: Claim): Promise<ClaimedRun> {
        return super.claim({ ...claim, leaseMs: 1e12 });
      }
    }
    expect(await failures(LeasesForEver)).toContainEqual(expect.stringContaining("has run out is taken over"));
  });

  it("a store that writes dead letters in a transaction of their own (C7.1)", async () => {
    class KeepsRefusedLetters extends MemoryStore {
      readonly #refused: DeadLetter[] = [];
      override async append(append: Append): Promise<void> {
        await super.append(append).catch((error: unknown) => {
          this.#refused.push(...(append.deadLetters ?? []));
          throw error;
        });
      }
      override async deadLetters(filter?: DeadLetterFilter): Promise<DeadLetter[]> {
        return [...this.#refused, ...(await super.deadLetters(filter))];
      }
    }
    expect(await failures(KeepsRefusedLetters)).toContainEqual(expect.stringContaining("another version"));
  });

  it("a store to which A and a are one id (C0.7)", async () => {
    class FoldsCase extends MemoryStore {
      override claim(claim: Claim): Promise<ClaimedRun> {
        return super.claim({ ...claim, runId: claim.runId.toLowerCase() });
      }
    }
    expect(await failures(FoldsCase)).toEqual([expect.stringContaining("any text is an id")]);
  });

  it("a store that keeps signals which were taken (C5.2)", async () => {
    class KeepsTaken extends MemoryStore {
      override append(append: Append): Promise<void> {
        return super.append({ ...append, signalsTaken: undefined });
      }
    }
    expect(await failures(KeepsTaken)).toContainEqual(expect.stringContaining("taken with the record"));
  });

  it("a store that keeps what was said twice twice (C5.2)", async () => {
    class KeepsTwice extends MemoryStore {
      #count = 0;
      override signal(signal: Signal): Promise<void> {
        return super.signal({ ...signal, id: `${signal.id} ${this.#count++}` });
      }
    }
    expect(await failures(KeepsTwice)).toContainEqual(expect.stringContaining("twice under one id"));
  });

  it("a store that forgets when a run goes on (C6.3)", async () => {
    class Oversleeps extends MemoryStore {
      override append(append: Append): Promise<void> {
        return super.append({ ...append, wakeAt: null });
      }
    }
    expect(await failures(Oversleeps)).toContainEqual(expect.stringContaining("keeps when it goes on"));
  });

  it("a store in which a run sleeps through what it was told just before it fell asleep (C5.2)", async () => {
    class MissesEarlySignal extends MemoryStore {
      override append(append: Append): Promise<void> {
        return super.append({ ...append, wakeOn: undefined });
      }
    }
    const found = await failures(MissesEarlySignal);
    expect(found).toEqual([expect.stringContaining("which has come already is due at once")]);
  });

  it("a store that wakes a run for signals that it does not wait for (C5.2)", async () => {
    class WakesForAny extends MemoryStore {
      override async append(append: Append): Promise<void> {
        const names = (await super.signals(append)).map(({ name }) => name);
        return super.append({ ...append, wakeOn: names });
      }
    }
    const found = await failures(WakesForAny);
    expect(found).toEqual(expect.arrayContaining([expect.stringContaining("makes a run due that waits")]));
  });

  it("a store that gives the runs which are due as they were created (C6.3)", async () => {
    class StarvesTheOldest extends MemoryStore {
      override async list(filter: RunFilter = {}): Promise<RunRow[]> {
        const rows = await super.list(filter);
        return filter.wakesBefore === undefined ? rows : rows.toSorted((a, b) => a.createdAt - b.createdAt).reverse();
      }
    }
    expect(await failures(StarvesTheOldest)).toContainEqual(expect.stringContaining("the longest due first"));
  });

  it("a store that keeps the lease of a run that waits (C6.4)", async () => {
    class KeepsLease extends MemoryStore {
      override async append(append: Append): Promise<void> {
        await super.append(append);
        if (append.status !== "waiting") return;
        const never = { isDead: () => false, reopen: false, workflowId: "w", leaseMs: 5000 };
        await super.claim({ ...never, runId: append.runId, owner: "one" });
      }
    }
    expect(await failures(KeepsLease)).toContainEqual(expect.stringContaining("ends or waits gives its lease back"));
  });

  it("a store that begins each page anew (C10.5)", async () => {
    class FirstPageOnly extends MemoryStore {
      override list(filter: RunFilter = {}): Promise<RunRow[]> {
        return super.list({ ...filter, olderThan: undefined });
      }
    }
    expect(await failures(FirstPageOnly)).toContainEqual(expect.stringContaining("a list goes on after its last run"));
  });

  it("a store that acknowledges the user's own work and does not do it (C6.11)", async () => {
    class SkipsWork extends MemoryStore {
      override append(append: Append): Promise<void> {
        return super.append({ ...append, within: undefined });
      }
    }
    expect(await failures(SkipsWork)).toContainEqual(expect.stringContaining("or the append is refused whole"));
  });

  it("a store that deletes a run in use (C6.4)", async () => {
    class DeletesInUse extends MemoryStore {
      override async prune(filter: PruneFilter): Promise<string[]> {
        for (const { runId, token } of await super.list({ status: "failed" })) await super.release(runId, token);
        return super.prune(filter);
      }
    }
    expect(await failures(DeletesInUse)).toEqual([expect.stringContaining("somebody has claimed stays")]);
  });
});

/** The titles of the cases that a store fails. */
async function failures(Kind: StoreClass): Promise<string[]> {
  const failed: string[] = [];
  for (const { title, run } of storeContract(placeOf(Kind))) await run().catch(() => failed.push(title));
  return failed;
}

type StoreClass = new (options: ConstructorParameters<typeof MemoryStore>[0]) => Store;

/** One store is the place: another handle on memory is the same object. */
function placeOf(Kind: StoreClass): () => StorePlace {
  return () => {
    let store: Store | undefined;
    return { open: (clock) => (store ??= new Kind({ clock })) };
  };
}
