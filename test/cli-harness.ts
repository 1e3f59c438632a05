import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach } from "vitest";

const ROOT = join(import.meta.dirname, "..");

/** The built command line, as npm installs it. */
export const MAIN: string = join(ROOT, "dist/cli/main.js");

/** How a command ended and what it printed. */
export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  out: string;
  err: string;
}

const folders: string[] = [];
const children = new Set<ChildProcess>();

afterEach(() => {
  for (const child of children) child.kill("SIGKILL");
  children.clear();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** An empty project of a user who has installed the package, with these files in it. */
export function project(files: Record<string, string> = {}): string {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-cli-"));
  folders.push(folder);
  mkdirSync(join(folder, "node_modules"));
  symlinkSync(ROOT, join(folder, "node_modules/holdfast"));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return folder;
}

/** A command under way: `ended` once it has, `said` once it has written that text to either stream. */
export interface Started {
  child: ChildProcess;
  ended: Promise<Ended>;
  said(text: string): Promise<void>;
}

/** Starts a command in a folder. What the tests themselves run under, such as `CI`, does not reach it. */
export function start(folder: string, command: string, words: readonly string[], env: NodeJS.ProcessEnv = {}): Started {
  const { PATH, HOME } = process.env;
  const child = spawn(command, words, { cwd: folder, env: { PATH, HOME, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  children.add(child);
  const text = { out: "", err: "" };
  const listeners = new Set<() => void>();
  for (const [name, stream] of [
    ["out", child.stdout],
    ["err", child.stderr],
  ] as const) {
    stream.setEncoding("utf8").on("data", (chunk: string) => {
      text[name] += chunk;
      for (const look of listeners) look();
    });
  }
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on("error", reject).on("close", (code, signal) => resolve({ code, signal, ...text }));
  });
  const said = (wanted: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => void ((text.out + text.err).includes(wanted) && resolve());
      listeners.add(look);
      look();
      ended.then(() => reject(new Error(`ended without saying "${wanted}": ${text.out}${text.err}`)), reject);
    });
  return { child, ended, said };
}

/** Starts `holdfast` in a folder. */
export function startHoldfast(folder: string, words: readonly string[], env: NodeJS.ProcessEnv = {}): Started {
  return start(folder, process.execPath, [MAIN, ...words], env);
}

/** Runs `holdfast` in a folder to its end. */
export function holdfast(folder: string, ...words: string[]): Promise<Ended> {
  return startHoldfast(folder, words).ended;
}

/** Runs a line of shell, in which `holdfast` is the command, to its end. */
export function shell(folder: string, line: string, env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  return start(folder, "bash", ["-c", `holdfast() { '${process.execPath}' '${MAIN}' "$@"; }\n${line}`], env).ended;
}

/** The lines that nodes have added to a file: what was really called, whatever was killed in between. */
export function callsIn(folder: string, name = "calls"): string[] {
  const path = join(folder, name);
  return existsSync(path) ? readFileSync(path, "utf8").split("\n").slice(0, -1) : [];
}

/** Each line of a text as JSON. */
export function jsonLines(text: string): Record<string, unknown>[] {
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** Three nodes, one of which needs two attempts, and a backup; `down` breaks it and the backup. */
export const TRIAGE: string = `
  import { appendFileSync, existsSync } from "node:fs";
  import { Workflow } from "holdfast";
  const called = (name) => appendFileSync("calls", name + "\\n");
  console.log("loaded");
  export default new Workflow({ id: "triage" })
    .addNode("fetch", (mail) => { called("fetch"); console.log("fetching", mail.id); return { text: "text of " + mail.id }; })
    .addNode("classify", (mail, { attempt }) => {
      called("classify");
      if (existsSync("down") || attempt < 2) throw Object.assign(new Error("503 from the model", { cause: new Error("socket hang up") }), { code: "E503" });
      return { label: "spam" };
    })
    .addNode("rules", () => { called("rules"); if (existsSync("down")) throw new Error("no rules"); return { label: "inbox" }; })
    .addNode("route", (mail) => { called("route"); return { folder: mail.label }; })
    .connect("fetch", "classify")
    .connect("classify", "route")
    .configureRetry("classify", { maxAttempts: 2, initialDelayMs: 1 })
    .addFallback("classify", "rules");
`;

/** The smallest workflow there is. */
export const ONE: string =
  'import { Workflow } from "holdfast"; export default new Workflow({ id: "one" }).addNode("n", () => 1);';
