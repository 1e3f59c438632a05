// Values too large for a journal lie in files, named after what is in them, and are checked when they are read.
import { existsSync, readdirSync } from "node:fs";
import { createEngine, FileBlobs, SqliteStore, Workflow } from "holdfast";

const scan = new Workflow({ id: "scan" })
  .addNode("read", (pages: number) => "a page of text ".repeat(pages * 1000))
  .addNode("count", (text: string) => `${text.length} characters`)
  .connect("read", "count");

const engine = createEngine({
  store: new SqliteStore("scan.db"),
  blobs: new FileBlobs("blobs"),
  journaledBytes: 100_000,
});
console.log((await engine.run(scan, 2, { runId: "thin" })).output, "- files:", files().length);
console.log((await engine.run(scan, 20, { runId: "thick" })).output, "- files:", files().length);
console.log((await engine.run(scan, 20, { runId: "the same again" })).output, "- files:", files().length);
await engine.close();

function files(): string[] {
  if (!existsSync("blobs")) return [];
  return readdirSync("blobs", { recursive: true, encoding: "utf8" }).filter((name) => /[0-9a-f]{32}/.test(name));
}
