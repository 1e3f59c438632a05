import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { BROKEN_BLOBS } from "../../test/broken-blobs.ts";
import { blobsContract, type BlobsPlace } from "../testing/blobs-contract.ts";
import { FileBlobs } from "./file-blobs.ts";
import { MemoryBlobs } from "./memory-blobs.ts";

function inMemory(): BlobsPlace {
  let blobs: MemoryBlobs | undefined;
  return { open: (clock) => (blobs ??= new MemoryBlobs({ clock })) };
}

function inFiles(): BlobsPlace {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-blobs-"));
  return {
    open: (clock) => new FileBlobs(join(folder, "blobs"), { clock }),
    remove: () => rmSync(folder, { recursive: true }),
  };
}

describe("MemoryBlobs keeps the contract of blobs", () => {
  for (const { title, run } of blobsContract(inMemory)) it(title, run);
});

describe("FileBlobs keeps the contract of blobs", () => {
  for (const { title, run } of blobsContract(inFiles)) it(title, run);
});

describe("the contract finds blobs", () => {
  for (const [fault, { open, found }] of Object.entries(BROKEN_BLOBS)) {
    it(`${fault} (C6.6)`, async () => {
      const titles: string[] = [];
      for (const { title, run } of blobsContract(() => ({ open: open() }))) await run().catch(() => titles.push(title));
      expect(titles).toEqual(expect.arrayContaining([expect.stringContaining(found)]));
    });
  }
});
