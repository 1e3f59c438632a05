import { nameOf, type RawMail } from "./corpus.ts";
import { CALM_MAILBOX, MAILBOX_FAULTS, type MailboxPlan } from "./mailbox.ts";
import { CALM_MODELS, MODEL_FAULTS, type ModelServerPlan } from "./model-server.ts";
import { type KillPoint, killPoints } from "./supervisor.ts";

/** What is to be triaged, and what is to go wrong meanwhile. */
export interface Scenario {
  name: string;
  mails: readonly RawMail[];
  modelServer: ModelServerPlan;
  mailbox: MailboxPlan;
  kills: readonly KillPoint[];
}

/** Steps of a mail that is triaged without trouble: parse, language, entities, classify, route, report. */
export const STEPS_PER_MAIL = 6;

/** Share of the calls of models that are spoiled, and of the deliveries. */
const MODEL_FAULT_RATE = 0.3;
const MAILBOX_FAULT_RATE = 0.2;

/** One less than the attempts of the workflow. */
const MOST_FAULTS = 4;

const OUTAGE_MAILS = 150;
/** The classifier dies when it has labelled this share of them, and stays dead for so long. */
const OUTAGE_AFTER = 0.3;
const OUTAGE_MS = 1500;
/** The mailbox turns one mail of so many away. */
const REFUSED_OF = 25;

/** What `npm start` plays, in this order. */
export function scenariosOf(mails: readonly RawMail[], seed: number, kills: number): Scenario[] {
  const faults = { seed, most: MOST_FAULTS };
  const outageMails = evenly(mails, OUTAGE_MAILS);
  return [
    { name: "undisturbed", mails, modelServer: CALM_MODELS, mailbox: CALM_MAILBOX, kills: [] },
    {
      name: "faults and kills",
      mails,
      modelServer: { ...CALM_MODELS, faults: { ...faults, rate: MODEL_FAULT_RATE, kinds: MODEL_FAULTS } },
      mailbox: { ...CALM_MAILBOX, faults: { ...faults, rate: MAILBOX_FAULT_RATE, kinds: MAILBOX_FAULTS } },
      kills: killPoints(seed, kills, mails.length * STEPS_PER_MAIL),
    },
    {
      name: "outage",
      mails: outageMails,
      modelServer: {
        ...CALM_MODELS,
        outage: { model: "spam", afterCalls: Math.ceil(OUTAGE_AFTER * outageMails.length), forMs: OUTAGE_MS },
      },
      mailbox: {
        ...CALM_MAILBOX,
        refused: new Set(evenly(outageMails, Math.ceil(outageMails.length / REFUSED_OF)).map(nameOf)),
      },
      kills: [],
    },
  ];
}

/** What is played with a provider, to whose answers nothing is added. */
export function providerScenario(mails: readonly RawMail[], seed: number, kills: number): Scenario {
  return {
    name: "provider",
    mails,
    modelServer: CALM_MODELS,
    mailbox: CALM_MAILBOX,
    kills: killPoints(seed, kills, mails.length * STEPS_PER_MAIL),
  };
}

/** So many of the mails, or all where there are fewer, spread over the groups, which lie one after the other. */
export function evenly(mails: readonly RawMail[], count: number): RawMail[] {
  const step = Math.max(1, mails.length / count);
  return mails.filter((_, index) => index === 0 || Math.floor(index / step) > Math.floor((index - 1) / step));
}
