// The least work for a durable step, written by hand: one row in a rowid table and one commit at synchronous=FULL, shared
// by all that completes within a macrotask. To carry a run on: its rows, read in order and parsed.
import { createRequire } from "node:module";
import { OUTPUT } from "./step.mjs";

const Libsql = createRequire(import.meta.url)("libsql");

export function open(file) {
  const database = new Libsql(file);
  database.exec("pragma journal_mode=WAL");
  database.exec("pragma synchronous=FULL");
  database.exec(
    "create table if not exists step(run text not null, seq integer not null, output text, at integer, primary key(run, seq))",
  );
  const insert = database.prepare("insert into step values(?, ?, ?, ?)");
  let waiting = [];
  const commit = () => {
    const batch = waiting;
    waiting = [];
    database.exec("begin immediate");
    for (const { run, seq, output } of batch) insert.run(run, seq, output, Date.now());
    database.exec("commit");
    for (const { stored } of batch) stored();
  };
  const append = (run, seq, output) =>
    new Promise((stored) => {
      if (waiting.length === 0) setImmediate(commit);
      waiting.push({ run, seq, output, stored });
    });
  const step = async () => OUTPUT;
  return {
    async run(id, steps) {
      for (let seq = 0; seq < steps; seq++) await append(id, seq, await step());
    },
    async leave(id, steps) {
      for (let seq = 0; seq < steps - 1; seq++) await append(id, seq, JSON.stringify(await step()));
    },
    async finish(id, steps) {
      const rows = database.prepare("select seq, output, at from step where run = ? order by seq").all(id);
      const done = rows.map(({ output }) => JSON.parse(output));
      if (done.length !== steps - 1) throw new Error(`the floor found ${done.length} of ${steps - 1} steps`);
      await append(id, steps - 1, await step());
    },
    close: () => database.close(),
  };
}
