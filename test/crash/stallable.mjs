import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Workflow } from "../../dist/index.js";

/** A chain whose second node works for a while, and whose last one waits until the file that the input names is there. */
export function stallable(called) {
  return new Workflow({ id: "stallable" })
    .addNode("first", (file, { invocationId }) => {
      called(invocationId);
      return file;
    })
    .addNode("long", async (file, { invocationId }) => {
      called(invocationId);
      await sleep(700);
      return file;
    })
    .addNode("last", async (file, { invocationId, signal }) => {
      called(invocationId);
      while (!existsSync(file)) await sleep(20, undefined, { signal });
      return "done";
    })
    .connect("first", "long")
    .connect("long", "last");
}
