import type { InferInput, InferOutput, StandardSchema } from "../core/schema.ts";

/** What the compiler knows of a workflow: names, inputs and outputs of its nodes, and which of them are connected. */

/** The input and output of a node. */
interface NodeSignature {
  input: unknown;
  output: unknown;
  handsOff?: boolean;
}

export type NodeSignatures = Record<string, NodeSignature>;

/** Types that say nothing (`unknown`, `any`) fit everything: then only the run can tell. */
type Silent<T> = unknown extends T ? true : false;

/** Whether an output can be delivered as it is: as the whole input, or as its field named after the node. */
type FitsUnmapped<Out, In, From extends string> =
  Silent<Out> extends true
    ? true
    : [Out] extends [In]
      ? true
      : From extends keyof In
        ? [Out] extends [In[From]]
          ? true
          : false
        : false;

/** The fields of an input that a value may go to. */
type FieldsFor<In, Value> =
  Silent<In> extends true
    ? string
    : string extends keyof In
      ? string
      : { [Field in keyof In & string]-?: [Value] extends [In[Field]] ? Field : never }[keyof In & string];

/** Which field of the output becomes which field of the input. */
type Mapping<Out, In> =
  Silent<Out> extends true
    ? Readonly<Record<string, FieldsFor<In, never>>>
    : [Out] extends [object]
      ? { readonly [Field in keyof Out & string]?: FieldsFor<In, Out[Field]> }
      : never;

/** When an edge is taken. */
interface EdgeOptions<Out> {
  when?: ((output: Out) => boolean) | undefined;
}

/** The mapping of an edge, which may be left out where the output fits as it is, and its condition. */
export type EdgeArguments<Out, In, From extends string> =
  FitsUnmapped<Out, In, From> extends true
    ? [mapping?: Mapping<Out, In> | undefined, options?: EdgeOptions<Out>]
    : [mapping: Mapping<Out, In>, options?: EdgeOptions<Out>];

/** Nodes that can stand in for another one: they take its input, and their output serves wherever its own does. */
export type StandIn<Nodes extends NodeSignatures, Primary extends keyof Nodes & string> = string extends keyof Nodes
  ? string
  : {
      [Id in Exclude<keyof Nodes & string, Primary>]: TakesInputOf<Nodes[Id], Nodes[Primary]> extends true
        ? [Nodes[Id]["output"]] extends [Nodes[Primary]["output"]]
          ? Id
          : never
        : never;
    }[Exclude<keyof Nodes & string, Primary>];

type TakesInputOf<Backup extends NodeSignature, Primary extends NodeSignature> =
  Silent<Primary["input"]> extends true ? true : [Primary["input"]] extends [Backup["input"]] ? true : false;

type Intersected<Union> = (Union extends unknown ? (value: Union) => void : never) extends (value: infer All) => void
  ? All
  : never;

type IsUnion<T, Whole = T> = [T] extends [never]
  ? false
  : T extends unknown
    ? [Whole] extends [T]
      ? false
      : true
    : false;

/** The input of a run: what all nodes take that no edge leads to and that nobody hands to. */
export type RunInput<
  Nodes extends NodeSignatures,
  Targets extends string,
  Backups extends string,
> = string extends keyof Nodes
  ? unknown
  : [Exclude<keyof Nodes & string, Targets | Backups>] extends [never]
    ? unknown
    : Intersected<Nodes[Exclude<keyof Nodes & string, Targets | Backups>]["input"]>;

/**
 * The output of a run: that of its only end node, or an object of the outputs of all its end nodes. Where nodes hand
 * off, that of the one which handed to nobody.
 */
export type RunOutput<Nodes extends NodeSignatures, Ends extends keyof Nodes & string> = string extends keyof Nodes
  ? unknown
  : true extends Nodes[keyof Nodes]["handsOff"]
    ? Nodes[Ends]["output"]
    : IsUnion<Ends> extends true
      ? { [Id in Ends]: Nodes[Id]["output"] }
      : Nodes[Ends]["output"];

/** Nodes without an outbound edge, apart from those that only stand in for others. */
export type EndsOf<
  Nodes extends NodeSignatures,
  Targets extends string,
  Sources extends string,
  Backups extends string,
> = Exclude<keyof Nodes & string, Sources | Exclude<Backups, Targets>>;

/**
 * The shape of a type: without its literals, which the compiler forgets of what a function returns, without what lies
 * behind methods, such as the items of a map, and with something else in place of what is `unknown`.
 */
type Shape<T, Unknown> = unknown extends T
  ? Unknown
  : T extends string
    ? string
    : T extends number
      ? number
      : T extends boolean
        ? boolean
        : T extends (...values: never) => unknown
          ? true
          : T extends readonly (infer Item)[]
            ? readonly Shape<Item, Unknown>[]
            : T extends object
              ? { [Key in keyof T]: Shape<T[Key], Unknown> }
              : T;

/** Named for the message of the compiler. */
interface SchemaThatTakes<Out> {
  readonly "~standard": { readonly types: { readonly input: Out } };
}

/** What the schema of an output must be, for what the function is known to return. */
export type SchemaFor<Out, Made> = [Shape<Out, never>] extends [Shape<Made, unknown>]
  ? unknown
  : { output: SchemaThatTakes<Out> };

/** The input of a run whose workflow may have a schema for it, of which the schema makes what the first nodes take. */
export type TakenInput<Schema extends StandardSchema | undefined, In> = [Schema] extends [StandardSchema]
  ? [InferOutput<Schema>] extends [In]
    ? InferInput<Schema>
    : never
  : In;

/** The output of a run whose workflow may have a schema for it. */
export type GivenOutput<Schema extends StandardSchema | undefined, Out> = [Schema] extends [StandardSchema]
  ? InferOutput<Schema>
  : Out;
