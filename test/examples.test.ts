import { execFile } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ROOT } from "./repository.ts";

const run = promisify(execFile);
const FOLDER = join(ROOT, "examples");

/** Prints other figures each time, and has a test of its own. */
const OTHERWISE_TESTED = ["mail-triage"];

const examples = readdirSync(FOLDER, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && !OTHERWISE_TESTED.includes(entry.name))
  .map(({ name }) => name);

// Each test file that compiles the examples has a folder for it, since they run at the same time.
mkdirSync(join(ROOT, ".build"), { recursive: true });
const out = mkdtempSync(join(ROOT, ".build", "examples-"));

beforeAll(async () => {
  const tsc = join(ROOT, "node_modules/typescript/bin/tsc");
  await run(process.execPath, [tsc, "-p", "tsconfig.examples.json", "--outDir", out], { cwd: ROOT });
}, 60_000);

afterAll(() => rmSync(out, { recursive: true, force: true }));

// `npx vitest run test/examples.test.ts --update` writes what they print.
test.each(examples)("the example %s runs as the built package and prints what its expected.txt says", async (name) => {
  expect(existsSync(join(FOLDER, name, "main.ts")), `examples/${name} has no main.ts`).toBe(true);
  const cwd = mkdtempSync(join(tmpdir(), "holdfast-example-"));
  try {
    // A program that fails rejects, with what it has complained of.
    const { stdout, stderr } = await run(process.execPath, [join(out, name, "main.js")], {
      cwd,
      env: { PATH: process.env.PATH },
      timeout: 15_000,
    });
    expect(stderr).toBe("");
    await expect(stdout).toMatchFileSnapshot(join(FOLDER, name, "expected.txt"));
  } finally {
    rmSync(cwd, { recursive: true, force: true });
  }
});
