import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { ModelServerLedger, ModelServerPlan } from "./model-server.ts";
import type { ModelServerMessage, ModelServerRequest } from "./serve-models.ts";

const PROGRAM = fileURLToPath(new URL("serve-models.js", import.meta.url));

/** The model server, seen from the supervisor that started it. */
export class ModelProcess {
  readonly #child: ChildProcess;
  readonly baseUrl: string;
  readonly trainedOn: number;
  readonly trainingMs: number;

  private constructor(child: ChildProcess, hello: { listening: string; trainedOn: number; trainingMs: number }) {
    this.#child = child;
    this.baseUrl = hello.listening;
    this.trainedOn = hello.trainedOn;
    this.trainingMs = hello.trainingMs;
  }

  /** Starts it and waits until its models are trained and it listens. */
  static async start(trainingFile: string): Promise<ModelProcess> {
    const child = fork(PROGRAM, ["--training", trainingFile]);
    const hello = await messageOf(child);
    if (!("listening" in hello)) throw new Error(`The model server began with ${JSON.stringify(hello)}.`);
    return new ModelProcess(child, hello);
  }

  /** Gives it new faults and an empty ledger. */
  async begin(plan: ModelServerPlan): Promise<void> {
    await this.#ask({ begin: plan });
  }

  async ledger(): Promise<ModelServerLedger> {
    const message = await this.#ask({ ledger: true });
    if (!("ledger" in message))
      throw new Error(`The model server was asked for its ledger and said ${JSON.stringify(message)}.`);
    return message.ledger;
  }

  stop(): void {
    this.#child.disconnect();
  }

  #ask(request: ModelServerRequest): Promise<ModelServerMessage> {
    const answer = messageOf(this.#child);
    this.#child.send(request);
    return answer;
  }
}

async function messageOf(child: ChildProcess): Promise<ModelServerMessage> {
  const gone = new AbortController();
  const ended = once(child, "exit", { signal: gone.signal }).then(([code]) => {
    throw new Error(`The model server ended with exit code ${String(code)}. See what it says above.`);
  });
  const message = once(child, "message", { signal: gone.signal }).then(([told]) => told as ModelServerMessage);
  try {
    return await Promise.race([message, ended]);
  } finally {
    ended.catch(() => {});
    message.catch(() => {});
    gone.abort();
  }
}
