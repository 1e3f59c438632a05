import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { promisify } from "node:util";

const ROOT = join(import.meta.dirname, "..");
const run = promisify(execFile);

/**
 * Compiles some programs as `tsc` does for a user, and runs each in a process of its own: for what a test cannot see in
 * the process of the test runner, such as what an import leaves behind, and for syntax that the runner does not know.
 * `SRC` in a program stands for the folder `src`. Gives what each printed, by its name; rejects where one does not
 * compile, fails, or has not ended after ten seconds.
 */
export async function runPrograms<N extends string>(programs: Record<N, string>): Promise<Record<N, string>> {
  mkdirSync(join(ROOT, ".build"), { recursive: true });
  const folder = mkdtempSync(join(ROOT, ".build", "programs-"));
  try {
    const names = Object.keys(programs) as N[];
    for (const name of names)
      writeFileSync(join(folder, `${name}.ts`), programs[name].replaceAll("SRC/", "../../src/"));
    const compilerOptions = {
      noEmit: false,
      declaration: false,
      isolatedDeclarations: false,
      rootDir: ROOT,
      outDir: "out",
    };
    const config = { extends: "../../tsconfig.json", compilerOptions, include: ["*.ts"] };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
    const tsc = join(ROOT, "node_modules", "typescript", "bin", "tsc");
    await run(process.execPath, [tsc, "-p", folder]).catch((error: { stdout: string }) => {
      throw new Error(`The programs do not compile:\n${error.stdout}`, { cause: error });
    });
    const out = join(folder, "out", ".build", basename(folder));
    const printed = names.map(async (name) => {
      const { stdout } = await run(process.execPath, [join(out, `${name}.js`)], { timeout: 10_000 });
      return [name, stdout] as const;
    });
    return Object.fromEntries(await Promise.all(printed)) as Record<N, string>;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
