import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { NodeContext } from "../core/node.ts";
import type { SqlTransaction } from "../core/store.ts";
import { createEngine, MemoryStore, SqliteStore, Workflow } from "../index.ts";
import { FaultyStore } from "../testing/faulty-store.ts";

let folder: string;
let store: SqliteStore;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-transaction-"));
  store = new SqliteStore(join(folder, "runs.db"));
});
afterEach(async () => {
  await store.close();
  rmSync(folder, { recursive: true });
});

function book(sql: SqlTransaction, what: string): number {
  sql.run("CREATE TABLE IF NOT EXISTS bookings (what TEXT)");
  sql.run("INSERT INTO bookings VALUES (?)", what);
  return sql.all("SELECT * FROM bookings WHERE what = ?", what).length;
}

/** What the table holds, read in a run of its own. */
async function bookings(): Promise<unknown> {
  const reader = new Workflow({ id: "reader" }).addNode("read", (_: unknown, ctx: NodeContext) =>
    ctx.transaction((sql) => {
      sql.run("CREATE TABLE IF NOT EXISTS bookings (what TEXT)");
      return sql.all("SELECT what FROM bookings").map(({ what }) => what);
    }),
  );
  return (await createEngine({ store }).run(reader, null)).output;
}

it("SQL of a node is done once, however often the node is tried (C6.11)", async () => {
  let calls = 0;
  const workflow = new Workflow({ id: "w" })
    .addNode("n", async (_: unknown, ctx: NodeContext) => {
      const count = await ctx.transaction((sql) => book(sql, "flight"));
      if (++calls < 3) throw new Error("after the booking");
      return count;
    })
    .configureRetry("n", { maxAttempts: 3, initialDelayMs: 1 });
  expect((await createEngine({ store }).run(workflow, null)).output).toBe(1);
  expect([calls, await bookings()]).toEqual([3, ["flight"]]);
});

it("work that throws leaves nothing, and is an error of its node (C6.11)", async () => {
  let mended = false;
  const workflow = new Workflow({ id: "w" }).addNode("n", (_: unknown, ctx: NodeContext) =>
    ctx.transaction((sql) => {
      book(sql, "hotel");
      if (!mended) throw new RangeError("sold out");
      return "booked";
    }, "book"),
  );
  const engine = createEngine({ store });
  const { status, error, deadLetters } = await engine.run(workflow, null);
  expect([status, (error!.cause as Error).message]).toEqual(["failed", "sold out"]);
  expect(await bookings()).toEqual([]);
  mended = true;
  expect((await engine.deadLetters.redrive(deadLetters[0]!.id)).output).toBe("booked");
  expect(await bookings()).toEqual(["hotel"]);
});

it("nodes that work at the same time each have their transaction, and the journal stays whole (C6.7, C6.11)", async () => {
  const workflow = new Workflow({ id: "w" });
  for (let i = 0; i < 20; i++) {
    const id = `n${i}` as "n";
    workflow.addNode(id, async (_: unknown, ctx: NodeContext) => {
      await ctx.step("before", () => i);
      await ctx.transaction((sql) => book(sql, id));
      return ctx.transaction((sql) => book(sql, id), "again");
    });
  }
  const engine = createEngine({ store });
  const { output } = await engine.run(workflow as never, null, { runId: "r" });
  expect(Object.values(output as object)).toEqual(Array.from({ length: 20 }, () => 2));
  const history = await engine.history("r");
  expect([history!.damage, history!.events.length]).toEqual([undefined, 1 + 20 * 5 + 1]);
});

it("a process that dies around the transaction leaves both or neither (C6.11)", async () => {
  for (const moment of ["asked", "stored"] as const) {
    const runId = `died-${moment}`;
    const workflow = new Workflow({ id: "w" }).addNode("n", (_: unknown, ctx: NodeContext) =>
      ctx.transaction((sql) => book(sql, runId)),
    );
    const handle = new FaultyStore(store);
    // The first write is the start, the second the transaction.
    handle.dieAt(2, moment);
    await expect(
      createEngine({ store: handle, leaseMs: 1, pauseMs: 0 }).run(workflow, null, { runId }),
    ).rejects.toThrow();
    expect(await bookings()).toEqual(moment === "asked" ? [] : ["died-asked", "died-stored"]);
    expect((await createEngine({ store }).run(workflow, null, { runId })).output).toBe(1);
  }
  expect(await bookings()).toEqual(["died-asked", "died-stored"]);
});

it("a function that waits, and a store without SQL, are refused, and the run goes on (C6.11)", async () => {
  const refused: unknown[] = [];
  const workflow = new Workflow({ id: "w" }).addNode("n", async (_: unknown, ctx: NodeContext) => {
    await ctx.transaction(async () => 1).catch((error: unknown) => refused.push((error as Error).message));
    return ctx.step("after", () => "went on");
  });
  for (const each of [store, new MemoryStore()]) {
    expect((await createEngine({ store: each }).run(workflow, null)).output).toBe("went on");
  }
  expect(refused).toEqual([expect.stringContaining("gave a promise"), expect.stringContaining("SQL")]);
});

it("an attempt whose time is up books nothing any more (C1.6, C6.11)", async () => {
  const workflow = new Workflow({ id: "w" }).addNode(
    "n",
    async (_: unknown, ctx: NodeContext) => {
      await new Promise((resolve) => ctx.signal.addEventListener("abort", resolve));
      return ctx.transaction((sql) => book(sql, "late"));
    },
    { timeout: { attemptTimeoutMs: 5 } },
  );
  expect((await createEngine({ store }).run(workflow, null)).status).toBe("failed");
  expect(await bookings()).toEqual([]);
});
