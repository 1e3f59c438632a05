// The least work for a durable step in Postgres, written by hand: one INSERT, which is one synced commit.
import pg from "pg";
import { OUTPUT } from "./step.mjs";

export async function open(connectionString) {
  const pool = new pg.Pool({ connectionString, max: 20 });
  await pool.query(
    "create table step(run text not null, seq integer not null, output text, at bigint, primary key(run, seq))",
  );
  const step = async () => OUTPUT;
  return {
    async run(id, steps) {
      for (let seq = 0; seq < steps; seq++) {
        const values = [id, seq, await step(), Date.now()];
        await pool.query({ name: "insert", text: "insert into step values($1, $2, $3, $4)", values });
      }
    },
    close: () => pool.end(),
  };
}
