import { type NodeContext, type NodeFunction, type Runnable, Workflow } from "holdfast";
import type { Label, RawMail } from "./corpus.ts";
import { type Letter, parseLetter } from "./letter.ts";
import { AnswerError, ask, isWorthAsking, type Provider } from "./model-client.ts";
import { labelByRules } from "./rules.ts";

type Folder = "inbox" | "spam" | "foreign" | "finance";

/** What a run comes to. */
export interface Triaged {
  mail: string;
  label: Label;
  folder: Folder;
  language: string;
  sentiment: number;
}

export interface TriageServices {
  provider: Provider;
  /** Where mails are delivered. */
  mailboxUrl: string;
  /** The key that a call goes under. */
  keyOf: (context: NodeContext) => string;
  /** Wraps every step, to see each call of it. */
  watched: <In, Out>(step: NodeFunction<In, Out>) => NodeFunction<In, Out>;
}

const RETRY = { maxAttempts: 5, initialDelayMs: 20, maxDelayMs: 500 };
const PATIENCE = { attemptTimeoutMs: 2000 };

/**
 * Sorts one mail: reads it, finds out language and entities at the same time, classifies it, and delivers it to a
 * folder. While the classifier is out of reach, rules of thumb stand in for it.
 */
export function triageWorkflow(services: TriageServices): Runnable<RawMail, Triaged> {
  const { provider, mailboxUrl, keyOf, watched } = services;
  const language = async ({ text }: { text: string }, context: NodeContext) => {
    const answer = await ask(provider, { task: "language", text, ...callOf(context) });
    if (typeof answer.language !== "string") throw answerError("a language", answer);
    return { language: answer.language.toLowerCase() };
  };

  const entities = async ({ text }: { text: string }, context: NodeContext) => {
    const answer = await ask(provider, { task: "entities", text, ...callOf(context) });
    if (!Array.isArray(answer.entities) || typeof answer.sentiment !== "number")
      throw answerError("entities and a sentiment", answer);
    const found = answer.entities as { type?: unknown }[];
    return { sums: found.filter(({ type }) => type === "MONEY").length, sentiment: answer.sentiment };
  };

  const classify = async (mail: { text: string; language: string; sentiment: number }, context: NodeContext) => {
    const known = `Its language is ${mail.language}, its sentiment ${mail.sentiment}.`;
    const { label } = await ask(provider, { task: "spam", text: mail.text, known, ...callOf(context) });
    if (label !== "spam" && label !== "ham") throw answerError('"spam" or "ham"', label);
    return { label: label as Label };
  };

  const rules = ({ text }: { text: string }) => ({ label: labelByRules(text) });

  const route = async (mail: { label: Label; language: string; sums: number }, context: NodeContext) => {
    const folder = folderOf(mail);
    await deliver(mailboxUrl, { mail: context.runId, folder }, keyOf(context), context.signal);
    return { folder };
  };

  const callOf = (context: NodeContext) => ({ idempotencyKey: keyOf(context), signal: context.signal });

  return new Workflow({ id: "mail-triage" })
    .addNode(
      "parse",
      watched((mail: RawMail): Promise<Letter> => parseLetter(mail.text)),
    )
    .addNode("language", watched(language), { retry: { ...RETRY, retryableErrors: isWorthAsking }, timeout: PATIENCE })
    .addNode("entities", watched(entities), { retry: { ...RETRY, retryableErrors: isWorthAsking }, timeout: PATIENCE })
    .addNode("classify", watched(classify))
    .addNode("rules", watched(rules))
    .addNode("route", watched(route), { retry: RETRY, timeout: PATIENCE })
    .addNode("report", watched(report))
    .connect("parse", "language", { text: "text" })
    .connect("parse", "entities", { text: "text" })
    .connect("parse", "classify", { text: "text" })
    .connect("language", "classify", { language: "language" })
    .connect("entities", "classify", { sentiment: "sentiment" })
    .connect("classify", "route", { label: "label" })
    .connect("language", "route", { language: "language" })
    .connect("entities", "route", { sums: "sums" })
    .connect("classify", "report", { label: "label" })
    .connect("language", "report", { language: "language" })
    .connect("entities", "report", { sentiment: "sentiment" })
    .connect("route", "report", { folder: "folder" })
    .configureRetry("classify", { ...RETRY, retryableErrors: isWorthAsking })
    .configureCircuitBreaker("classify", {
      window: { kind: "count", size: 50, failureRateThreshold: 0.6, minimumCalls: 50 },
      recoveryTimeoutMs: 500,
    })
    .configureTimeout("classify", PATIENCE)
    .addFallback("classify", "rules");
}

function report(mail: Omit<Triaged, "mail">, { runId }: NodeContext): Triaged {
  const { label, folder, language, sentiment } = mail;
  return { mail: runId, label, folder, language, sentiment };
}

function folderOf({ label, language, sums }: { label: Label; language: string; sums: number }): Folder {
  if (label === "spam") return "spam";
  if (language !== "en") return "foreign";
  return sums > 0 ? "finance" : "inbox";
}

/** Hands a mail over. The key is what keeps a mail that is handed over twice from being delivered twice. */
async function deliver(
  url: string,
  delivery: { mail: string; folder: Folder },
  idempotencyKey: string,
  signal: AbortSignal,
): Promise<void> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", "idempotency-key": idempotencyKey },
    body: JSON.stringify(delivery),
    signal,
  });
  const body = await response.text();
  if (!response.ok) throw new Error(`The mailbox answered ${response.status} to ${delivery.mail}: ${body}`);
}

function answerError(wanted: string, got: unknown): AnswerError {
  return new AnswerError(`The model was asked for ${wanted} and answered ${JSON.stringify(got).slice(0, 200)}.`);
}
