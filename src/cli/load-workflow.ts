import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { codeOf, ConfigError, messageOf, NotFoundError } from "../core/errors.ts";
import type { Runnable } from "../engine/runnable.ts";

/** Codes of Node for a TypeScript file that it cannot load by itself: Node 20 none, later ones not all syntax. */
const NEEDS_JITI: ReadonlySet<string> = new Set(["ERR_UNKNOWN_FILE_EXTENSION", "ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX"]);

/** The workflows that a JavaScript or TypeScript file exports. */
export interface LoadedWorkflows {
  readonly all: readonly Runnable[];
  /** The default export, else the only one. */
  readonly main: Runnable | undefined;
}

export async function loadWorkflows(file: string): Promise<LoadedWorkflows> {
  const path = resolve(file);
  if (!existsSync(path)) throw new NotFoundError(`There is no workflow file ${path}.`);
  let exported: object;
  try {
    exported = await load(path);
  } catch (error) {
    throw new ConfigError(`${file} cannot be loaded: ${whereThrown(error)}`, { cause: error });
  }
  const { default: main } = exported as { default?: unknown };
  // A CommonJS module arrives as the default export of an ES module, with its own exports inside.
  const inside = isObject(main) && !isWorkflow(main) ? Object.values(main) : [];
  const all = [...new Set([...Object.values(exported), ...inside].filter(isWorkflow))];
  if (all.length > 0) return { all, main: isWorkflow(main) ? main : all.length === 1 ? all[0] : undefined };
  const names = Object.keys(exported);
  throw new ConfigError(
    `${file} exports no workflow${names.length === 0 ? "" : `, only ${names.join(", ")}`}. Write \`export default new Workflow({ id: "..." })\` with its nodes.`,
  );
}

/** The workflow of a file with that id; without one the main one. */
export async function loadWorkflow(file: string, id: string | undefined): Promise<Runnable> {
  const { all, main } = await loadWorkflows(file);
  const ids = all.map(({ definition }) => `"${definition.id}"`).join(", ");
  const chosen = id === undefined ? main : all.find(({ definition }) => definition.id === id);
  if (chosen !== undefined) return chosen;
  if (id === undefined) throw new ConfigError(`${file} exports several workflows: ${ids}. Choose one with --workflow.`);
  throw new NotFoundError(`${file} exports no workflow "${id}". There are: ${ids}.`);
}

async function load(path: string): Promise<object> {
  try {
    return (await import(pathToFileURL(path).href)) as object;
  } catch (error) {
    if (!NEEDS_JITI.has(codeOf(error) ?? "")) throw error;
  }
  const { createJiti } = await import("jiti");
  // Its cache lies in a folder that everybody on the machine may write to, where somebody could leave us code.
  const jiti = createJiti(import.meta.url, { fsCache: false, interopDefault: false });
  return jiti.import<object>(path);
}

/** Who stands in a stack above the user's own lines. */
const LOADERS = ["node:", "/jiti/", "/commander/", import.meta.dirname];

/** What was thrown, with the lines of its stack that are the user's own. */
function whereThrown(error: unknown): string {
  if (!(error instanceof Error) || error.stack === undefined) return messageOf(error);
  const lines = error.stack.split("\n");
  return lines.filter((line) => !/^\s+at /.test(line) || !LOADERS.some((loader) => line.includes(loader))).join("\n");
}

/** By its shape, since the file may have its own copy of the package. */
function isWorkflow(value: unknown): value is Runnable {
  if (!isObject(value)) return false;
  const { definition } = value as { definition?: { id?: unknown; nodes?: unknown; edges?: unknown } };
  return (
    isObject(definition) &&
    typeof definition.id === "string" &&
    Array.isArray(definition.nodes) &&
    Array.isArray(definition.edges)
  );
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}
