import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BelievesFirst, ForgetsLastRecord, IgnoresToken, StoresLettersLater } from "../../test/broken-stores.ts";
import { embeddedEngine } from "../../test/embedded-engine.ts";
import { afterAll, describe, expect, it } from "vitest";
import type { Clock } from "../core/clock.ts";
import type { Store } from "../core/store.ts";
import { MemoryBlobs } from "../stores/memory-blobs.ts";
import { MemoryStore } from "../stores/memory.ts";
import { SqliteStore } from "../stores/sqlite.ts";
import { engineContract } from "../testing/engine-contract.ts";
import { FaultyBlobs } from "../testing/faulty-blobs.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-engine-"));
afterAll(() => rmSync(folder, { recursive: true }));
let files = 0;

describe("the embedded engine on memory keeps the contract of engines", () => {
  for (const { title, run } of engineContract(embeddedEngine((clock) => new MemoryStore({ clock })))) it(title, run);
});

describe("the embedded engine on SQLite keeps the contract of engines", () => {
  const newStore = (clock: Clock): Store => new SqliteStore(join(folder, `${++files}.db`), { clock });
  for (const { title, run } of engineContract(embeddedEngine(newStore))) it(title, run);
});

// Every value is a reference then, which must make no difference to anything.
describe("the embedded engine with all its values among the blobs keeps the contract of engines", () => {
  const blobs = new FaultyBlobs(new MemoryBlobs());
  blobs.close = async () => {};
  const subject = embeddedEngine((clock) => new MemoryStore({ clock }), { blobs, journaledBytes: 0 });
  // These look at the stored text of a value, at how large one may be, or need an engine without blobs.
  const ofText =
    /^(an output above 1 MB|a loop that nothing stops|an entry tells what failed|an input that does not fit|a blob that is gone|what is too large)/;
  for (const { title, run } of engineContract(subject).filter((one) => !ofText.test(one.title))) it(title, run);
});

// An engine is only as good as the store below it: on a store with a fault, the contract of engines must break too.
describe("the contract of engines finds", () => {
  const WHOLE = "a run that is not interrupted ends like this";
  const twins: [what: string, Kind: typeof MemoryStore, title: string][] = [
    ["an engine that believes what is not stored yet (C6.1)", BelievesFirst, "whichever write a process dies at"],
    ["a fence that was taken away (C6.4)", IgnoresToken, "a holder that has stalled is refused"],
    ["a journal whose last record is forgotten (C6.1)", ForgetsLastRecord, "whichever write a process dies at"],
    ["dead letters that come a transaction later (C7.1)", StoresLettersLater, "the entry is stored in the write"],
  ];
  for (const [what, Kind, title] of twins) {
    it(what, async () => {
      const cases = engineContract(embeddedEngine((clock) => new Kind({ clock })));
      const find = (start: string) => cases.find((found) => found.title.startsWith(start))!;
      await find(WHOLE).run();
      await expect(find(title).run()).rejects.toThrow();
    });
  }
});
