import { expect, test } from "vitest";
import { architecture, printedFolders } from "./architecture.ts";
import { LAYERS } from "./layers.ts";
import { read, sourcePaths } from "./repository.ts";

test("every import, package and global in src/ is permitted, every permission is used, and no file imports itself", () => {
  // A test beside its file may use what it likes; nothing can import one, since it is no file for the others.
  const files = new Map(sourcePaths().map((path) => [path.replace(/^src\//, ""), read(path)]));
  expect(files.size).toBeGreaterThan(50);
  expect(architecture(files, LAYERS)).toEqual([]);
});

test("ARCHITECTURE.md prints the table that the code obeys", () => {
  const obeyed = Object.entries(LAYERS.folders).map(([folder, imports]) => [folder, [...imports].sort()]);
  expect(printedFolders(read("ARCHITECTURE.md"))).toEqual(Object.fromEntries(obeyed));
});
