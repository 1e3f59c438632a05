import { invocationIdOf, type InvocationId, invocationKey } from "../workflow/invocation-id.ts";
import type { EdgeDefinition } from "../workflow/definition.ts";
import { gatherInput, inputFrom } from "../workflow/mapping.ts";
import type { PlannedNode } from "../workflow/plan.ts";
import type { ActiveRun } from "./run.ts";

/** Makes the input of an invocation, anew with each call: nobody shares it. */
export type InputMaker = () => unknown;

/**
 * What makes the input of an invocation: at once, unless some of it has to be read from the blobs first. A backup gets
 * what its primary got.
 */
export function inputOf(run: ActiveRun, id: InvocationId): InputMaker | Promise<InputMaker> {
  const { codec, values } = run.settings;
  const { stored, make } = recipeOf(run, id);
  const maker = (encoded: readonly string[]): InputMaker =>
    encoded.length === 1
      ? () => make([codec.decode(encoded[0]!)])
      : () => make(encoded.map((text) => codec.decode(text)));
  const loaded = values.loadAll(stored);
  return loaded instanceof Promise ? loaded.then(maker) : maker(loaded);
}

/** The stored values that an input is made of, and how. */
interface Recipe {
  readonly stored: readonly string[];
  readonly make: (values: readonly unknown[]) => unknown;
}

function recipeOf(run: ActiveRun, id: InvocationId): Recipe {
  const { plan, readiness, journal } = run;
  const { fork } = journal.state;
  if (fork?.input !== undefined && fork.node === id.node && id.iteration === 0)
    return { stored: [fork.input], make: ([input]) => input };
  const { by } = journal.state.invocations.get(invocationKey(id)) ?? {};
  if (by !== undefined) {
    const source = readiness.servedBy(by)!;
    const edge = source.handoff === id.node ? null : edgeFrom(plan.nodes.get(source.id.node)!, id.node);
    return { stored: [source.output], make: ([output]) => (edge === null ? output : inputFrom(edge, output)) };
  }
  const { feeds: edges } = plan.nodes.get(id.node)!;
  if (edges.length === 0) return { stored: [journal.state.input], make: ([input]) => input };
  const visits = sourcesOf(run, id);
  const stored = visits.map((visit) => readiness.servedBy(visit)!.output);
  if (edges.length === 1) return { stored, make: ([output]) => inputFrom(edges[0]!, output) };
  const placeOf = new Map(visits.map((visit, place) => [invocationIdOf(visit).node, place]));
  const delivering = edges.filter((edge) => placeOf.has(edge.from));
  return { stored, make: (outputs) => gatherInput(delivering, (source) => outputs[placeOf.get(source)!]) };
}

/** The visits that the input of an invocation comes from. */
function sourcesOf({ plan, journal }: ActiveRun, id: InvocationId): readonly string[] {
  const { from, by } = journal.state.invocations.get(invocationKey(id)) ?? {};
  if (by !== undefined) return [by];
  return from ?? plan.nodes.get(id.node)!.firstSources;
}

/** The invocations whose outputs an invocation works on, itself among them: it has made steps. */
export function workedOn(run: ActiveRun, id: InvocationId): string[] {
  const served = sourcesOf(run, id).flatMap((visit) => run.readiness.servedBy(visit) ?? []);
  return [id, ...served.map((source) => source.id)].map(invocationKey);
}

function edgeFrom(source: PlannedNode, to: string): EdgeDefinition | null {
  return source.outbound.find((edge) => edge.to === to && edge.definition !== null)?.definition ?? null;
}
