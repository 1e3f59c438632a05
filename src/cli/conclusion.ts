import { plainCodec } from "../core/codec.ts";
import { storedError } from "../core/errors.ts";
import { plainLetter } from "../engine/plain-letter.ts";
import type { RunResult } from "../engine/run-result.ts";
import type { Ending } from "./carry-out.ts";
import { commandLine } from "./command-line.ts";
import { EXIT } from "./exit-codes.ts";
import type { Terminal } from "./terminal.ts";
import { asJson, clean, counted, duration, errorLines, instant, jsonLine, readable } from "./text.ts";

/** What a command that carries a run out was asked: enough to name the command that goes on from here. */
export interface Asked {
  runId: string;
  file: string;
  /** The option that names the store again. */
  store: readonly string[];
  /** The option that chooses the workflow again. */
  workflow: readonly string[];
  /** Whether there will be anything to go on with when this process has ended. */
  isKept: boolean;
  json: boolean;
}

/** Prints how a run ended, its result to standard output and the rest to standard error; gives the exit code. */
export function conclude(terminal: Terminal, ending: Ending, asked: Asked): number {
  if ("interruptedBy" in ending) {
    const what = asked.isKept ? `Resume it with:\n  ${resumeCommand(asked)}` : "It was kept in memory, and is gone.";
    terminal.talk(`Run ${clean(asked.runId)} was interrupted. ${what}`);
    return EXIT[ending.interruptedBy];
  }
  const { result, hadEnded } = ending;
  if (hadEnded) terminal.talk(`run ${clean(result.runId)} had ended before; this is its stored result`);
  for (const line of summary(result)) terminal.talk(line);
  for (const { id, status } of result.deadLetters) {
    if (status !== "pending" || !asked.isKept) continue;
    terminal.talk(
      `Its dead letter can be redriven with:\n  ${commandLine("dlq", "redrive", id, "--file", asked.file, ...asked.store)}`,
    );
  }
  if (asked.json) terminal.print(jsonLine(jsonResult(result)));
  else if (result.output !== undefined) terminal.print(readable(plainCodec.encode(result.output, "the output")));
  return result.success ? EXIT.OK : EXIT.RUN_FAILED;
}

function resumeCommand({ runId, file, workflow, store }: Asked): string {
  return commandLine("run", file, ...workflow, "--run-id", runId, "--resume", ...store);
}

function summary({ runId, workflowId, status, startedAt, endedAt, agentSteps, error }: RunResult): string[] {
  const attempts = agentSteps.reduce((sum, step) => sum + step.attempts, 0);
  const work = `${counted(agentSteps.length, "step")}, ${counted(attempts, "attempt")}`;
  const standIns = agentSteps.filter((step) => step.error === undefined && step.servedBy !== step.nodeId);
  const degraded = standIns.map((step) => `${step.servedBy} served for ${step.nodeId}`).join(", ");
  const heading = `run ${runId} of ${workflowId} ${status} after ${duration(endedAt - startedAt)}: ${work}`;
  const lines = [degraded === "" ? heading : `${heading}; degraded, ${degraded}`];
  // The message tells of the first cause, too.
  if (error !== undefined) lines.push(error.message, ...errorLines(storedError(error)).slice(2));
  return lines.map(clean);
}

/** A result as one JSON object. */
function jsonResult(result: RunResult): object {
  const { runId, workflowId, status, output, error, degraded, resumed, startedAt, endedAt, agentSteps } = result;
  return {
    runId,
    workflowId,
    status,
    ...(output !== undefined && { output: asJson(plainCodec.encode(output, "the output")) }),
    ...(error !== undefined && { error: storedError(error) }),
    degraded,
    resumed,
    startedAt: instant(startedAt),
    endedAt: instant(endedAt),
    durationMs: endedAt - startedAt,
    attempts: agentSteps.reduce((sum, step) => sum + step.attempts, 0),
    steps: agentSteps.map((step) => ({ ...step, ...(step.error !== undefined && { error: storedError(step.error) }) })),
    deadLetters: result.deadLetters.map(plainLetter),
  };
}
