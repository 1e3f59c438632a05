import { createRequire } from "node:module";

const require = createRequire(import.meta.url);

/** From Node 22.13 on. OpenWorkflow keeps its runs in SQLite with it, and only in Postgres without. */
export const hasNodeSqlite = (() => {
  try {
    return require("node:sqlite") !== undefined;
  } catch {
    return false;
  }
})();

/** Another Node, for the one contender that can do with it what it cannot with this one. */
const newerNode = process.env.BENCH_NEWER_NODE;

/**
 * Who is measured, by the name of the file here. `label` is the heading in tables, with what a commit survives there.
 * `places` is the file that makes room for runs. `mostSteps` is how long a run may be. `takeover` says why a run that a
 * dead process has left cannot be taken up at once. `node` is the program that runs it, where it is not this one.
 */
export const CONTENDERS = {
  floor: { places: "disk" },
  ours: { places: "disk" },
  langgraph: { places: "disk", label: "LangGraph.js (SQLite, NORMAL)" },
  openworkflow: {
    ...openworkflow(),
    mostSteps: 1000,
    takeover: "a lease of 30 s comes first",
  },
  dbos: { places: "databases", label: "DBOS (Postgres, fsync)" },
  /** No peer, but what the peers on Postgres cannot go below. */
  insert: { places: "databases", label: "an INSERT by hand (Postgres, fsync)" },
};

function openworkflow() {
  if (hasNodeSqlite) return { places: "disk", label: "OpenWorkflow (SQLite, FULL)" };
  if (newerNode === undefined) return { places: "databases", label: "OpenWorkflow (Postgres, fsync)" };
  return { places: "disk", label: "OpenWorkflow (SQLite, FULL, newer Node)", node: newerNode };
}

export const PEERS = ["langgraph", "openworkflow", "dbos"];

export const placesOf = (name) => import(`./${CONTENDERS[name].places}.mjs`);
