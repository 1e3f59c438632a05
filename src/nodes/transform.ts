import { ConfigError, HoldfastError, messageOf } from "../core/errors.ts";
import type { NodeFunction } from "../core/node.ts";
import { anObject, show } from "../core/options.ts";

/** How deep the compiler looks into a type for paths. The run goes as deep as a path says. */
type Deeper = { 5: 4; 4: 3; 3: 2; 2: 1; 1: 0 };

/** The paths in a value of some type to what fits another one, such as `"order.customer.name"`. */
type PathTo<From, Wanted, Depth extends keyof Deeper | 0 = 5> = unknown extends From
  ? string
  : Depth extends keyof Deeper
    ? From extends readonly (infer Item)[]
      ? PathThrough<`${number}`, Item, Wanted, Deeper[Depth]>
      : From extends object
        ? { [Key in keyof From & string]: PathThrough<Key, From[Key], Wanted, Deeper[Depth]> }[keyof From & string]
        : never
    : never;

type PathThrough<Key extends string, Value, Wanted, Depth extends keyof Deeper | 0> =
  ([Value] extends [Wanted] ? Key : never) | `${Key}.${PathTo<Value, Wanted, Depth>}`;

/** For each field of the output where it comes from: a path into the input, or a function of it. */
export type TransformFields<In, Out> = {
  readonly [Field in keyof Out]: PathTo<In, Out[Field]> | ((input: In) => Out[Field]);
};

/** Fields as they are written, of which the types of input and output are inferred. */
type WrittenFields = Readonly<Record<string, string | ((input: never) => unknown)>>;

/** What the functions among some fields take. All of them get the one input, so it must be all of that. */
type InputOf<Fields extends WrittenFields> = [Exclude<Fields[keyof Fields], string>] extends [never]
  ? unknown
  : Takers<Fields[keyof Fields]> extends (input: infer All) => void
    ? All
    : never;

type Takers<Source> = Source extends (input: infer In) => unknown ? (input: In) => void : never;

/** The fields again, with the paths that there are in place of any text. */
type Checked<Fields extends WrittenFields> = {
  readonly [Field in keyof Fields]: Fields[Field] extends string ? PathTo<InputOf<Fields>, unknown> : Fields[Field];
};

/** What comes of some fields: where a path leads, only the run can tell. */
type OutputOf<Fields extends WrittenFields> = {
  -readonly [Field in keyof Fields]: Fields[Field] extends (input: never) => infer Value ? Value : unknown;
};

type Source = string | ((input: unknown) => unknown);

/**
 * A node that makes its output of its input and does nothing else: by a function, or field by field, each from a path
 * into the input (`"order.lines.0.price"`) or a function of it. What a path leads to must be there. Its type is known
 * to the compiler where both types are given: `transform<Order, Bill>({ … })`.
 *
 * Its errors are final, so no retry repeats them: the same input would fail the same way. A transform that takes time
 * or talks to anyone is no transform but an ordinary node function.
 */
export function transform<In, Out>(make: (input: In) => Out): NodeFunction<In, Out>;
export function transform<In, Out extends object>(fields: TransformFields<In, Out>): NodeFunction<In, Out>;
export function transform<const Fields extends WrittenFields>(
  fields: Fields & Checked<Fields>,
): NodeFunction<InputOf<Fields>, OutputOf<Fields>>;
export function transform(how: ((input: unknown) => unknown) | Record<string, Source>): NodeFunction<unknown> {
  if (typeof how === "function") return (input) => made("A transform", how, input);
  // Copied, so that a later change to the object changes no node.
  const fields = Object.entries(anObject.allows(how) ? how : {});
  if (fields.length === 0)
    throw new ConfigError(`transform must be given a function or an object of fields, got ${show(how)}.`);
  for (const [field, source] of fields)
    if (typeof source !== "function" && (typeof source !== "string" || source === ""))
      throw new ConfigError(
        `transform.${field} must be a path into the input, such as "order.id", or a function of it, got ${show(source)}.`,
      );
  return (input) =>
    Object.fromEntries(
      fields.map(([field, source]) => {
        const what = `The field ${show(field)} of a transform`;
        return [field, typeof source === "string" ? at(what, source, input) : made(what, source, input)];
      }),
    );
}

function made(what: string, make: (input: unknown) => unknown, input: unknown): unknown {
  let value: unknown;
  try {
    value = make(input);
  } catch (error) {
    throw transformError(`${what} failed: ${messageOf(error)}. Mend its function or its input.`, error);
  }
  if (typeof (value as PromiseLike<unknown> | null | undefined)?.then !== "function") return value;
  // Whatever comes of it, nobody awaits it.
  void Promise.resolve(value).catch(() => {});
  throw transformError(`${what} gave a promise. Give what takes time to an ordinary node function.`);
}

/** What a path leads to. Own properties only: `constructor` is in no input. */
function at(what: string, path: string, input: unknown): unknown {
  const keys = path.split(".");
  let value = input;
  for (const [index, key] of keys.entries()) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) {
      const parent = index === 0 ? "the input" : `"${keys.slice(0, index).join(".")}" of the input`;
      throw transformError(
        `${what} comes from "${path}", but ${parent} ${lack(value, key)}. Mend the path, or give a function for what may be missing.`,
      );
    }
    value = (value as Record<string, unknown>)[key];
  }
  return value;
}

function lack(value: unknown, key: string): string {
  if (typeof value !== "object" || value === null) return `is ${value === null ? "null" : `of type ${typeof value}`}`;
  const fields = Object.keys(value).slice(0, 20).map(show);
  return `has no ${show(key)}: ${fields.length === 0 ? "it is empty" : `only ${fields.join(", ")}`}`;
}

function transformError(message: string, cause?: unknown): HoldfastError {
  return new HoldfastError("TRANSFORM", `${message} No retry repeats it.`, { cause });
}
