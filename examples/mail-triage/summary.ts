import { digestOf, type Figures, figuresOf, isSameByClassifier } from "./report.ts";
import type { Finding } from "./stage.ts";

/** The last line of the example: what has to hold, over all scenarios, and the figures of each. */
export interface Summary {
  lost: number;
  repeated: number;
  failed: number;
  duplicated: number;
  undelivered: number;
  unexplained: number;
  /** Null with a provider, which need not answer the same twice. */
  sameResult: boolean | null;
  seconds: number;
  scenarios: Record<string, Figures>;
}

/** What the classifier reaches on the sample, less a little. A few mails say nothing about it. */
const LEAST_ACCURACY = 0.91;
const ENOUGH_MAILS = 500;

export function summarize(findings: readonly Finding[], seconds: number): Summary {
  const figures = findings.map((finding) => [finding.scenario.name, figuresOf(finding)] as const);
  const sum = (key: "lost" | "repeated" | "failed" | "duplicated" | "undelivered" | "unexplained"): number =>
    figures.reduce((total, [, of]) => total + of[key], 0);
  const [undisturbed, disturbed, outage] = findings;
  const isCompared = undisturbed !== undefined && disturbed !== undefined && outage !== undefined;
  return {
    lost: sum("lost"),
    repeated: sum("repeated"),
    failed: sum("failed"),
    duplicated: sum("duplicated"),
    undelivered: sum("undelivered"),
    unexplained: sum("unexplained"),
    sameResult: isCompared
      ? digestOf(undisturbed) === digestOf(disturbed) && isSameByClassifier(outage, undisturbed)
      : null,
    seconds: Number(seconds.toFixed(1)),
    scenarios: Object.fromEntries(figures),
  };
}

/** What does not hold, a sentence each. */
export function complaintsOf(summary: Summary, findings: readonly Finding[]): string[] {
  const complaints: string[] = [];
  const expect = (holds: boolean, complaint: string): void => void (holds || complaints.push(complaint));
  const { lost, repeated, failed, duplicated, undelivered, unexplained, sameResult, scenarios } = summary;
  const example = (list: (finding: Finding) => readonly string[]): string => findings.flatMap(list)[0] ?? "";
  const lostOf = ({ account, runs }: Finding): string[] => account.lost(runs);

  expect(lost === 0, `${lost} acknowledged steps or results are lost, ${example(lostOf)} for one.`);
  expect(
    repeated === 0,
    `${repeated} acknowledged steps were called again, ${example(({ account }) => account.repeated)} for one.`,
  );
  expect(failed === 0, `${failed} mails failed. ${example(({ account }) => account.failed)}`);
  expect(duplicated === 0, `${duplicated} mails were delivered more than once.`);
  expect(undelivered === 0, `${undelivered} mails were never delivered.`);
  expect(unexplained === 0, `The servers saw calls of which no worker told, under ${unexplained} keys.`);
  expect(sameResult !== false, "Faults, kills or the outage changed where mails went.");
  const { undisturbed, outage } = scenarios;
  if (undisturbed !== undefined && undisturbed.mails >= ENOUGH_MAILS)
    expect(
      undisturbed.accuracy >= LEAST_ACCURACY,
      `The accuracy is ${undisturbed.accuracy}, less than ${LEAST_ACCURACY}.`,
    );
  if (outage !== undefined) {
    expect(outage.breakerOpenings > 0, "The outage opened no breaker.");
    expect(outage.fallbacks > 0, "No rules stood in for the classifier during the outage.");
    expect(outage.deadLetters > 0, "The mails that the mailbox turned away left no dead letters.");
  }
  return complaints;
}
