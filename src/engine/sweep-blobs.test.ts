import { expect, it } from "vitest";
import { MemoryBlobs } from "../stores/memory-blobs.ts";
import { MemoryStore } from "../stores/memory.ts";
import { FakeClock } from "../testing/fake-clock.ts";
import { FaultyStore } from "../testing/faulty-store.ts";
import { sweepBlobs } from "./sweep-blobs.ts";

const claim = { runId: "r", workflowId: "w", owner: "o", leaseMs: 1000, isDead: () => false, reopen: false };

it("a sweep deletes nothing where it cannot read what a record refers to (C6.6, C6.7)", async () => {
  const clock = new FakeClock();
  const blobs = new MemoryBlobs({ clock });
  const store = new MemoryStore({ clock });
  const name = await blobs.put(Uint8Array.of(1));
  await clock.advance(1);
  const { token } = await store.claim(claim);
  await store.append({ runId: "r", token, version: 0, body: Uint8Array.of(0xff, 0xfe), checksum: 1 });
  const sweep = sweepBlobs(store, blobs, clock, { olderThanMs: 0 });
  await expect(sweep).rejects.toMatchObject({ code: "STORE_CORRUPT" });
  await expect(sweep).rejects.toThrow('Record 0 of run "r" cannot be read');
  expect(await blobs.get(name)).toBeDefined();
});

it("a blob that comes into use while the journals are read stays (C6.6)", async () => {
  const clock = new FakeClock();
  const blobs = new MemoryBlobs({ clock });
  const store = new FaultyStore(new MemoryStore({ clock }));
  const used = await blobs.put(Uint8Array.of(1));
  const stray = await blobs.put(Uint8Array.of(2));
  await clock.advance(1000);
  const list = store.list.bind(store);
  store.list = async (filter) => {
    const rows = await list(filter);
    // A run that is not among them puts the same bytes, and is about to record it.
    await blobs.put(Uint8Array.of(1));
    return rows;
  };
  await sweepBlobs(store, blobs, clock, { olderThanMs: 500 });
  expect([await blobs.get(used), await blobs.get(stray)]).toEqual([Uint8Array.of(1), undefined]);
});
