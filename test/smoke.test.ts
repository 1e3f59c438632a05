import { execFile } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type Browser, chromium } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { built, policiesOf } from "./built.ts";
import { bundle } from "./bundle.ts";
import { projectWithPackage } from "./packed.ts";
import { read } from "./repository.ts";
import { CHROMIUM, missing, RUNTIMES } from "./runtimes.ts";

const MINUTE = 60_000;

interface Verdict {
  passed: string[];
  failed: Record<string, string>;
}

const SMOKE = read("test/runtimes/smoke.mjs");

const PRINT = read("test/runtimes/print.mjs");

/** Leaves a rejection behind, which every runtime must see in its own way. */
const CARELESS = SMOKE.replace("Object.entries(CHECKS)", "Object.entries({ careless: async () => [down() && 1, 1] })");

/** In browsers, what finds the package without a map of imports: workers have none. */
const resolved = (smoke: string): string =>
  smoke.replace('"holdfast/policies"', '"/node_modules/holdfast/dist/policies/index.js"');

const FILES: Record<string, string> = {
  "smoke.mjs": SMOKE,
  "careless.mjs": CARELESS,
  "print.mjs": PRINT,
  "print-careless.mjs": PRINT.replace("smoke.mjs", "careless.mjs"),
  "resolved.mjs": resolved(SMOKE),
  "careless-resolved.mjs": resolved(CARELESS),
  "worker.mjs":
    'const { smoke } = await import(new URL(import.meta.url).searchParams.get("of"));\npostMessage(await smoke());',
  "index.html":
    '<!doctype html><link rel="icon" href="data:,"><script type="importmap">{ "imports": { "holdfast/policies": "/node_modules/holdfast/dist/policies/index.js" } }</script>',
};

let folder: string;

beforeAll(async () => {
  folder = projectWithPackage(FILES);
  writeFileSync(join(folder, "bundle.js"), (await bundle(SMOKE, { folder })).code);
}, 5 * MINUTE);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function expectGood({ passed, failed }: Verdict): void {
  expect(failed).toEqual({});
  expect(passed.length).toBeGreaterThan(10);
}

test("the checks use every policy", async () => {
  const unused = policiesOf(await built("policies/index.js")).filter((name) => !SMOKE.includes(`new ${name}(`));
  expect(unused).toEqual(["Pipeline"]);
});

const LEFT = { "nothing is left unhandled": "Error: down" };

/** How each runtime is started; one that can be fetched from where a network is reached must not. */
const ARGUMENTS: Record<string, string[]> = { bun: ["--no-install"], deno: ["run", "--no-remote"] };

describe.each(Object.entries(RUNTIMES))("on %s", (name, path) => {
  const leftOut = missing(name, path, "`node scripts/runtimes.mjs` installs it");
  const print = (module: string): Promise<{ printed: string; verdict: Verdict }> =>
    new Promise((resolve, reject) => {
      const args = [...(ARGUMENTS[name] ?? []), module];
      execFile(path!, args, { cwd: folder, timeout: MINUTE }, (error, stdout, stderr) => {
        const lines = stdout.trimEnd().split("\n");
        if (error !== null || stderr !== "") reject(new Error(`${error?.message ?? ""}${stderr}`));
        else resolve({ verdict: JSON.parse(lines.pop()!) as Verdict, printed: lines.join("\n") });
      });
    });

  test.skipIf(leftOut)("every policy works and can be printed, and the process ends by itself (C0.4)", async () => {
    const { verdict, printed } = await print("print.mjs");
    expectGood(verdict);
    expect(printed).toMatch(/kind: ["']bulkhead["'],\s+name: ["']bulkhead["']/);
  });

  test.skipIf(leftOut)("a rejection that nobody takes is seen", async () => {
    expect((await print("print-careless.mjs")).verdict.failed).toEqual(LEFT);
  });
});

describe("in Chromium", () => {
  const leftOut = missing("Chromium", CHROMIUM, "your system's package `chromium` brings it");
  let server: Server;
  let browser: Browser;

  beforeAll(async () => {
    if (leftOut) return;
    server = createServer((request, response) => {
      const { pathname } = new URL(request.url!, "http://localhost");
      response.setHeader("content-type", pathname === "/" ? "text/html" : "text/javascript");
      response.end(readFileSync(join(folder, pathname === "/" ? "index.html" : pathname)));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    // The sandbox of Chromium refuses to work for root, as which CI runs.
    const args = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
    browser = await chromium.launch({ executablePath: CHROMIUM!, args });
  }, MINUTE);

  afterAll(async () => {
    await browser?.close();
    server?.close();
  });

  /** Evaluates an expression in a page of its own. Whatever is thrown there and not caught ends it. */
  async function evaluate(expression: string): Promise<Verdict> {
    const page = await browser.newPage();
    try {
      const thrown = new Promise<never>((_, reject) => page.once("pageerror", reject));
      await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
      return await Promise.race([page.evaluate<Verdict>(expression), thrown]);
    } finally {
      await page.close();
    }
  }

  const inPage = (module: string): string => `import("${module}").then(({ smoke }) => smoke())`;
  const inWorker = (module: string): string => `new Promise((resolve, reject) => {
    const worker = new Worker("/worker.mjs?of=${module}", { type: "module" });
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (event) => reject(new Error(event.message));
  })`;

  test.skipIf(leftOut).each([
    ["as they are published, in a page", inPage("/smoke.mjs")],
    ["as one bundle, in a page", inPage("/bundle.js")],
    ["as they are published, in a worker", inWorker("/resolved.mjs")],
    ["as one bundle, in a worker", inWorker("/bundle.js")],
  ])("the modules work %s (C0.4)", async (_, expression) => {
    expectGood(await evaluate(expression));
  });

  test.skipIf(leftOut).each([
    ["page", inPage("/careless.mjs")],
    ["worker", inWorker("/careless-resolved.mjs")],
  ])("a rejection that nobody takes is seen in a %s", async (_, expression) => {
    expect((await evaluate(expression)).failed).toEqual(LEFT);
  });
});
