import { join } from "node:path";
import { Account } from "./account.ts";
import { nameOf, writeMails } from "./corpus.ts";
import type { Mailbox } from "./mailbox.ts";
import type { ModelProcess } from "./model-process.ts";
import type { ModelServerLedger } from "./model-server.ts";
import { type Scenario, STEPS_PER_MAIL } from "./scenarios.ts";
import type { Screen } from "./screen.ts";
import { type Environment, supervise } from "./supervisor.ts";
import type { Job, Plant } from "./worker.ts";

/** What outlives the workers. */
export interface Stage {
  folder: string;
  mailbox: Mailbox;
  mailboxUrl: string;
  /** Null where a provider is asked instead. */
  models: ModelProcess | null;
  environment: Environment;
  plant: Plant;
  screen: Screen;
}

/** What came of a scenario. */
export interface Finding {
  scenario: Scenario;
  /** The ids of its runs, one for each mail. */
  runs: string[];
  account: Account;
  /** Null where a provider was asked, which shows us none. */
  modelServer: ModelServerLedger | null;
  timesDelivered: ReadonlyMap<string, number>;
  /** Requests that reached the mailbox, repeated ones included. */
  deliveryRequests: number;
  /** Calls that reached a server under a key, more often than workers told of such calls. */
  unexplained: string[];
  kills: number;
  seconds: number;
}

/** Plays a scenario to its end: all mails triaged, and what the mailbox turned away redriven. */
export async function play(scenario: Scenario, stage: Stage): Promise<Finding> {
  const { name, mails, kills } = scenario;
  const { folder, mailbox, models, screen } = stage;
  const account = new Account();
  const file = join(folder, name.replaceAll(" ", "-"));
  const mailFile = `${file}.ndjson`;
  writeMails(mailFile, mails);
  mailbox.begin(scenario.mailbox);
  await models?.begin(scenario.modelServer);

  const startedAt = performance.now();
  const seconds = (): number => (performance.now() - startedAt) / 1000;
  const progress = (killed: number): void =>
    screen.progress(() => {
      const { steps, retries, ends } = account;
      const share = Math.min(100, Math.floor((100 * steps) / (mails.length * STEPS_PER_MAIL)));
      return `  ${seconds().toFixed(0).padStart(3)} s  ${share}% of the steps, ${mailbox.timesDelivered.size} of ${mails.length} mails delivered, ${retries} retries, ${killed} kills, ${ends.size} ended`;
    });
  const job: Job = {
    mails: mailFile,
    journal: `${file}.db`,
    mailboxUrl: stage.mailboxUrl,
    errand: "triage",
    plant: stage.plant,
  };
  const killed = await supervise(job, stage.environment, kills, account, progress);
  if (account.deadLetters > 0) {
    mailbox.mend();
    screen.say(
      `  ${account.deadLetters} dead letters. The mailbox takes everything from now on, and they are redriven.`,
    );
    await supervise({ ...job, errand: "redrive" }, stage.environment, [], account, progress);
  }

  const modelServer = (await models?.ledger()) ?? null;
  return {
    scenario,
    runs: mails.map(nameOf),
    account,
    modelServer,
    timesDelivered: mailbox.timesDelivered,
    deliveryRequests: mailbox.requests.length,
    unexplained: unexplained(account, mailbox, modelServer),
    kills: killed,
    seconds: seconds(),
  };
}

// The servers are witnesses of their own: a call that they saw and that no worker told of would be one behind our back.
function unexplained(account: Account, mailbox: Mailbox, modelServer: ModelServerLedger | null): string[] {
  const seen = new Map(Object.entries(modelServer?.callsOf ?? {}));
  for (const { key } of mailbox.requests) seen.set(key, (seen.get(key) ?? 0) + 1);
  return [...seen].filter(([key, calls]) => calls > account.callsUnder(key)).map(([key]) => key);
}
