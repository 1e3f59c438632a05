// A service that is told to end: what ends in time ends, the rest is given back, and the exit code says what remains.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { createEngine, SqliteStore, Workflow } from "holdfast";

const work = new Workflow({ id: "work" }).addNode("work", async (ms: number, { signal }) => {
  await new Promise((resolve, reject) => {
    setTimeout(resolve, ms);
    signal.addEventListener("abort", () => reject(signal.reason));
  });
  return `worked ${ms} ms`;
});

if (process.argv[2] === "serve") {
  const engine = createEngine({ store: new SqliteStore("service.db"), workflows: [work] });
  engine.shutdownOn(["SIGTERM"], { drainMs: 2_000 });
  await engine.start(work, 100, { runId: "short" });
  await engine.start(work, 600_000, { runId: "long" });
  process.send!("up");
} else {
  const service = spawn(process.execPath, [fileURLToPath(import.meta.url), "serve"], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  service.once("message", () => service.kill("SIGTERM"));
  const code = await new Promise((resolve) => service.on("exit", resolve));
  console.log(`the service ended with ${code}: ${code === 0 ? "nothing" : "something"} remains`);
  const store = new SqliteStore("service.db");
  for (const runId of ["short", "long"]) console.log(runId, (await store.get(runId))?.status);
  await store.close();
}
