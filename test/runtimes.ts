import { execFileSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { ROOT } from "./repository.ts";

const listed = execFileSync(process.execPath, [join(ROOT, "scripts/runtimes.mjs"), "--list"], { encoding: "utf8" });

/** For each runtime that we promise, where it is on this machine, or null. */
export const RUNTIMES = JSON.parse(listed) as Readonly<Record<string, string | null>>;

/** A browser comes from the machine: none is ever downloaded. */
export const CHROMIUM: string | null = onPath("chromium", "chromium-browser", "google-chrome");

/** Whether a test is left out for want of a tool. On our own machines none may be; a contributor sees what was. */
export function missing(name: string, path: string | null, remedy: string): boolean {
  if (path !== null) return false;
  const said = `${name} is not installed; ${remedy}`;
  if (process.env["CI"] !== undefined || process.env["REQUIRE"] !== undefined) throw new Error(said);
  console.warn(`SKIPPED: ${said}`);
  return true;
}

function onPath(...names: string[]): string | null {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  return folders.flatMap((folder) => names.map((name) => join(folder, name))).find(executable) ?? null;
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
