// Writes a copy of the source in which every mutant of core/ and policies/ sleeps behind a switch, translated to
// JavaScript, and answers the mutants. One build serves them all.
import { execFileSync } from "node:child_process";
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { createInstrumenter } from "@stryker-mutator/instrumenter";
import { commonTokens } from "@stryker-mutator/api/plugin";
import { createInjector } from "typed-inject";

const root = fileURLToPath(new URL("..", import.meta.url));
const beside = (name) => pathToFileURL(join(import.meta.dirname, name)).href;
/** What the tests get in the place of these packages. */
const STAND_INS = { vitest: beside("vitest.mjs"), "fast-check": beside("fast-check.mjs") };
const LEVELS = ["trace", "debug", "info", "warn", "error", "fatal"];
const SILENT = Object.fromEntries(
  LEVELS.flatMap((level) => [
    [level, () => {}],
    [`is${level[0].toUpperCase()}${level.slice(1)}Enabled`, () => false],
  ]),
);

const filesBelow = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));

const isTest = (file) => file.endsWith(".test.ts") || file.endsWith(".test.js");

/** The mutants of the files whose path begins with one of `parts`, such as `policies/retry`. */
export async function build(work, parts) {
  const built = join(work, "out");
  const source = join(work, "src");
  rmSync(work, { recursive: true, force: true });
  // Some tests borrow from the folder of tests that span several parts.
  for (const folder of ["src", "test"]) cpSync(join(root, folder), join(work, folder), { recursive: true });
  const wanted = (file) => parts.some((part) => file.startsWith(join(source, part))) && !isTest(file);
  const files = filesBelow(source)
    .filter(wanted)
    .map((name) => ({ name, mutate: true, content: readFileSync(name, "utf8") }));
  const instrumenter = createInjector()
    .provideValue(commonTokens.logger, SILENT)
    .provideValue(commonTokens.getLogger, () => SILENT)
    .injectFunction(createInstrumenterFrom);
  const { files: instrumented, mutants } = await instrumenter.instrument(files, {
    ignorers: [],
    excludedMutations: [],
    plugins: null,
  });
  for (const { name, content } of instrumented) writeFileSync(name, content);
  writeFileSync(
    join(work, "tsconfig.json"),
    JSON.stringify({
      extends: join(root, "tsconfig.json"),
      compilerOptions: {
        noEmit: false,
        noCheck: true,
        declaration: false,
        isolatedDeclarations: false,
        rootDir: work,
        outDir: built,
      },
      include: [source],
    }),
  );
  writeFileSync(join(work, "package.json"), JSON.stringify({ type: "module", name: "holdfast" }));
  execFileSync(join(root, "node_modules/.bin/tsc"), ["-p", join(work, "tsconfig.json")], { stdio: "inherit" });
  for (const file of filesBelow(built).filter(isTest)) {
    let text = readFileSync(file, "utf8");
    for (const [name, url] of Object.entries(STAND_INS)) text = text.replaceAll(`from "${name}"`, `from "${url}"`);
    writeFileSync(file, text);
  }
  const tests = ["core", "policies"]
    .flatMap((folder) => filesBelow(join(built, "src", folder)))
    .filter(isTest)
    .sort();
  return {
    tests,
    mutants: mutants.map(({ id, fileName, location, mutatorName, replacement }) => ({
      id,
      file: fileName.slice(source.length + 1),
      line: location.start.line + 1,
      mutator: mutatorName,
      original: textAt(files.find(({ name }) => name === fileName).content, location),
      replacement,
    })),
  };
}

createInstrumenterFrom.inject = ["$injector"];
function createInstrumenterFrom(injector) {
  return createInstrumenter(injector);
}

/** Lines and columns of the instrumenter are counted from 0. */
function textAt(content, { start, end }) {
  const lines = content.split("\n").slice(start.line, end.line + 1);
  lines[lines.length - 1] = lines.at(-1).slice(0, end.line === start.line ? end.column : end.column);
  lines[0] = lines[0].slice(start.column);
  return lines.join("\n");
}
