import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, test } from "vitest";
import { read, ROOT } from "./repository.ts";

const { exports } = JSON.parse(read("package.json")) as {
  exports: Record<string, { default: string } | string>;
};
const ENTRIES = Object.entries(exports).flatMap(([subpath, target]) =>
  typeof target === "string" ? [] : [[`holdfast${subpath.slice(1)}`, join(ROOT, target.default)] as const],
);

/** Imports a module and prints what that has started or left behind, then does nothing more. */
const WATCH = `
  import { createHook } from "node:async_hooks";
  const started = new Set();
  // What reading and running a module takes by itself; anything else was started by the module.
  const ofImport = /^(PROMISE|TickObject|Microtask|FSREQ.*|FILEHANDLE.*)$/;
  createHook({ init: (_, type) => void (ofImport.test(type) || started.add(type)) }).enable();
  const seen = () => ({
    globals: Object.getOwnPropertyNames(globalThis).sort(),
    listeners: process.eventNames().map(String).sort(),
  });
  // Node opens its standard streams when something first looks at them, as node:assert does.
  process.stdout, process.stderr, started.clear();
  const before = seen();
  await import(process.argv[1]);
  const after = seen();
  const left = Object.keys(after).filter((key) => JSON.stringify(before[key]) !== JSON.stringify(after[key]));
  console.log(JSON.stringify([...started, ...left.map((key) => key + ": " + JSON.stringify(after[key]))]));
`;

/** What importing a file leaves behind. Throws where the process does not end by itself. */
function leftBehind(file: string, limitMs = 10_000): string[] {
  const args = ["--input-type=module", "--eval", WATCH, pathToFileURL(file).href];
  return JSON.parse(
    execFileSync(process.execPath, args, { encoding: "utf8", timeout: limitMs, stdio: "pipe" }),
  ) as string[];
}

test.each(ENTRIES)("importing %s starts nothing and leaves nothing behind (C0.4)", (_, file) => {
  expect(leftBehind(file)).toEqual([]);
});

describe("the quiet import test", () => {
  const judge = (code: string): string => {
    const folder = mkdtempSync(join(tmpdir(), "holdfast-quiet-"));
    try {
      writeFileSync(join(folder, "planted.mjs"), code);
      return leftBehind(join(folder, "planted.mjs"), 2_000).join("\n");
    } catch (error) {
      return (error as { code?: string }).code === "ETIMEDOUT" ? "does not end" : String(error);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  };

  test.each([
    ["a timer that is unref'd", "setInterval(() => {}, 1000).unref();", "Timeout"],
    ["a timer that has fired", "await new Promise((resolve) => setTimeout(resolve, 1));", "Timeout"],
    ["a listener on the process", 'process.on("SIGTERM", () => {});', "SIGTERM"],
    ["an open server", 'import net from "node:net";\nnet.createServer().listen(0).unref();', "TCPSERVERWRAP"],
    ["a process that does not end", 'import net from "node:net";\nnet.createServer().listen(0);', "does not end"],
    ["a global", "globalThis.leaked = 1;", "leaked"],
  ])("sees %s", (_, code, said) => {
    expect(judge(code)).toContain(said);
  });

  test("takes no offence at a module that only declares", () => {
    expect(judge("const cache = new Map();\nexport class A { static { this.b = cache; } }")).toBe("");
  });
});
