import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { ROOT } from "./repository.ts";

/** A module as it was built, for tests that must not compile against `dist/`. */
export function built(path: string): Promise<Record<string, unknown>> {
  return import(pathToFileURL(join(ROOT, "dist", path)).href) as Promise<Record<string, unknown>>;
}

/** The names of the policies among the exports of a module. */
export function policiesOf(exports: Record<string, unknown>): string[] {
  return Object.entries(exports).flatMap(([name, value]) =>
    typeof value === "function" && "around" in (Object(value.prototype) as object) ? [name] : [],
  );
}
