/** A place to ask models, in the words of every OpenAI client. */
export interface Provider {
  baseUrl: string;
  apiKey: string;
  models: Record<Task, string>;
}

type Task = "language" | "entities" | "spam";

/** What the server said instead of an answer. `status` and `headers` let a retry heed `Retry-After`. */
class ModelError extends Error {
  override readonly name = "ModelError";
  readonly status: number;
  readonly headers: Headers;

  constructor(model: string, response: Response, body: string) {
    super(`Model "${model}" answered ${response.status}: ${body.slice(0, 200)}`);
    this.status = response.status;
    this.headers = response.headers;
  }
}

/** The model answered, but not what it was asked for. */
export class AnswerError extends Error {
  override readonly name = "AnswerError";
}

/**
 * Whether asking again may help. A broken connection, a timeout and an answer that makes no sense may, and so may a
 * server in trouble; a wrong key, an unknown model and a request that is not understood stay wrong.
 */
export function isWorthAsking(error: unknown): boolean {
  if (!(error instanceof ModelError)) return true;
  return error.status >= 500 || error.status === 408 || error.status === 409 || error.status === 429;
}

/** Where `OPENAI_BASE_URL`, `OPENAI_API_KEY` and `OPENAI_MODEL` point; null where the first two are not both set. */
export function providerOf(environment: Readonly<Record<string, string | undefined>>): Provider | null {
  const { OPENAI_BASE_URL: baseUrl, OPENAI_API_KEY: apiKey, OPENAI_MODEL: models = "" } = environment;
  if (!baseUrl || !apiKey) return null;
  const names = models.split(",").map((name) => name.trim());
  const [language, entities, spam] = names.length === 3 ? names : [models, models, models];
  if (!language || !entities || !spam) {
    throw new Error(
      `OPENAI_MODEL must name one model, or three with commas between them (for language, entities, spam), got "${models}".`,
    );
  }
  return { baseUrl: baseUrl.replace(/\/+$/, ""), apiKey, models: { language, entities, spam } };
}

const PROMPTS: Record<Task, string> = {
  language:
    'Which language is this mail written in? Answer with JSON only: {"language": "<ISO 639-1 code>", "confidence": <0 to 1>}.',
  entities:
    'List the entities of this mail, the first 50 at most, and its sentiment. Answer with JSON only: {"entities": [{"type": "MONEY" | "DATE" | "EMAIL" | "URL" | "PERSON" | "ORGANIZATION" | "OTHER", "value": "<text>"}], "sentiment": <-1 to 1>}.',
  spam: 'Is this mail spam, that is, unsolicited bulk mail? Answer with JSON only: {"label": "spam" | "ham"}.',
};

export interface Question {
  task: Task;
  text: string;
  /** What is known of the mail already. */
  known?: string;
  idempotencyKey: string;
  signal: AbortSignal;
}

/** Asks a model and gives the JSON of its answer. Throws `ModelError`, `AnswerError`, or what `fetch` throws. */
export async function ask(provider: Provider, question: Question): Promise<Record<string, unknown>> {
  const { task, text, known, idempotencyKey, signal } = question;
  const model = provider.models[task];
  const system = known === undefined ? PROMPTS[task] : `${PROMPTS[task]} ${known}`;
  const response = await fetch(`${provider.baseUrl}/chat/completions`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${provider.apiKey}`,
      "content-type": "application/json",
      "idempotency-key": idempotencyKey,
    },
    body: JSON.stringify({
      model,
      messages: [
        { role: "system", content: system },
        { role: "user", content: text },
      ],
      response_format: { type: "json_object" },
    }),
    signal,
  });
  const body = await response.text();
  if (!response.ok) throw new ModelError(model, response, body);
  return answerIn(model, body);
}

function answerIn(model: string, body: string): Record<string, unknown> {
  try {
    const { choices } = JSON.parse(body) as { choices: { message: { content: string } }[] };
    // Some models wrap what they were asked for in a fence of Markdown.
    const answer: unknown = JSON.parse(choices[0]!.message.content.replace(/^```(?:json)?\s*|\s*```\s*$/g, ""));
    if (typeof answer === "object" && answer !== null) return answer as Record<string, unknown>;
  } catch {
    // Said below, with what it was.
  }
  throw new AnswerError(`Model "${model}" was asked for JSON and answered: ${body.slice(0, 200)}`);
}
