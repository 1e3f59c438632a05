import type { Codec } from "../core/codec.ts";
import { ConfigError, messageOf, VersionMismatchError } from "../core/errors.ts";
import type { Migration } from "../workflow/definition.ts";
import { incompatibility, type Outline, outlineChanges } from "../workflow/fingerprint.ts";
import { invocationKey } from "../workflow/invocation-id.ts";
import type { Plan } from "../workflow/plan.ts";
import type { RunEvent, RunState } from "../workflow/run-state.ts";

/**
 * What a run has to go through before it goes on with a definition other than the one that it has: nothing where they
 * are the same, and where the change touches nothing that it has begun only the news of it (C5.10). Throws
 * `VersionMismatchError` where it cannot go on.
 */
export function definitionChanges(runId: string, plan: Plan, state: RunState, codec: Codec, at: number): RunEvent[] {
  if (state.fingerprint === plan.fingerprint) return [];
  const { outline, fingerprint, definition } = plan;
  const changed: RunEvent = { kind: "definition_changed", outline, fingerprint, at };
  const before = JSON.parse(state.outline) as Outline;
  if (before.version !== definition.version) {
    const migration = definition.migrations.find(({ from }) => from === before.version);
    if (migration !== undefined) return [{ ...migrated(runId, plan, state, codec, migration), at }, changed];
  }
  const reason = incompatibility(state.outline, outline, begunNodes(state));
  if (reason === undefined) return [changed];
  throw new VersionMismatchError(
    `Run "${runId}" was started with another definition of workflow "${definition.id}", and cannot go on with this one: ${reason}. ` +
      `What differs: ${outlineChanges(state.outline, outline)}. Finish it with the code that it was started with, give the workflow a new version and a migration, or start it anew under another run id.`,
  );
}

type Migrated = Extract<RunEvent, { kind: "run_migrated" }>;

/** Nodes that have been begun, and those that have stood in for others. */
function begunNodes({ invocations }: RunState): Set<string> {
  const begun = new Set<string>();
  for (const { id } of invocations.values()) begun.add(id.node).add(id.backup ?? id.node);
  return begun;
}

function migrated(
  runId: string,
  plan: Plan,
  state: RunState,
  codec: Codec,
  migration: Migration,
): Omit<Migrated, "at"> {
  const { rename = {}, forget = [], outputs = {} } = migration;
  const named = (node: string): string => (Object.hasOwn(rename, node) ? rename[node]! : node);
  const made: Record<string, string> = {};
  for (const invocation of state.invocations.values()) {
    const { id } = invocation;
    if (forget.includes(id.node)) continue;
    const node = named(id.node);
    if (!plan.nodes.has(node))
      throw new VersionMismatchError(
        `Run "${runId}" has begun its node "${id.node}", which workflow "${plan.definition.id}" no longer has, and the migration from version "${migration.from}" neither renames nor forgets it. Add it to the migration.`,
      );
    if (invocation.status !== "completed" || !Object.hasOwn(outputs, node)) continue;
    const key = invocationKey({ ...id, node, backup: id.backup && named(id.backup) });
    made[key] = outputOf(migration, node, invocation.output, codec);
  }
  return { kind: "run_migrated", rename, forget, outputs: made };
}

function outputOf({ from, outputs }: Migration, node: string, output: string, codec: Codec): string {
  try {
    return codec.encode(outputs![node]!(codec.decode(output) as never), `the migrated output of node "${node}"`);
  } catch (error) {
    throw new ConfigError(
      `The migration from version "${from}" failed at an output of node "${node}": ${messageOf(error)}. The run is as it was.`,
      { cause: error },
    );
  }
}
