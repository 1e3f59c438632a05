import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { faultOf, type FaultPlan } from "./faults.ts";
import { bodyOf, cutOff, headerOf, listen, reply } from "./http.ts";
import { countTokens, type Model } from "./models.ts";

/** What goes wrong here. `slow` answers after the client has lost patience; `reset` never begins, `cut` never ends. */
export type ModelFault = "429 with a hint" | "429" | "500" | "529" | "slow" | "reset" | "cut";

export const MODEL_FAULTS: readonly ModelFault[] = ["429 with a hint", "429", "500", "529", "slow", "reset", "cut"];

/** How long a slow answer takes: more than the two seconds that the workflow waits. */
const SLOW_MS = 3000;

const LIMITS = { requests: 100_000, tokens: 100_000_000 };

export interface ModelServerPlan {
  faults: FaultPlan<ModelFault> | null;
  /** From its `afterCalls`-th call on, a model is dead for a while. */
  outage: { model: string; afterCalls: number; forMs: number } | null;
}

export const CALM_MODELS: ModelServerPlan = { faults: null, outage: null };

/** What the server has seen since its plan began. */
export interface ModelServerLedger {
  calls: number;
  answered: number;
  promptTokens: number;
  completionTokens: number;
  faults: Record<string, number>;
  /** How often the server was called under each idempotency key. */
  callsOf: Record<string, number>;
}

interface ChatRequest {
  model: string;
  messages: { role: string; content: string }[];
}

/**
 * Real models behind the API that every OpenAI client speaks: `GET /v1/models` and `POST /v1/chat/completions`. The
 * last user message is what a model reads, its answer is JSON text, `usage` counts real tokens, and the limits that
 * the headers tell are real limits. Faults come as the plan says. It does not stream yet.
 */
export class ModelServer {
  readonly #models: ReadonlyMap<string, Model>;
  readonly #server: Server;
  readonly #minute = { endsAt: 0, requests: 0, tokens: 0 };
  #plan = CALM_MODELS;
  #ledger = newLedger();
  #outage = { calls: 0, endsAt: 0 };
  #unnamed = 0;

  constructor(models: ReadonlyMap<string, Model>) {
    this.#models = models;
    this.#server = createServer((request, response) => void this.#handle(request, response));
  }

  async listen(port = 0): Promise<string> {
    return `${await listen(this.#server, port)}/v1`;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  begin(plan: ModelServerPlan): void {
    this.#plan = plan;
    this.#ledger = newLedger();
    this.#outage = { calls: 0, endsAt: 0 };
  }

  get ledger(): ModelServerLedger {
    return this.#ledger;
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await bodyOf(request);
    const place = `${request.method} ${request.url}`;
    if (!/^Bearer \S/.test(headerOf(request, "authorization") ?? ""))
      return refuse(response, 401, "invalid_api_key", "Send any key as a bearer token in the Authorization header.");
    if (place === "POST /v1/chat/completions") return this.#complete(request, response, body);
    if (place === "GET /v1/models")
      return reply(response, 200, { object: "list", data: [...this.#models.keys()].map(describeModel) });
    const named = /^GET \/v1\/models\/([^/]+)$/.exec(place)?.[1];
    if (named !== undefined && this.#models.has(named)) return reply(response, 200, describeModel(named));
    refuse(response, 404, "not_found", `There is nothing at ${place}.`);
  }

  #complete(request: IncomingMessage, response: ServerResponse, body: unknown): void {
    const chat = asChatRequest(body);
    if (chat === undefined)
      return refuse(
        response,
        400,
        "invalid_request",
        "A completion needs a model, and messages with text, unstreamed.",
      );
    const model = this.#models.get(chat.model);
    if (model === undefined)
      return refuse(response, 404, "model_not_found", `There is no model "${chat.model}" here. See GET /v1/models.`);

    const ledger = this.#ledger;
    const key = headerOf(request, "idempotency-key") ?? `unnamed ${++this.#unnamed}`;
    const call = (ledger.callsOf[key] ?? 0) + 1;
    ledger.callsOf[key] = call;
    ledger.calls++;
    if (this.#isOut(chat.model)) {
      count(ledger, "outage");
      return refuse(response, 503, "unavailable", "This model is down.");
    }
    const fault = this.#plan.faults === null ? null : faultOf(this.#plan.faults, key, call);
    if (fault !== null) count(ledger, fault);
    const answer = (): void => this.#answer(response, chat, model, fault === "cut");
    switch (fault) {
      case "429 with a hint":
        return refuse(response, 429, "rate_limit_exceeded", "Too many requests.", { "retry-after": "1" });
      case "429":
        return refuse(response, 429, "rate_limit_exceeded", "Too many requests.");
      case "500":
        return refuse(response, 500, "server_error", "The server had an error.");
      case "529":
        return refuse(response, 529, "overloaded", "The server is overloaded.");
      case "reset":
        return void response.destroy();
      case "slow": {
        const timer = setTimeout(answer, SLOW_MS);
        return void response.once("close", () => clearTimeout(timer));
      }
      default:
        return answer();
    }
  }

  #answer(response: ServerResponse, { model: id, messages }: ChatRequest, model: Model, isCut: boolean): void {
    const text = messages.findLast(({ role }) => role === "user")?.content ?? "";
    const promptTokens = messages.reduce((sum, { content }) => sum + countTokens(content), 0);
    const limits = this.#spend(promptTokens);
    if (limits.exceeded) return refuse(response, 429, "rate_limit_exceeded", "Too much this minute.", limits.headers);
    const content = JSON.stringify(model(text));
    const completionTokens = countTokens(content);
    const ledger = this.#ledger;
    ledger.promptTokens += promptTokens;
    ledger.completionTokens += completionTokens;
    const completion = {
      id: `chatcmpl-${ledger.calls}`,
      object: "chat.completion",
      created: Math.floor(Date.now() / 1000),
      model: id,
      choices: [
        { index: 0, message: { role: "assistant", content, refusal: null }, logprobs: null, finish_reason: "stop" },
      ],
      usage: {
        prompt_tokens: promptTokens,
        completion_tokens: completionTokens,
        total_tokens: promptTokens + completionTokens,
      },
    };
    if (isCut) return cutOff(response, completion);
    ledger.answered++;
    reply(response, 200, completion, limits.headers);
  }

  /** Takes a request off what this minute allows. */
  #spend(tokens: number): { exceeded: boolean; headers: Record<string, string> } {
    const minute = this.#minute;
    const now = performance.now();
    if (now >= minute.endsAt) Object.assign(minute, { endsAt: now + 60_000, requests: 0, tokens: 0 });
    const exceeded = minute.requests + 1 > LIMITS.requests || minute.tokens + tokens > LIMITS.tokens;
    if (!exceeded) {
      minute.requests++;
      minute.tokens += tokens;
    }
    const seconds = (minute.endsAt - now) / 1000;
    const headers: Record<string, string> = {
      "x-ratelimit-limit-requests": String(LIMITS.requests),
      "x-ratelimit-limit-tokens": String(LIMITS.tokens),
      "x-ratelimit-remaining-requests": String(LIMITS.requests - minute.requests),
      "x-ratelimit-remaining-tokens": String(LIMITS.tokens - minute.tokens),
      "x-ratelimit-reset-requests": `${seconds.toFixed(3)}s`,
      "x-ratelimit-reset-tokens": `${seconds.toFixed(3)}s`,
    };
    if (exceeded) headers["retry-after"] = String(Math.ceil(seconds));
    return { exceeded, headers };
  }

  #isOut(model: string): boolean {
    const { outage } = this.#plan;
    if (outage === null || outage.model !== model) return false;
    if (++this.#outage.calls === outage.afterCalls) this.#outage.endsAt = performance.now() + outage.forMs;
    return performance.now() < this.#outage.endsAt;
  }
}

function newLedger(): ModelServerLedger {
  return { calls: 0, answered: 0, promptTokens: 0, completionTokens: 0, faults: {}, callsOf: {} };
}

function count({ faults }: ModelServerLedger, kind: string): void {
  faults[kind] = (faults[kind] ?? 0) + 1;
}

function describeModel(id: string): object {
  return { id, object: "model", created: 0, owned_by: "mail-triage" };
}

function refuse(
  response: ServerResponse,
  status: number,
  code: string,
  message: string,
  headers?: Readonly<Record<string, string>>,
): void {
  const type = status < 500 ? "invalid_request_error" : "server_error";
  reply(response, status, { error: { message, type, param: null, code } }, headers);
}

function asChatRequest(body: unknown): ChatRequest | undefined {
  const { model, messages, stream } = (body ?? {}) as Record<string, unknown>;
  if (typeof model !== "string" || !Array.isArray(messages) || messages.length === 0 || stream === true)
    return undefined;
  const read = messages.map((message: unknown) => {
    const { role, content } = (message ?? {}) as Record<string, unknown>;
    return { role, content: textOf(content) };
  });
  const isWhole = read.every(({ role, content }) => typeof role === "string" && content !== undefined);
  return isWhole ? { model, messages: read as ChatRequest["messages"] } : undefined;
}

/** Clients send a text as it is or as a list of parts. */
function textOf(content: unknown): string | undefined {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return undefined;
  const parts = content.map((part: unknown) => ((part ?? {}) as { text?: unknown }).text);
  return parts.every((part) => typeof part === "string") ? parts.join("\n") : undefined;
}
