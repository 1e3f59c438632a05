import { deepEqual, equal } from "node:assert/strict";
import type { Append, SqlTransaction, Store } from "../core/store.ts";
import { observed, rejection } from "./contract-case.ts";
import { appendOf, claimOf, everything, letterOf, signalOf, type StoreCases, type StoreCase } from "./store-bench.ts";

/** What a table of the user's holds. Read as a user would: in the transaction of a step. */
async function rows(store: Store): Promise<unknown[]> {
  let found: unknown[] = [];
  const { token, version } = await store.claim(claimOf("reader", { isDead: () => true }));
  const within = (sql: SqlTransaction): void => void (found = sql.all("SELECT n FROM users ORDER BY n"));
  await store.append(appendOf("reader", token, version, { within }));
  return found.map((row) => Number((row as { n: unknown }).n));
}

function insert(n: number): (sql: SqlTransaction) => void {
  return (sql) => void sql.run("INSERT INTO users (n) VALUES (?)", n);
}

/** A case for stores that have SQL. Of the others it asks only that they refuse all of the append. */
function withSql(check: StoreCase): StoreCase {
  return async (bench) => {
    const { store } = bench;
    await store.claim(claimOf("r"));
    await store.signal(signalOf("r", "s"));
    const before = await everything(store, "r");
    const within = (sql: SqlTransaction): void => void sql.run("CREATE TABLE users (n INTEGER PRIMARY KEY)");
    const more = { within, status: "completed", deadLetters: [letterOf("dl")], signalsTaken: ["s"] } as const;
    const hasSql = await store
      .append(appendOf("maker", (await store.claim(claimOf("maker"))).token, 0, { within }))
      .then(
        () => true,
        async (error: unknown) => {
          await rejection(Promise.reject(error), "CONFIG");
          await rejection(store.append(appendOf("r", 1, 0, more)), "CONFIG");
          deepEqual(await everything(store, "r"), before);
          return false;
        },
      );
    if (hasSql) await check(bench);
  };
}

/** Work of the user's own in the transaction that stores a record. */
export const WORK: StoreCases = {
  "work in the transaction is stored with its record, or the append is refused whole (C6.11)": withSql(
    async ({ store }) => {
      const seen: unknown[] = [];
      const within = (sql: SqlTransaction): void => {
        seen.push(sql.run("INSERT INTO users (n) VALUES (?), (?)", 1, 2));
        seen.push(sql.all("SELECT n FROM users WHERE n > ?", 1).map((row) => Number(row["n"])));
        seen.push(sql.run("UPDATE users SET n = n + 10"));
      };
      await store.append(appendOf("r", 1, 0, { within, signalsTaken: ["s"], deadLetters: [letterOf("dl")] }));
      deepEqual(seen, [2, [2], 2]);
      deepEqual(await rows(store), [11, 12]);
      deepEqual([(await store.read("r")).length, (await store.signals({ runId: "r" })).length], [1, 0]);
      equal((await store.deadLetter("dl"))?.id, "dl");
    },
  ),

  "work that throws rejects its append with just that, and leaves nothing (C6.11)": withSql(async ({ store }) => {
    const before = await everything(store, "r");
    for (const thrown of [new Error("no"), "a text", undefined, null, Object.assign(new Error(), { code: "CONFIG" })]) {
      const within = (sql: SqlTransaction): void => {
        insert(1)(sql);
        throw thrown;
      };
      const append = appendOf("r", 1, 0, {
        within,
        status: "failed",
        signalsTaken: ["s"],
        deadLetters: [letterOf("dl")],
      });
      const [outcome] = await Promise.allSettled([store.append(append)]);
      deepEqual(outcome, { status: "rejected", reason: thrown });
      deepEqual(await everything(store, "r"), before);
    }
    deepEqual(await rows(store), []);
    await store.append(appendOf("r", 1, 0, { within: insert(2) }));
    deepEqual(await rows(store), [2]);
  }),

  "an append that is refused does no work, and work that was refused leaves the others alone (C6.11)": withSql(
    async ({ store }) => {
      const fails = (sql: SqlTransaction): void => {
        insert(9)(sql);
        throw new Error("mine");
      };
      const claims = ["a", "b", "c"].map((runId) => store.claim(claimOf(runId)));
      await Promise.all(claims);
      const appends: Append[] = [
        appendOf("a", 1, 0, { within: insert(1) }),
        appendOf("a", 1, 1),
        appendOf("r", 7, 0, { within: insert(2) }),
        appendOf("r", 1, 5, { within: insert(3) }),
        appendOf("b", 1, 0, { within: fails }),
        appendOf("c", 1, 0),
        appendOf("b", 1, 0, { within: insert(4) }),
        // The same key again: the statement fails, and the work with it.
        appendOf("c", 1, 1, { within: insert(1) }),
        appendOf("c", 1, 1, { within: insert(5), status: "completed" }),
      ];
      const outcomes = await Promise.allSettled(appends.map((append) => store.append(append)));
      deepEqual(outcomes.map(({ status }) => (status === "fulfilled" ? "+" : "-")).join(""), "++---++-+");
      deepEqual(await rows(store), [1, 4, 5]);
      const lengths = await Promise.all(["a", "b", "c", "r"].map(async (runId) => (await store.read(runId)).length));
      deepEqual(lengths, [2, 1, 2, 0]);
    },
  ),

  "work may go on after a statement that failed (C6.11)": withSql(async ({ store }) => {
    const within = (sql: SqlTransaction): void => {
      insert(1)(sql);
      try {
        insert(1)(sql);
      } catch {
        insert(2)(sql);
      }
    };
    await store.append(appendOf("r", 1, 0, { within }));
    deepEqual(await rows(store), [1, 2]);
  }),

  "work that gives a promise is refused, and what comes after its end does not run (C6.11)": withSql(
    async ({ store }) => {
      const before = await everything(store, "r");
      let later: Promise<void> = Promise.resolve();
      let kept: SqlTransaction | undefined;
      const within = (sql: SqlTransaction): void => {
        insert(1)(sql);
        kept = sql;
        later = observed(Promise.resolve().then(() => insert(2)(sql)));
        return later as unknown as void;
      };
      await rejection(store.append(appendOf("r", 1, 0, { within })), "CONFIG");
      await rejection(later, "CONFIG");
      await rejection(
        Promise.resolve().then(() => insert(3)(kept!)),
        "CONFIG",
      );
      deepEqual(await everything(store, "r"), before);
      deepEqual(await rows(store), []);
    },
  ),

  "what would begin or end a transaction, or reach beyond it, is refused (C6.11)": withSql(async ({ store }) => {
    const before = await everything(store, "r");
    const words = [
      "BEGIN",
      "COMMIT",
      "END",
      "ROLLBACK",
      "SAVEPOINT x",
      "RELEASE holdfast_work",
      "PRAGMA user_version = 9",
    ];
    const others = ["ATTACH 'x.db' AS x", "DETACH x", "VACUUM", "EXPLAIN COMMIT", ""];
    const disguises = [
      (sql: string) => sql,
      (sql: string) => ` \n;-- SELECT\n/* '*/ ;\t/**//***/\ufeff${sql.toLowerCase()}`,
    ];
    const statements = [...words, ...others].flatMap((sql) => disguises.map((disguise) => disguise(sql)));
    for (const statement of [...statements, "INSERT INTO users (n) VALUES (2); COMMIT"]) {
      for (const call of ["run", "all"] as const) {
        const within = (sql: SqlTransaction): void => {
          insert(1)(sql);
          sql[call](statement);
        };
        await rejection(store.append(appendOf("r", 1, 0, { within })), "CONFIG");
      }
    }
    deepEqual(await everything(store, "r"), before);
    deepEqual(await rows(store), []);
  }),
};
