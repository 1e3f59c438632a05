import type * as Driver from "../src/stores/sqlite-driver.ts";

/** A connection that was opened under watch: what it was told to prepare, execute and run, and what it refuses to. */
export interface WatchedConnection {
  db: Driver.SqliteDriver;
  prepared: string[];
  executed: string[];
  /** Each statement as often as it was run. */
  ran: string[];
  refuse: string | null;
  /** A statement that fails, and with what. */
  fail: { sql: string; error: Error } | null;
}

/** The connections that were opened since the last `reset()`. */
export const connections: WatchedConnection[] = [];

/** What a connection says instead when it is asked for `PRAGMA synchronous`. */
let claimedSynchronous: number | null = null;

/** From now on connections lie about `PRAGMA synchronous`. */
export function claimSynchronous(value: number): void {
  claimedSynchronous = value;
}

export function reset(): void {
  connections.length = 0;
  claimedSynchronous = null;
}

/** How often something was committed: once for the tables, and once for each transaction. */
export function commits(): number {
  return connections.flatMap(({ executed }) => executed).filter((sql) => sql === "COMMIT").length - 1;
}

/** The driver with a watch on each connection, for `vi.mock`. */
export function watched(original: typeof Driver): typeof Driver {
  const openDriver = (path: string): Driver.SqliteDriver => {
    const db = original.openDriver(path);
    const connection: WatchedConnection = { db, prepared: [], executed: [], ran: [], refuse: null, fail: null };
    connections.push(connection);
    const executing = (sql: string): void => {
      connection.executed.push(sql);
      if (sql === connection.refuse) throw Object.assign(new Error("disk I/O error"), { code: "SQLITE_IOERR" });
    };
    return {
      exec: (sql) => {
        executing(sql);
        db.exec(sql);
      },
      prepare: (sql) => {
        connection.prepared.push(sql);
        const statement = db.prepare(sql);
        const isLie = sql === "PRAGMA synchronous" && claimedSynchronous !== null;
        return {
          get: (...values) => {
            connection.ran.push(sql);
            return isLie ? { synchronous: claimedSynchronous } : statement.get(...values);
          },
          all: (...values) => {
            if (sql === connection.fail?.sql) throw connection.fail.error;
            return statement.all(...values);
          },
          run: (...values) => {
            connection.ran.push(sql);
            if (values.length === 0) executing(sql);
            return statement.run(...values);
          },
        };
      },
      close: () => db.close(),
    };
  };
  return { ...original, openDriver };
}
