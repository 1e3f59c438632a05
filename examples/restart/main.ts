// A process is killed half way; the next one finishes, without doing anything again that was
// acknowledged. Node "deliver" was cut short, so it runs again, with the same idempotency key.
import { spawnSync } from "node:child_process";
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { createEngine, type NodeContext, SqliteStore, Workflow } from "holdfast";

const log = (line: string): void => appendFileSync("log.txt", `${line}\n`);

const mail = new Workflow({ id: "mail" })
  .addNode("read", (id: number) => {
    log("read");
    return `mail ${id}`;
  })
  .addNode("deliver", (text: string, { idempotencyKey }: NodeContext) => {
    const isFirst = !existsSync("killed.txt");
    log(`deliver ${idempotencyKey.slice(0, 8)}${isFirst ? ", and is killed" : ""}`);
    if (isFirst) {
      appendFileSync("killed.txt", "");
      process.kill(process.pid, "SIGKILL");
    }
    return `${text} delivered`;
  })
  .connect("read", "deliver");

if (process.argv[2] === "work") {
  const engine = createEngine({ store: new SqliteStore("restart.db") });
  log(String((await engine.run(mail, 17, { runId: "mail-17" })).output));
  await engine.close();
} else {
  for (const life of ["first", "second"]) {
    const { status, signal } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), "work"]);
    console.log(`the ${life} process ended with ${signal ?? status}`);
  }
  console.log(readFileSync("log.txt", "utf8").trimEnd());
}
