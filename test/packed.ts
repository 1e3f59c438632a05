import { execFileSync } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ROOT } from "./repository.ts";

/** A project of its own in a new folder, with these files and the package as it would be published. */
export function projectWithPackage(files: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-package-"));
  const all = { "package.json": '{ "name": "consumer", "private": true, "type": "module" }', ...files };
  for (const [name, text] of Object.entries(all)) writeFileSync(join(folder, name), text);
  const packed = JSON.parse(
    execFileSync("npm", ["pack", "--json", "--pack-destination", folder], { cwd: ROOT, encoding: "utf8" }),
  ) as { filename: string }[];
  execFileSync("npm", ["install", "--prefer-offline", "--no-audit", "--no-fund", packed[0]!.filename], {
    cwd: folder,
    stdio: "pipe",
  });
  return folder;
}
