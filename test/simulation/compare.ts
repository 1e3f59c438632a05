import { expect } from "vitest";
import type { RunOutcome } from "../../src/testing/engine-world.ts";
import type { Edge, Meaning } from "./oracle.ts";

/** Holds the result of a run against what the oracle says. `isMended` says that all that failed has been redriven. */
export function compareOutcome(
  outcome: RunOutcome,
  meaning: Meaning,
  edges: readonly Edge[],
  nodes: readonly string[],
  isMended: boolean,
): void {
  const { status, deadLetters } = outcome;
  const open = deadLetters.filter((letter) => letter.status !== "succeeded");
  if (isMended) expect(open).toEqual([]);
  if (meaning.fatal.length > 0) {
    expect(status).toBe("failed");
    // Which of several was first to end the run depends on how long they take.
    const { nodeId } = outcome.error as { nodeId?: string };
    expect(meaning.fatal.map(nodeOf)).toContain(nodeId);
    const entered = open.map(({ invocationId }) => invocationId);
    expect(entered.map(nodeOf)).toContain(nodeId);
    expect(meaning.lost).toEqual(expect.arrayContaining(entered));
    return;
  }
  const ends = nodes.filter((id) => edges.every(({ from, isBack }) => from !== id || isBack));
  const ofEnds = ends.length === 1 ? meaning.outputs[ends[0]!] : meaning.outputs;
  const output = edges.some(({ isHandoff }) => isHandoff) ? meaning.home : ofEnds;
  expect([status, outcome.output]).toEqual(["completed", output]);
  if (!isMended) {
    expect(outcome.degraded).toBe([...meaning.invocations.values()].some(({ fails }) => fails));
    expect(open.map(({ invocationId }) => invocationId).toSorted()).toEqual(meaning.lost.toSorted());
  }
  // Backups that were called in vain before their node was mended stay among the steps.
  const isMeant = (fails: boolean): boolean => !isMended || !fails;
  const steps = outcome.agentSteps.map(({ invocationId, error }) => [invocationId, error !== undefined] as const);
  const meant = [...meaning.invocations].map(([id, { fails }]) => [id, fails] as const);
  expect(Object.fromEntries(steps.filter(([, fails]) => isMeant(fails)))).toEqual(
    Object.fromEntries(meant.filter(([, fails]) => isMeant(fails))),
  );
}

export function nodeOf(visit: string): string {
  return visit.split("#")[0]!;
}
