import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The folder of the repository. */
export const ROOT: string = join(import.meta.dirname, "..");

export function read(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

/** The files below a folder whose paths match, as paths from the root of the repository. */
export function pathsBelow(folder: string, pattern: RegExp): string[] {
  const entries = readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) =>
      join(entry.parentPath, entry.name)
        .slice(ROOT.length + 1)
        .replaceAll("\\", "/"),
    )
    .filter((path) => pattern.test(path))
    .sort();
}

/** What is published of `src/`: everything but the tests that lie beside it. */
export function sourcePaths(): string[] {
  return pathsBelow("src", /^(?!.*\.test\.ts$)/);
}
