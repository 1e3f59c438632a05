// A Postgres of our own for the length of a benchmark: in a folder beside the other files, on a free port, with the
// settings that it comes with (fsync=on, synchronous_commit=on, full_page_writes=on).
import { randomBytes } from "node:crypto";
import { spawnSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { delimiter, join } from "node:path";
import { dataFolder } from "./disk.mjs";

const DEBIAN = "/usr/lib/postgresql";

/** The folder of `initdb` and `pg_ctl`: on the path, or where Debian hides it; undefined where there is no Postgres. */
function programs() {
  const versions = existsSync(DEBIAN) ? readdirSync(DEBIAN).sort((a, b) => Number(b) - Number(a)) : [];
  const folders = [...process.env.PATH.split(delimiter), ...versions.map((version) => join(DEBIAN, version, "bin"))];
  return folders.find((folder) => ["initdb", "pg_ctl"].every((name) => existsSync(join(folder, name))));
}

/** Postgres refuses to run as root: then it runs as the user that its package has made, or as nobody. */
function user() {
  if (process.getuid?.() !== 0) return {};
  const idOf = (flag) => ["postgres", "nobody"].map((name) => spawnSync("id", [flag, name], { encoding: "utf8" }));
  const first = (flag) => Number(idOf(flag).find(({ status }) => status === 0).stdout);
  return { uid: first("-u"), gid: first("-g") };
}

const freePort = () =>
  new Promise((resolve, reject) => {
    const server = createServer().on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

/** Starts it, and ends it with this process. Gives its URL and version, or undefined where there is no Postgres. */
export async function startPostgres() {
  const bin = programs();
  if (bin === undefined) return undefined;
  const folder = dataFolder("postgres");
  const [data, passwordFile, log] = ["data", "password", "log"].map((name) => join(folder, name));
  const as = user();
  const call = (program, ...args) => {
    const { status, stderr, stdout, error } = spawnSync(join(bin, program), args, {
      ...as,
      cwd: folder,
      encoding: "utf8",
      // A pipe would stay open for as long as the server lives, and be waited for.
      stdio: program === "pg_ctl" ? "ignore" : "pipe",
    });
    if (status !== 0) throw new Error(`${program} ended with ${status}: ${error ?? stderr ?? stdout ?? `see ${log}`}`);
  };
  mkdirSync(folder, { recursive: true });
  const password = randomBytes(16).toString("hex");
  writeFileSync(passwordFile, password, { mode: 0o600 });
  if (as.uid !== undefined) for (const path of [folder, passwordFile]) chownSync(path, as.uid, as.gid);
  chmodSync(folder, 0o700);

  call("initdb", "-D", data, "-U", "bench", "-A", "scram-sha-256", `--pwfile=${passwordFile}`, "-E", "UTF8");
  const port = await freePort();
  const settings = `-c listen_addresses=127.0.0.1 -c port=${port} -c unix_socket_directories='' -c max_connections=200`;
  process.on("exit", () => {
    spawnSync(join(bin, "pg_ctl"), ["-D", data, "-m", "immediate", "-w", "stop"], { ...as, cwd: folder });
    rmSync(folder, { recursive: true, force: true });
  });
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));
  call("pg_ctl", "-D", data, "-l", log, "-o", settings, "-w", "start");
  const [version] = /[\d.]+/.exec(spawnSync(join(bin, "pg_ctl"), ["--version"], { encoding: "utf8" }).stdout) ?? ["?"];
  return { url: `postgres://bench:${password}@127.0.0.1:${port}`, version };
}
