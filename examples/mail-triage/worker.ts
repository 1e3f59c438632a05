/**
 * The process that does the work, and that gets killed: runs the workflow once for every mail. Started again with the
 * same job, it goes on from what the journal acknowledged. Tells its supervisor by lines on standard output.
 */
import { writeSync } from "node:fs";
import {
  createEngine,
  type HoldfastEvent,
  type NodeContext,
  type NodeFunction,
  type RunResult,
  SqliteStore,
} from "holdfast";
import type { Line } from "./account.ts";
import { nameOf, readMails } from "./corpus.ts";
import { providerOf } from "./model-client.ts";
import { type Triaged, triageWorkflow } from "./workflow.ts";

/** What a worker is to do. */
export interface Job {
  mails: string;
  journal: string;
  mailboxUrl: string;
  errand: "triage" | "redrive";
  plant: Plant;
}

/**
 * A bug to plant, to see that the supervisor notices: `keys` gives each attempt a key of its own; `acks` believes a
 * step when its function returns, before it is in the journal.
 */
export type Plant = "none" | "keys" | "acks";

const RUNS_AT_ONCE = 64;
const ANY_NUMBER = 1_000_000;

const job = JSON.parse(process.argv[2] ?? "{}") as Job;
const provider = providerOf(process.env);
if (provider === null) throw new Error("The worker needs OPENAI_BASE_URL and OPENAI_API_KEY. Start main.js instead.");

// A line is written at once and whole: nothing told waits in a buffer that dies with the process.
const tell = (line: Line): void => void writeSync(1, `${JSON.stringify(line)}\n`);

const keyOf = ({ idempotencyKey, attempt }: NodeContext): string =>
  job.plant === "keys" ? `${idempotencyKey}/${attempt}` : idempotencyKey;

const watched =
  <In, Out>(step: NodeFunction<In, Out>): NodeFunction<In, Out> =>
  async (input, context) => {
    const { runId: run, invocationId: invocation } = context;
    tell({ kind: "called", run, invocation, key: keyOf(context) });
    const output = await step(input, context);
    if (job.plant === "acks") tell({ kind: "done", run, invocation });
    return output;
  };

function onEvent(event: HoldfastEvent): void {
  if (event.type === "node.completed") tell({ kind: "done", run: event.runId, invocation: event.invocationId });
  else if (event.type === "attempt.failed") tell({ kind: "retried" });
  else if (event.type === "breaker.changed") tell({ kind: "breaker", to: event.to });
  else if (event.type === "dead_letter.entered") tell({ kind: "dead", run: event.runId });
  else if (event.type === "run.resumed") tell({ kind: "resumed", interrupted: event.interrupted });
}

function tellEnd({ runId: run, status, output, error, degraded, agentSteps }: RunResult<Triaged>): void {
  const completed = agentSteps.filter((step) => step.error === undefined).map(({ invocationId }) => invocationId);
  const triaged = status === "completed" && output !== undefined ? output : null;
  tell({ kind: "ended", run, end: { triaged, degraded, completed, complaint: error?.message ?? null } });
}

// A worker whose supervisor is gone works for nobody.
process.on("disconnect", () => process.exit(1));

const triage = triageWorkflow({ provider, mailboxUrl: job.mailboxUrl, keyOf, watched });
const engine = createEngine({
  store: new SqliteStore(job.journal),
  workflows: [triage],
  concurrency: RUNS_AT_ONCE,
  // The kills come from outside; no step is to be suspected of them, however often they hit it.
  maxCrashes: ANY_NUMBER,
  onEvent,
});
tell({ kind: "ready" });

if (job.errand === "redrive") {
  const letters = await engine.deadLetters.list({ status: "pending", limit: ANY_NUMBER });
  // One after the other: a run that failed at two nodes has left two letters, and is carried on by one at a time.
  for (const { id } of letters) tellEnd((await engine.deadLetters.redrive(id)) as RunResult<Triaged>);
} else {
  const mails = readMails(job.mails);
  await Promise.all(mails.map(async (mail) => tellEnd(await engine.run(triage, mail, { runId: nameOf(mail) }))));
}
await engine.close();
process.exit(0);
