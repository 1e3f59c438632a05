import type * as Driver from "../src/stores/sqlite-driver.ts";

/** A connection that was opened under watch: what it was told to execute, and what it refuses to. */
export interface WatchedConnection {
  db: Driver.SqliteDriver;
  executed: string[];
  refuse: string | null;
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
    const connection: WatchedConnection = { db, executed: [], refuse: null };
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
        const statement = db.prepare(sql);
        const isLie = sql === "PRAGMA synchronous" && claimedSynchronous !== null;
        return {
          get: (...values) => (isLie ? { synchronous: claimedSynchronous } : statement.get(...values)),
          all: (...values) => statement.all(...values),
          run: (...values) => {
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
