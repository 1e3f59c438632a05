import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { BROKEN_STATES } from "../../test/broken-states.ts";
import type { ContractCase } from "../testing/contract-case.ts";
import { sharedStateContract, type SharedStatePlace } from "../testing/shared-state-contract.ts";
import { MemorySharedState } from "./memory-shared-state.ts";
import { SqliteSharedState } from "./sqlite-shared-state.ts";

function inMemory(): SharedStatePlace {
  let state: MemorySharedState | undefined;
  return { open: (clock) => (state ??= new MemorySharedState({ clock })) };
}

function inSqlite(): SharedStatePlace {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-state-"));
  return {
    open: (clock) => new SqliteSharedState(join(folder, "state.db"), { clock, machineNow: () => clock.now() }),
    remove: () => rmSync(folder, { recursive: true }),
  };
}

describe("MemorySharedState keeps the contract of shared state", () => {
  for (const { title, run } of sharedStateContract(inMemory)) it(title, run);
});

describe("SqliteSharedState keeps the contract of shared state", () => {
  for (const { title, run } of sharedStateContract(inSqlite)) it(title, run);
});

describe("the contract finds a shared state (C2.9)", () => {
  for (const [fault, { open, found }] of Object.entries(BROKEN_STATES)) {
    it(`${fault} (C2.9)`, async () => {
      const cases = sharedStateContract(() => {
        const opened = open();
        return { open: opened };
      });
      expect(await failures(cases)).toEqual(expect.arrayContaining([expect.stringContaining(found)]));
    });
  }
});

async function failures(cases: readonly ContractCase[]): Promise<string[]> {
  const titles: string[] = [];
  for (const { title, run } of cases) {
    await run().catch(() => titles.push(title));
  }
  return titles;
}
