/**
 * The flagship example: triages real mails with real models, once undisturbed, once under faults while its worker is
 * killed again and again, and once through an outage; then shows that nobody could tell from the result.
 */
import { mkdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { type Corpus, readMails, readWholeCorpus, SAMPLE_FILE, split, writeMails } from "./corpus.ts";
import { Mailbox } from "./mailbox.ts";
import { providerOf } from "./model-client.ts";
import { ModelProcess } from "./model-process.ts";
import { type Options, readOptions, USAGE } from "./options.ts";
import { confusionOf, figuresOf, tableOf } from "./report.ts";
import { evenly, providerScenario, type Scenario, scenariosOf } from "./scenarios.ts";
import { Screen } from "./screen.ts";
import { type Finding, play, type Stage } from "./stage.ts";
import type { Environment } from "./supervisor.ts";
import { complaintsOf, summarize, type Summary } from "./summary.ts";

const FOLDER = resolve(".holdfast/mail-triage");
/** Kept from one time to the next, since it is large. */
const CORPUS_FOLDER = resolve(".holdfast/spam-assassin");

async function main(): Promise<boolean> {
  const startedAt = performance.now();
  const provider = providerOf(process.env);
  const options = readOptions(process.argv.slice(2), provider !== null);
  if (options === null) {
    console.log(USAGE);
    return true;
  }
  const screen = new Screen();
  rmSync(FOLDER, { recursive: true, force: true });
  mkdirSync(FOLDER, { recursive: true });
  const { training, test } = await readCorpus(options, screen);
  const mails = evenly(test, options.mails);
  const { seed, kills, plant } = options;

  const mailbox = new Mailbox();
  const mailboxUrl = await mailbox.listen();
  const models = provider === null ? await startModels(training, screen) : null;
  const environment = models === null ? process.env : environmentFor(models);
  const stage: Stage = { folder: FOLDER, mailbox, mailboxUrl, models, environment, plant, screen };
  try {
    if (provider !== null) screen.say(`Asking ${provider.baseUrl} with ${Object.values(provider.models).join(", ")}.`);
    const scenarios = provider === null ? scenariosOf(mails, seed, kills) : [providerScenario(mails, seed, kills)];
    const findings: Finding[] = [];
    for (const scenario of scenarios) findings.push(await playAloud(scenario, stage));
    const summary = summarize(findings, (performance.now() - startedAt) / 1000);
    const complaints = complaintsOf(summary, findings);
    show(summary, findings, complaints, screen);
    return complaints.length === 0;
  } finally {
    models?.stop();
    mailbox.close();
  }
}

async function readCorpus({ whole }: Options, screen: Screen): Promise<Corpus> {
  return split(whole ? await readWholeCorpus(CORPUS_FOLDER, (line) => screen.say(line)) : readMails(SAMPLE_FILE));
}

async function startModels(training: Corpus["training"], screen: Screen): Promise<ModelProcess> {
  const file = join(FOLDER, "training.ndjson");
  writeMails(file, training);
  screen.say(`The model server trains its classifier on ${training.length} mails.`);
  const models = await ModelProcess.start(file);
  screen.say(`  trained in ${models.trainingMs} ms; OPENAI_BASE_URL is ${models.baseUrl}`);
  return models;
}

/** Workers find the model server as they would find any provider. */
function environmentFor({ baseUrl }: ModelProcess): Environment {
  return { ...process.env, OPENAI_BASE_URL: baseUrl, OPENAI_API_KEY: "local", OPENAI_MODEL: "language,entities,spam" };
}

async function playAloud(scenario: Scenario, stage: Stage): Promise<Finding> {
  const { name, mails, kills } = scenario;
  stage.screen.say(`${name}: ${mails.length} mails`);
  if (kills.length > 0)
    stage.screen.say(`  SIGKILL after ${kills.map(({ afterSteps }) => afterSteps).join(", ")} steps`);
  const finding = await play(scenario, stage);
  stage.screen.say(`  ${finding.seconds.toFixed(1)} s`);
  return finding;
}

function show(summary: Summary, findings: readonly Finding[], complaints: readonly string[], screen: Screen): void {
  const [first] = findings;
  const lines = [
    "",
    ...tableOf(new Map(findings.map((finding) => [finding.scenario.name, figuresOf(finding)]))),
    "",
    ...(first === undefined ? [] : confusionOf(first)),
    "",
    ...complaints,
    complaints.length === 0 ? "All of it holds." : "",
    JSON.stringify(summary),
  ];
  screen.say(lines.join("\n"));
}

main().then(
  (isGood) => (process.exitCode = isGood ? 0 : 1),
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  },
);
