import { execFile, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { instrument, type Instrumented } from "./claims.ts";
import { type Block, blocksInComments, blocksOf } from "./fences.ts";
import { ROOT } from "./repository.ts";

/** A page of the documentation, or a source file whose comments hold examples. */
export interface Page {
  path: string;
  text: string;
  /** How many blocks of `ts` it has at least, so that examples do not vanish unseen. */
  least: number;
}

const REPORTER = pathToFileURL(join(import.meta.dirname, "claim-reporter.mjs")).href;

/** What a reader has installed beside Holdfast. */
const READERS_PACKAGES = ["@types/node", "undici-types", "vitest", "zod"];

/** As the reader would set up a project, with the strictness that `tsc --init` gives. */
const TSCONFIG = {
  compilerOptions: {
    module: "nodenext",
    target: "es2023",
    lib: ["es2023"],
    types: ["node"],
    strict: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    moduleDetection: "force",
    rootDir: ".",
    outDir: "js",
  },
  include: ["printed", "run"],
};

/**
 * Complaints about the examples of some pages. Every block of `ts` is compiled as printed, and run in a process of its
 * own, in an empty folder, against the built package under its own name; its claims are checked as they are reached.
 */
export async function docs(pages: readonly Page[], limitMs = 20_000): Promise<string[]> {
  const complaints: string[] = [];
  const blocks: Block[] = [];
  for (const { path, text, least } of pages) {
    const scanned = path.endsWith(".ts") ? blocksInComments(path, text) : blocksOf(path, text);
    const examples = scanned.blocks.filter(({ language }) => language.startsWith("ts"));
    complaints.push(...scanned.complaints);
    blocks.push(...examples);
    if (examples.length < least) complaints.push(`${path}:1 has ${examples.length} examples, not at least ${least}.`);
  }
  const folder = mkdtempSync(join(tmpdir(), "holdfast-docs-"));
  try {
    return [...complaints, ...(await judge(blocks, folder, limitMs))];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function judge(blocks: readonly Block[], folder: string, limitMs: number): Promise<string[]> {
  const complaints: string[] = [];
  const say = ({ page, line }: Block, at: number, what: string): void =>
    void complaints.push(`${page}:${line + at - 1} ${what}`);
  for (const name of ["printed", "run", "node_modules/@types"]) mkdirSync(join(folder, name), { recursive: true });
  symlinkSync(ROOT, join(folder, "node_modules/holdfast"), "dir");
  for (const name of READERS_PACKAGES)
    symlinkSync(join(ROOT, "node_modules", name), join(folder, "node_modules", name), "dir");
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(TSCONFIG));
  const toRun: { block: Block; copy: Instrumented; file: string }[] = [];
  for (const [index, block] of blocks.entries()) {
    const copy = instrument(block.code, REPORTER);
    for (const { line, what } of copy.problems) say(block, line, what);
    // One file that cannot be read would keep the compiler from looking at the others.
    if (!copy.readable) continue;
    writeFileSync(join(folder, `printed/${index}.ts`), block.code);
    if (block.language === "ts no-run") {
      for (const line of copy.claims) say(block, line, "a claim in a block that is not run.");
      continue;
    }
    writeFileSync(join(folder, `run/${index}.ts`), `// @ts-nocheck\n${copy.code}`);
    toRun.push({ block, copy, file: join(folder, `js/run/${index}.js`) });
  }
  for (const { index, line, what } of await compile(folder)) {
    const block = blocks[index];
    if (block === undefined) complaints.push(what);
    else say(block, line, what);
  }
  const queue = toRun.entries();
  const worker = async (): Promise<void> => {
    for (const [index, { block, copy, file }] of queue) {
      const cwd = join(folder, `cwd-${index}`);
      mkdirSync(cwd);
      for (const { line, what } of await run(file, copy.claims, cwd, limitMs)) say(block, line, what);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  return complaints;
}

/** Compiles everything in a folder; gives the errors of the printed blocks. */
function compile(folder: string): Promise<{ index: number; line: number; what: string }[]> {
  const tsc = join(ROOT, "node_modules/typescript/bin/tsc");
  return new Promise((resolve) => {
    execFile(process.execPath, [tsc, "--pretty", "false", "-p", folder], { cwd: folder }, (error, stdout) => {
      const errors = stdout.split("\n").filter((line) => /\berror TS\d+/.test(line));
      if (error !== null && errors.length === 0) errors.push(`tsc failed: ${stdout || error.message}`);
      resolve(
        errors.map((text) => {
          const [, index = "-1", line = "1", what = text] = /^printed\/(\d+)\.ts\((\d+),\d+\): (.*)$/.exec(text) ?? [];
          return { index: Number(index), line: Number(line), what };
        }),
      );
    });
  });
}

/** Runs a copy of a block; gives what is wrong, with lines of the block. */
function run(
  file: string,
  claims: readonly number[],
  cwd: string,
  limitMs: number,
): Promise<{ line: number; what: string }[]> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [file], {
      cwd,
      env: { PATH: process.env.PATH },
      stdio: ["ignore", "ignore", "pipe", "pipe"],
    });
    let reports = "";
    let stderr = "";
    let timedOut = false;
    child.stderr!.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    child.stdio[3]!.on("data", (bytes: Buffer) => (reports += bytes.toString()));
    const limit = setTimeout(() => (timedOut = child.kill("SIGKILL")), limitMs);
    child.on("close", (code, signal) => {
      clearTimeout(limit);
      const problems = judgeReports(reports, claims);
      if (timedOut) problems.push({ line: 1, what: `did not end within ${limitMs} ms.` });
      else if (code !== 0) problems.push({ line: 1, what: `ended with ${code ?? signal}: ${errorIn(stderr)}` });
      resolve(problems);
    });
  });
}

function judgeReports(text: string, claims: readonly number[]): { line: number; what: string }[] {
  const reached = new Set<number | "end">();
  const problems: { line: number; what: string }[] = [];
  for (const line of text.split("\n").filter(Boolean)) {
    const { claim, problem } = JSON.parse(line) as { claim: number | "end"; problem?: string };
    reached.add(claim);
    if (problem !== undefined) problems.push({ line: claims[claim as number]!, what: problem });
  }
  for (const [claim, line] of claims.entries())
    if (!reached.has(claim)) problems.push({ line, what: "this claim was never reached." });
  if (!reached.has("end")) problems.push({ line: 1, what: "the block did not run to its end." });
  return problems;
}

/** The line of a crash that says what was thrown. */
function errorIn(stderr: string): string {
  const lines = stderr.trim().split("\n");
  return lines.find((line) => /^\w*(Error|Warning)\b/.test(line)) ?? lines.at(-1) ?? "";
}
