import { createHash } from "node:crypto";
import { type Label, labelOf, nameOf } from "./corpus.ts";
import type { Finding } from "./stage.ts";
import type { Triaged } from "./workflow.ts";

/** A scenario in figures. */
export interface Figures {
  mails: number;
  accuracy: number;
  /** Answers that the rules gave in place of the classifier. */
  fallbacks: number;
  modelCalls: number | null;
  faults: number | null;
  retries: number;
  breakerOpenings: number;
  kills: number;
  /** Steps that were under way when a worker was killed, and were called again. */
  interrupted: number;
  deadLetters: number;
  /** Mails whose run ended without a result. */
  failed: number;
  deliveryRequests: number;
  /** Mails that were delivered exactly once, more often, and never. */
  delivered: number;
  duplicated: number;
  undelivered: number;
  lost: number;
  repeated: number;
  unexplained: number;
  seconds: number;
}

export function figuresOf(finding: Finding): Figures {
  const { scenario, account, modelServer, timesDelivered } = finding;
  const runs = finding.runs;
  const times = runs.map((run) => timesDelivered.get(run) ?? 0);
  const right = scenario.mails.filter((mail) => triagedOf(finding, nameOf(mail))?.label === labelOf(mail)).length;
  return {
    mails: runs.length,
    accuracy: round(right / runs.length, 4),
    fallbacks: degradedRuns(finding).size,
    modelCalls: modelServer?.calls ?? null,
    faults: modelServer && Object.values(modelServer.faults).reduce((sum, count) => sum + count, 0),
    retries: account.retries,
    breakerOpenings: account.breakerOpenings,
    kills: finding.kills,
    interrupted: account.interrupted,
    deadLetters: account.deadLetters,
    failed: account.failed.length,
    deliveryRequests: finding.deliveryRequests,
    delivered: times.filter((count) => count === 1).length,
    duplicated: times.filter((count) => count > 1).length,
    undelivered: times.filter((count) => count === 0).length,
    lost: account.lost(runs).length,
    repeated: account.repeated.length,
    unexplained: finding.unexplained.length,
    seconds: round(finding.seconds, 1),
  };
}

/** One name for all that a scenario decided: which mail got which label and went to which folder. */
export function digestOf(finding: Finding): string {
  return digest(finding, finding.runs);
}

/** Whether all mails that the classifier itself has labelled in a scenario got what they got in another. */
export function isSameByClassifier(finding: Finding, other: Finding): boolean {
  const degraded = degradedRuns(finding);
  const runs = finding.runs.filter((run) => !degraded.has(run));
  return digest(finding, runs) === digest(other, runs);
}

function digest(finding: Finding, runs: readonly string[]): string {
  const lines = runs.map((run) => {
    const triaged = triagedOf(finding, run);
    return `${run}\t${triaged?.label ?? "-"}\t${triaged?.folder ?? "-"}\n`;
  });
  return createHash("sha256").update(lines.toSorted().join("")).digest("hex");
}

function triagedOf({ account }: Finding, run: string): Triaged | null {
  return account.ends.get(run)?.triaged ?? null;
}

function degradedRuns({ account }: Finding): Set<string> {
  return new Set([...account.ends].filter(([, { degraded }]) => degraded).map(([run]) => run));
}

const ROWS: readonly (readonly [string, keyof Figures])[] = [
  ["mails", "mails"],
  ["accuracy against the labels", "accuracy"],
  ["fallbacks to the rules", "fallbacks"],
  ["calls of models", "modelCalls"],
  ["  of them spoiled", "faults"],
  ["retries", "retries"],
  ["breaker openings", "breakerOpenings"],
  ["kills", "kills"],
  ["  steps cut short by them", "interrupted"],
  ["dead letters", "deadLetters"],
  ["  failed in the end", "failed"],
  ["requests to the mailbox", "deliveryRequests"],
  ["mails delivered once", "delivered"],
  ["  more than once", "duplicated"],
  ["  never", "undelivered"],
  ["acknowledged, then lost", "lost"],
  ["acknowledged, then repeated", "repeated"],
  ["calls nobody told of", "unexplained"],
  ["seconds", "seconds"],
];

/** The figures of all scenarios side by side. */
export function tableOf(columns: ReadonlyMap<string, Figures>): string[] {
  const width = (name: string): number => Math.max(name.length, 9) + 3;
  const head = " ".repeat(30) + [...columns.keys()].map((name) => name.padStart(width(name))).join("");
  const rows = ROWS.map(([title, key]) => {
    const cells = [...columns].map(([name, figures]) => String(figures[key] ?? "-").padStart(width(name)));
    return title.padEnd(30) + cells.join("");
  });
  return [head, ...rows];
}

/** How often each label was taken for which. */
export function confusionOf(finding: Finding): string[] {
  const count = (truth: Label, said: Label): string => {
    const taken = finding.scenario.mails.filter(
      (mail) => labelOf(mail) === truth && triagedOf(finding, nameOf(mail))?.label === said,
    );
    return String(taken.length).padStart(12);
  };
  return [
    `${" ".repeat(12)}taken as ham  as spam`,
    `ham         ${count("ham", "ham")}${count("ham", "spam").slice(3)}`,
    `spam        ${count("spam", "ham")}${count("spam", "spam").slice(3)}`,
  ];
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
