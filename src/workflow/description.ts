import { plainOptions } from "../core/options.ts";
import type { FailureMode, Join, NodeDefinition, ReadyNode, WorkflowDefinition } from "./definition.ts";
import { fingerprintOf, outlineOf } from "./fingerprint.ts";

/** A workflow as plain data: what can be said of it without its functions. */
export interface WorkflowDescription {
  id: string;
  name: string;
  version: string;
  /** Changes with the structure: a run is only carried on by the one that it was started with (C5.10). */
  fingerprint: string;
  /** Left out where there is no limit. */
  concurrency?: number;
  maxNodeInvocations?: number;
  onFailure: FailureMode;
  nodes: NodeDescription[];
  edges: { from: string; to: string; mapping?: Record<string, string>; conditional?: true }[];
  /** In the order in which they are tried. */
  fallbacks: { primary: string; backup: string }[];
}

export interface NodeDescription {
  id: string;
  join: Join;
  /** Of a ready-made node that is no function. */
  waitsFor?: { time: true } | { signal: string; timeoutMs?: number };
  /** The id of the workflow that it runs. */
  workflow?: string;
  onFailure?: FailureMode;
  handoffTo?: string[];
  /** Whether it can be undone when the run is cancelled. */
  compensated?: true;
  /** The options of its policies, without functions. */
  policies?: Record<string, Record<string, unknown>>;
}

export function describeWorkflow(definition: WorkflowDefinition): WorkflowDescription {
  const { id, name, version, concurrency, maxNodeInvocations, onFailure, nodes, edges, fallbacks } = definition;
  return {
    id,
    name,
    version,
    fingerprint: fingerprintOf(outlineOf(definition)),
    ...(concurrency < Infinity && { concurrency }),
    ...(maxNodeInvocations < Infinity && { maxNodeInvocations }),
    onFailure,
    nodes: nodes.map((node) => ({ ...describeNode(node), ...policiesOf(definition, node.id) })),
    edges: edges.map(({ from, to, mapping, when }) => ({
      from,
      to,
      ...(mapping !== undefined && { mapping: { ...mapping } }),
      ...(when !== undefined && { conditional: true as const }),
    })),
    fallbacks: fallbacks.map(({ primary, backup }) => ({ primary, backup })),
  };
}

function describeNode({ id, join, run, onFailure, handoffTo, compensate }: NodeDefinition): NodeDescription {
  return {
    id,
    join,
    ...(typeof run === "object" && describeReady(id, run)),
    ...(onFailure !== undefined && { onFailure }),
    ...(handoffTo.length > 0 && { handoffTo: [...handoffTo] }),
    ...(compensate !== undefined && { compensated: true as const }),
  };
}

function describeReady(id: string, run: ReadyNode): Pick<NodeDescription, "waitsFor" | "workflow"> {
  // Only the id, since a workflow may run itself.
  if (run.kind === "workflow") return { workflow: run.workflow.definition.id };
  if (run.kind === "wait") return { waitsFor: { time: true } };
  const { name = id, timeoutMs } = run;
  return { waitsFor: { signal: name, ...(timeoutMs < Infinity && { timeoutMs }) } };
}

function policiesOf({ policies }: WorkflowDefinition, id: string): Pick<NodeDescription, "policies"> {
  const all = Object.entries(policies.get(id) ?? {}).filter(
    (entry): entry is [string, object] => entry[1] !== undefined,
  );
  if (all.length === 0) return {};
  return { policies: Object.fromEntries(all.map(([kind, options]) => [kind, plainOptions(options)])) };
}
