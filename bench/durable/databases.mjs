// Where a contender keeps its runs in Postgres.
import pg from "pg";

const server = () => process.env.BENCH_POSTGRES;
/** What Postgres answers where somebody is connected to a database that is to go. */
const IN_USE = "55006";

const nameOf = (url) => new URL(url).pathname.slice(1);
const made = new Set();
let databases = 0;

async function asked(url, sql) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

/** An empty database. */
export async function newPlace(template = "template1") {
  const name = `bench_${process.pid}_${databases++}`;
  made.add(name);
  await asked(`${server()}/postgres`, `create database ${name} template ${template}`);
  return `${server()}/${name}`;
}

/** A copy of a database as a process that was killed has left it, once the server has noticed. */
export async function copyOf(url) {
  const name = nameOf(url);
  const ends = `select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '${name}'`;
  await asked(`${server()}/postgres`, ends);
  return newPlace(name);
}

/** Bytes of tables and indices at their smallest: without the dead rows that a vacuum would find. */
export async function bytesIn(url) {
  await asked(url, "vacuum full");
  const own = "relkind = 'r' and relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)";
  const [{ bytes }] = await asked(url, `select sum(pg_total_relation_size(oid)) as bytes from pg_class where ${own}`);
  return Number(bytes ?? 0);
}

/** Not by force: DBOS lets go of some connections only after its shutdown. Such a database goes with the server. */
export async function removePlace(url) {
  const name = nameOf(url);
  made.delete(name);
  await asked(`${server()}/postgres`, `drop database if exists ${name}`).catch((error) => {
    if (error.code !== IN_USE) throw error;
  });
}

export async function removePlaces() {
  for (const name of made) await removePlace(`${server()}/${name}`);
}
