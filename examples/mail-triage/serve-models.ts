/**
 * The model server as a process of its own: the models compute while the workflow works, and it outlives workers that
 * are killed. Started by the supervisor, it takes its plans from it and ends with it; started by hand,
 * `node .build/examples/mail-triage/serve-models.js --port 8080`, it serves any OpenAI client until it is stopped.
 */
import { parseArgs } from "node:util";
import { readMails, SAMPLE_FILE, split } from "./corpus.ts";
import { entityModel, languageModel, type Model, spamModel } from "./models.ts";
import { ModelServer, type ModelServerLedger, type ModelServerPlan } from "./model-server.ts";

/** What the supervisor asks of this process. */
export type ModelServerRequest = { begin: ModelServerPlan } | { ledger: true };

/** What this process tells the supervisor. */
export type ModelServerMessage =
  { listening: string; trainedOn: number; trainingMs: number } | { begun: true } | { ledger: ModelServerLedger };

const { values } = parseArgs({
  options: { port: { type: "string", default: "0" }, training: { type: "string", default: SAMPLE_FILE } },
});

const { training } = split(readMails(values.training));
const startedAt = performance.now();
const spam = await spamModel(training);
const trainingMs = Math.round(performance.now() - startedAt);
const models = new Map<string, Model>([
  ["language", await languageModel()],
  ["entities", entityModel()],
  ["spam", spam],
]);
const server = new ModelServer(models);
const listening = await server.listen(Number(values.port));

if (process.send === undefined) {
  console.log(`Trained on ${training.length} mails in ${trainingMs} ms. OPENAI_BASE_URL=${listening}`);
  console.log(`Models: ${[...models.keys()].join(", ")}. Any API key will do.`);
} else {
  const tell = (message: ModelServerMessage): void => void process.send?.(message);
  process.on("message", (request: ModelServerRequest) => {
    if ("ledger" in request) return tell({ ledger: server.ledger });
    server.begin(request.begin);
    tell({ begun: true });
  });
  process.on("disconnect", () => process.exit(0));
  tell({ listening, trainedOn: training.length, trainingMs });
}
