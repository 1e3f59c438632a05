import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { connections, reset } from "../../test/watched-driver.ts";
import type { DeadLetterFilter, RunFilter } from "../core/store.ts";
import { appendOf, claimOf, letterOf } from "../testing/store-bench.ts";
import { openDriver, type SqliteDriver } from "./sqlite-driver.ts";
import { SqliteStore } from "./sqlite.ts";

vi.mock(import("./sqlite-driver.ts"), async (importOriginal) => {
  const { watched } = await import("../../test/watched-driver.ts");
  return watched(await importOriginal());
});

let folder: string;
let store: SqliteStore;
let db: SqliteDriver;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-plans-"));
  const path = join(folder, "runs.db");
  await new SqliteStore(path).close();
  // What making the tables takes is not looked at.
  reset();
  store = new SqliteStore(path);
  await store.claim(claimOf("r"));
  await store.append(appendOf("r", 1, 0, { deadLetters: [letterOf("dl")] }));
  db = openDriver(store.location);
});
afterAll(async () => {
  db.close();
  await store.close();
  reset();
  rmSync(folder, { recursive: true });
});

/** What SQLite says that it will do for a statement. */
function planOf(sql: string): string[] {
  return (db.prepare(`EXPLAIN QUERY PLAN ${sql}`).all() as { detail: string }[]).map(({ detail }) => detail);
}

/** The parts of a plan that read all of a table, or sort what they have read. */
function slowParts(plan: readonly string[]): string[] {
  return plan.filter((step) =>
    /^SCAN (?!\d+ CONSTANT ROW|CONSTANT ROW|\d+-ROW VALUES|found\b)|USE TEMP B-TREE/.test(step),
  );
}

/** The statements that a call prepares. */
async function preparedBy(call: () => Promise<unknown>): Promise<string[]> {
  const { prepared } = connections[0]!;
  const before = prepared.length;
  await call();
  return prepared.slice(before);
}

it("no statement of the store reads all of a table, but the count of all dead letters, which reads an index (C6.9)", () => {
  const slow = connections[0]!.prepared
    .filter((sql) => /holdfast_/.test(sql) && !/^SELECT version FROM holdfast_schema|sqlite_master/.test(sql))
    .flatMap((sql) => slowParts(planOf(sql)).map((step) => `${step}: ${sql.slice(0, 60)}`));
  expect(slow).toEqual([
    expect.stringMatching(
      /^SCAN holdfast_dead_letters USING COVERING INDEX holdfast_dead_letters_by_status: SELECT status/,
    ),
    // The signals of a few runs are put in order. They are found by the index.
    expect.stringMatching(/^USE TEMP B-TREE FOR ORDER BY: SELECT body FROM holdfast_signals/),
    expect.stringMatching(/^USE TEMP B-TREE FOR ORDER BY: SELECT body FROM holdfast_signals/),
  ]);
});

describe("no list reads more than it gives", () => {
  const runFilters: Record<string, RunFilter> = {
    "of all runs": {},
    "of open runs": { status: ["running", "waiting"] },
    "of runs of a workflow": { workflowId: "w" },
    "of failed runs of a workflow": { workflowId: "w", status: "failed" },
    "of runs between two instants": { createdFrom: 1, createdBefore: 2 },
    "of runs that are due": { wakesBefore: 5 },
    "of runs of a workflow that are due": { workflowId: "w", wakesBefore: 5 },
    "of runs on a further page": { workflowId: "w", createdFrom: 1, olderThan: "r" },
  };
  for (const [name, filter] of Object.entries(runFilters))
    it(`${name} (C6.9)`, async () => {
      const [sql] = await preparedBy(() => store.list(filter));
      const plan = planOf(sql!);
      expect(slowParts(plan)).toEqual([]);
      const [all, ofWorkflow] =
        filter.wakesBefore === undefined
          ? ["by_status (status=?", "by_workflow (workflow=? AND status=?"]
          : ["due (wake_at<?", "due_by_workflow (workflow=? AND wake_at<?"];
      const index = `holdfast_runs_${filter.workflowId === undefined ? all : ofWorkflow}`;
      expect(plan.some((step) => step.includes(index))).toBe(true);
    });

  const letterFilters: Record<string, DeadLetterFilter> = {
    "of all dead letters": {},
    "of those of a status": { status: "pending" },
    "of those of a workflow": { workflowId: "w" },
    "of those of a node": { nodeId: "n" },
    "of those of a run": { runId: "r" },
    "of those with a code": { errorCode: "TIMEOUT", status: "pending" },
    "of those between two instants": { enteredFrom: 1, enteredBefore: 2 },
    "of those on a further page": { errorCode: "TIMEOUT", olderThan: "dl" },
  };
  for (const [name, filter] of Object.entries(letterFilters))
    it(`${name} (C7.2)`, async () => {
      const [sql] = await preparedBy(() => store.deadLetters(filter));
      const plan = planOf(sql!);
      expect(slowParts(plan)).toEqual([]);
      expect(plan.some((step) => /USING INDEX holdfast_dead_letters_by_\w+ \((\w+=\? AND )?status=\?/.test(step))).toBe(
        true,
      );
    });
});

it("a list that was asked for before is not prepared again (C6.9)", async () => {
  await store.list({ status: "cancelled", limit: 3 });
  expect(await preparedBy(() => store.list({ status: "failed", limit: 4 }))).toEqual([]);
});
