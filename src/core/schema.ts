import { property } from "./codec.ts";
import { HoldfastError, type SchemaIssue } from "./errors.ts";
import type { Rule } from "./options.ts";

/**
 * A schema as zod, valibot, arktype and many others have it: version 1 of Standard Schema
 * (https://standardschema.dev). `In` is what may be given, `Out` what comes of it.
 */
export interface StandardSchema<In = unknown, Out = In> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => Verdict<Out> | Promise<Verdict<Out>>;
    /** Never there when the program runs: only the compiler reads it. */
    readonly types?: { readonly input: In; readonly output: Out } | undefined;
  };
}

/** What a schema says of a value: what it has made of it, or what is wrong. */
type Verdict<Out> = { readonly value: Out; readonly issues?: undefined } | { readonly issues: readonly Issue[] };

interface Issue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** What a schema accepts. */
export type InferInput<Schema extends StandardSchema> = NonNullable<Schema["~standard"]["types"]>["input"];

/** What a schema makes of it: with its defaults filled in, its texts parsed. */
export type InferOutput<Schema extends StandardSchema> = NonNullable<Schema["~standard"]["types"]>["output"];

/** What a schema is about, in words: `the input of node "x"`. */
export type SchemaSubject = `the ${"input" | "output"} of ${string}`;

/** How many issues a message names, and how many characters of each. `issues` has them all. */
const ISSUES_SAID = 3;
const ISSUE_LENGTH = 200;

/** A value does not fit its schema. Never retried: the same value would not fit again. */
export class SchemaError extends HoldfastError {
  /** Whose fault it is: a wrong input is the caller's, a wrong output that of whoever was called. */
  readonly side: "input" | "output";
  readonly issues: readonly SchemaIssue[];

  constructor(subject: SchemaSubject, issues: readonly SchemaIssue[]) {
    const side = subject.startsWith("the input") ? "input" : "output";
    const said = issues
      .slice(0, ISSUES_SAID)
      .map(({ path, message }) => (path === "" ? message : `${path}: ${message}`).slice(0, ISSUE_LENGTH));
    const more = issues.length - said.length;
    super(
      "SCHEMA_MISMATCH",
      `T${subject.slice(1)} does not fit its schema: ${said.join("; ") || "the schema does not say why"}${more > 0 ? `; and ${more} more` : ""}. ${side === "input" ? "Send" : "Return"} what the schema describes, or change the schema. No retry repeats this.`,
    );
    this.side = side;
    this.issues = issues;
  }
  protected override get className(): string {
    return "SchemaError";
  }
}

/** The rule for options that take a schema. A schema may be a function with properties. */
export const aSchema: Rule = {
  says: "a Standard Schema, such as zod, valibot and arktype make",
  allows: (value) => {
    const { version, validate: judge } = (value as StandardSchema | null | undefined)?.["~standard"] ?? {};
    return version === 1 && typeof judge === "function";
  },
};

/**
 * What a schema makes of a value; a promise where the schema itself needs time. Throws `SchemaError` for a value that
 * does not fit, and lets pass what the code of a schema throws.
 */
export function validate<Out>(
  schema: StandardSchema<unknown, Out>,
  value: unknown,
  subject: SchemaSubject,
): Out | Promise<Out> {
  const verdict = schema["~standard"].validate(value);
  return "then" in verdict ? verdict.then((late) => accepted(late, subject)) : accepted(verdict, subject);
}

function accepted<Out>(verdict: Verdict<Out>, subject: SchemaSubject): Out {
  if (verdict.issues === undefined) return verdict.value;
  const issues = verdict.issues.map(({ path = [], message }): SchemaIssue => ({ path: textOf(path), message }));
  throw new SchemaError(subject, issues);
}

/** A path as one would write it in code: `lines[0].price`. */
function textOf(path: NonNullable<Issue["path"]>): string {
  const keys = path.map((part) => (typeof part === "object" ? part.key : part));
  const text = keys.map((key) => (typeof key === "number" ? `[${key}]` : property(String(key)))).join("");
  return text.replace(/^\./, "");
}
