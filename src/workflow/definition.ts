import type { NodeFunction } from "../core/node.ts";

/** A workflow as plain data: what the builder collects and `plan` checks. */
export interface WorkflowDefinition {
  readonly id: string;
  readonly name: string;
  readonly version: string;
  /** How many nodes of a run may work at the same time. */
  readonly concurrency: number;
  readonly nodes: readonly NodeDefinition[];
  readonly edges: readonly EdgeDefinition[];
  readonly fallbacks: readonly FallbackDefinition[];
  /** By node id. May name nodes that are not there, which `plan` reports. */
  readonly policies: ReadonlyMap<string, NodePolicies>;
}

export interface NodeDefinition {
  readonly id: string;
  readonly run: NodeFunction<never>;
}

/** The policies of a node, as options: the engine builds them, since this layer imports no policy. */
export interface NodePolicies {
  readonly retry?: object | undefined;
  readonly circuitBreaker?: object | undefined;
  readonly timeout?: object | undefined;
}

/** Which field of the output becomes which field of the input. */
export type FieldMapping = Readonly<Record<string, string>>;

export interface EdgeDefinition {
  readonly from: string;
  readonly to: string;
  readonly mapping?: FieldMapping | undefined;
}

export interface FallbackDefinition {
  readonly primary: string;
  readonly backup: string;
}
