// A process that writes a store while its disk, its rights or its SQLite are not as they should be: see disk.test.ts.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { createEngine, SqliteStore, Workflow } from "../../dist/index.js";

const { task, path, ...options } = JSON.parse(process.argv[2]);
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const ofError = ({ name, code, message }) => ({ name, code, message });

const TASKS = {
  /** Appends one record after the other, or all at once. */
  async append({ count, atOnce, synchronous, durability }) {
    if (synchronous === "NORMAL") setNormal();
    const store = new SqliteStore(path, { durability });
    const claim = { workflowId: "w", owner: "o", leaseMs: 60_000, isDead: () => false, reopen: false };
    const runs = Array.from({ length: atOnce ? count : 1 }, (_, i) => `r${i}`);
    const tokens = await Promise.all(runs.map((runId) => store.claim({ ...claim, runId }).then(({ token }) => token)));
    const append = (i, version) =>
      store.append({ runId: runs[i], token: tokens[i], version, body: Buffer.from("x"), checksum: 1 });
    if (atOnce) await Promise.all(runs.map((_, i) => append(i, 0)));
    else for (let version = 0; version < count; version++) await append(0, version);
    // Not closed: closing syncs once more.
    process.exit(0);
  },

  /** Runs a workflow with large outputs until the disk is full, and says what was acknowledged. */
  async fill() {
    const engine = createEngine({
      store: new SqliteStore(path),
      pauseMs: 0,
      onEvent: (event) => event.type === "node.completed" && say({ acknowledged: [event.runId, event.nodeId] }),
    });
    for (let run = 0; run < 100; run++) {
      try {
        const { status, output } = await engine.run(
          filling((node) => say({ called: [`r${run}`, node] })),
          run,
          { runId: `r${run}` },
        );
        say({ ended: [`r${run}`, status, output] });
      } catch (error) {
        say({ stopped: [`r${run}`, ofError(error)] });
        break;
      }
      if (run === options.runs - 1) break;
    }
    process.exit(0);
  },

  /** Opens a store as somebody without rights, and writes to it. */
  async poor() {
    // Everything is loaded while there are rights to read it.
    await new SqliteStore(options.warm).close();
    if (process.getuid() === 0) {
      process.setgid(65534);
      process.setuid(65534);
    }
    try {
      const store = new SqliteStore(path);
      await store.claim({ runId: "r", workflowId: "w", owner: "o", leaseMs: 1, isDead: () => false, reopen: false });
      say({ wrote: true });
    } catch (error) {
      say(ofError(error));
    }
    process.exit(0);
  },

  /** Opens a store at the very moment at which others do, and writes to it. */
  async meet({ start, runId }) {
    const deadline = Date.now() + 20_000;
    while (!existsSync(start) && Date.now() < deadline);
    const store = new SqliteStore(path, { busyTimeoutMs: 10_000 });
    const claim = { runId, workflowId: "w", owner: "o", leaseMs: 60_000, isDead: () => false, reopen: false };
    const { token } = await store.claim(claim);
    await store.append({ runId, token, version: 0, body: Buffer.from("x"), checksum: 1, snapshotAfter: 0 });
    say({ wrote: true });
    await store.close();
  },

  /** Holds the file locked until it is killed. */
  async lock() {
    const db = new (sqliteBinding())(path);
    db.exec("BEGIN EXCLUSIVE");
    say("locked");
    setInterval(() => db, 1000);
  },
};

function filling(called) {
  const workflow = new Workflow({ id: "filling" });
  for (const [i, id] of ["a", "b", "c"].entries()) {
    workflow.addNode(id, (n) => {
      called(id);
      return i === 2 ? n.length : "x".repeat(60_000);
    });
    if (i > 0) workflow.connect(["a", "b"][i - 1], id);
  }
  return workflow;
}

/** Lets every connection sync as seldom as NORMAL does, after the store has set FULL and read it back. */
function setNormal() {
  const { prototype } = sqliteBinding();
  const { exec, prepare } = prototype;
  prototype.prepare = function (sql) {
    if (/^(INSERT|UPDATE)/.test(sql)) exec.call(this, "PRAGMA synchronous=NORMAL");
    return prepare.call(this, sql);
  };
}

function sqliteBinding() {
  const require = createRequire(import.meta.url);
  try {
    return require("node:sqlite").DatabaseSync;
  } catch {
    return require("libsql");
  }
}

await TASKS[task](options);
