import type { NodeContext, NodeFunction } from "../core/node.ts";
import type { StandardSchema } from "../core/schema.ts";

/** A workflow as plain data: what the builder collects and `plan` checks. */
export interface WorkflowDefinition {
  readonly id: string;
  readonly name: string;
  readonly version: string;
  /** How many nodes of a run may work at the same time. */
  readonly concurrency: number;
  /** How many invocations a run may start before it is taken for one that never ends. */
  readonly maxNodeInvocations: number;
  /** What becomes of the run when a node has failed for good, where the node itself does not say. */
  readonly onFailure: FailureMode;
  readonly nodes: readonly NodeDefinition[];
  readonly edges: readonly EdgeDefinition[];
  readonly fallbacks: readonly FallbackDefinition[];
  /** By node id. May name nodes that are not there, which `plan` reports. */
  readonly policies: ReadonlyMap<string, NodePolicies>;
  /** How runs of older versions are carried on. */
  readonly migrations: readonly Migration[];
  /** What a run is started with, and what its only end node gives. */
  readonly input?: StandardSchema | undefined;
  readonly output?: StandardSchema | undefined;
}

/** `continue` skips what depends on the failed node and carries on with the rest. */
export type FailureMode = "fail" | "continue";

/** Whether a node waits for all edges that lead to it, or starts with the first that delivers. */
export type Join = "all" | "any";

export interface NodeDefinition {
  readonly id: string;
  readonly run: NodeFunction<never> | ReadyNode;
  readonly join: Join;
  readonly onFailure?: FailureMode | undefined;
  /** Nodes that this one may hand off to. */
  readonly handoffTo: readonly string[];
  /** What its function gets, and what it gives unless it hands off. */
  readonly input?: StandardSchema | undefined;
  readonly output?: StandardSchema | undefined;
  readonly compensate?: Compensation | undefined;
}

/** Undoes what a node has done, given its output: when a run is cancelled that asks for it. */
export type Compensation<Out = never> = (output: Out, context: NodeContext) => unknown;

/** A node that is no function: the engine carries each kind out in its own way. */
export type ReadyNode = WaitNode | SignalNode | WorkflowNode;

/** Sleeps until an instant, also while no process runs, and passes its input on. */
export interface WaitNode {
  readonly kind: "wait";
  /** In wall-clock milliseconds. */
  readonly until: (input: never, now: number) => number;
}

/** Sleeps until the run gets a signal, whose payload is its output. */
export interface SignalNode {
  readonly kind: "signal";
  /** Undefined for the id of the node. */
  readonly name: string | undefined;
  readonly timeoutMs: number;
}

/** Runs another workflow as a run of its own. */
export interface WorkflowNode {
  readonly kind: "workflow";
  readonly workflow: { readonly definition: WorkflowDefinition };
}

/** A ready-made node with what it takes and gives. `signature` exists for inference only. */
export type TypedNode<In, Out> = ReadyNode & { readonly signature?: (input: In) => Out };

/** The policies of a node, as options: the engine builds them, since this layer imports no policy. */
export interface NodePolicies {
  readonly retry?: object | undefined;
  readonly circuitBreaker?: object | undefined;
  readonly timeout?: object | undefined;
  readonly rateLimit?: object | undefined;
  readonly bulkhead?: object | undefined;
  readonly budget?: object | undefined;
}

/** Which field of the output becomes which field of the input. */
export type FieldMapping = Readonly<Record<string, string>>;

export interface EdgeDefinition {
  readonly from: string;
  readonly to: string;
  readonly mapping?: FieldMapping | undefined;
  /** Whether the edge is taken, decided once for each output. An edge without it always is. */
  readonly when?: ((output: never) => boolean) | undefined;
}

export interface FallbackDefinition {
  readonly primary: string;
  readonly backup: string;
}

/** How a run of an older version is carried on by this one. */
export interface Migration {
  /** The version that the run was started with. */
  readonly from: string;
  /** Nodes that have another id now: `{ old: "new" }`. */
  readonly rename?: Readonly<Record<string, string>> | undefined;
  /** Nodes whose results are forgotten, by their old ids: they are done again, where they are still there. */
  readonly forget?: readonly string[] | undefined;
  /** What is made of results of older nodes, by the ids that they have now. */
  readonly outputs?: Readonly<Record<string, (output: never) => unknown>> | undefined;
}
