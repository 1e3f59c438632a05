import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Summary } from "../examples/mail-triage/summary.ts";
import { ROOT } from "./repository.ts";

const EXAMPLE = join(ROOT, ".build/examples/mail-triage");

/** The example works in a folder of its own, as it would under `npm start` in the root. */
const folder = mkdtempSync(join(tmpdir(), "mail-triage-"));

beforeAll(async () => {
  const tsc = join(ROOT, "node_modules/typescript/bin/tsc");
  await promisify(execFile)(process.execPath, [tsc, "-p", "tsconfig.examples.json"], { cwd: ROOT });
}, 60_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Outcome {
  code: number;
  summary: Summary;
  lines: string[];
}

/** Runs the example to its end. */
async function triage(options: readonly string[], environment: Record<string, string> = {}): Promise<Outcome> {
  const { OPENAI_API_KEY: _key, OPENAI_BASE_URL: _url, ...inherited } = process.env;
  const child = spawn(process.execPath, [join(EXAMPLE, "main.js"), ...options], {
    cwd: folder,
    env: { ...inherited, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  let complained = "";
  child.stdout.on("data", (text: Buffer) => (said += text.toString("utf8")));
  child.stderr.on("data", (text: Buffer) => (complained += text.toString("utf8")));
  const [code] = (await once(child, "close")) as [number];
  const lines = said.trimEnd().split("\n");
  const last = lines.at(-1) ?? "";
  expect(last, `The example said ${said} and complained ${complained}`).toMatch(/^\{.*\}$/);
  return { code, lines, summary: JSON.parse(last) as Summary };
}

test(
  "mails are triaged alike with and without faults and kills, nothing acknowledged is lost or repeated, and each mail is delivered once (C6.1, C6.2)",
  { timeout: 120_000 },
  async () => {
    const { code, summary, lines } = await triage(["--quick"]);
    expect(lines).toContain("All of it holds.");
    expect(code).toBe(0);
    expect(summary).toMatchObject({ lost: 0, repeated: 0, duplicated: 0, undelivered: 0, failed: 0, sameResult: true });
    const { undisturbed, "faults and kills": disturbed, outage } = summary.scenarios;
    expect(undisturbed).toMatchObject({
      mails: 48,
      delivered: 48,
      modelCalls: 3 * 48,
      retries: 0,
      fallbacks: 0,
      kills: 0,
    });
    expect(disturbed).toMatchObject({ mails: 48, delivered: 48, deadLetters: 0, fallbacks: 0 });
    expect(disturbed?.accuracy).toBe(undisturbed?.accuracy);
    expect(disturbed?.kills).toBeGreaterThanOrEqual(2);
    expect(disturbed?.interrupted).toBeGreaterThan(0);
    expect(disturbed?.faults).toBeGreaterThan(20);
    expect(outage).toMatchObject({ mails: 48, delivered: 48, deadLetters: 2, failed: 0 });
    expect(outage?.breakerOpenings).toBeGreaterThan(0);
    expect(outage?.fallbacks).toBeGreaterThan(0);
  },
);

test(
  "a delivery under a new key for each attempt is found out: mails lie in their folder twice",
  { timeout: 120_000 },
  async () => {
    const { code, summary } = await triage(["--quick", "--plant", "keys"]);
    expect(summary.duplicated).toBeGreaterThan(0);
    expect(code).toBe(1);
  },
);

test(
  "a step that is acknowledged before it is in the journal is found out: it is called again",
  { timeout: 120_000 },
  async () => {
    const { code, summary } = await triage(["--quick", "--kills", "12", "--plant", "acks"]);
    expect(summary.repeated).toBeGreaterThan(0);
    expect(code).toBe(1);
  },
);

test("the same workflow asks the provider that the environment names", { timeout: 120_000 }, async () => {
  const server = spawn(process.execPath, [join(EXAMPLE, "serve-models.js")], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    const [hello] = (await once(server.stdout, "data")) as [Buffer];
    const baseUrl = /OPENAI_BASE_URL=(\S+)/.exec(hello.toString("utf8"))?.[1] ?? "";
    const provider = { OPENAI_BASE_URL: baseUrl, OPENAI_API_KEY: "any", OPENAI_MODEL: "language,entities,spam" };
    const { code, summary } = await triage(["--mails", "20", "--kills", "2"], provider);
    expect(summary).toMatchObject({ lost: 0, repeated: 0, duplicated: 0, undelivered: 0, sameResult: null });
    expect(Object.keys(summary.scenarios)).toEqual(["provider"]);
    expect(summary.scenarios.provider).toMatchObject({ mails: 20, delivered: 20, modelCalls: null });
    expect(code).toBe(0);

    const unknown = await triage(["--mails", "2", "--kills", "0"], { ...provider, OPENAI_MODEL: "nobody" });
    expect(unknown.summary).toMatchObject({ failed: 2, undelivered: 2, lost: 0 });
    expect(unknown.lines.join("\n")).toContain('There is no model \\"nobody\\" here');
    expect(unknown.code).toBe(1);
  } finally {
    server.kill();
  }
});
