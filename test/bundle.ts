import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build, type Plugin, type Rolldown } from "vite";
import { ROOT } from "./repository.ts";

/** What a bundler for browsers makes of a module. */
export interface Bundle {
  code: string;
  /** As it goes over the wire. */
  gzipBytes: number;
  /** For each file of `dist/` of which something is left, what it exports that is left. */
  kept: Record<string, string[]>;
  /** Imports of anything that is no file of the package, such as `node:fs`. */
  strangers: string[];
}

interface BundleOptions {
  /** Where the module lies, and so which package it finds: the repository, unless another folder is said. */
  folder?: string;
  /** Alters a file of the package on its way in. One that is altered counts as one that does something when loaded. */
  change?: (file: string, text: string) => string;
}

/** Bundles a module of code that imports `holdfast/policies`, as it was built. */
export async function bundle(
  code: string,
  { folder = ROOT, change = (_, text) => text }: BundleOptions = {},
): Promise<Bundle> {
  // There is no such file.
  const entry = join(folder, "bundled.mjs");
  const strangers: string[] = [];
  const watch: Plugin = {
    name: "watch",
    enforce: "pre",
    resolveId(id, importer) {
      if (id === entry) return id;
      if (importer !== undefined && importer !== entry && !/^\.{0,2}\//.test(id)) strangers.push(id);
      return null;
    },
    load: (id) => (id === entry ? code : null),
    transform(text, id) {
      const changed = id === entry ? text : change(fileOf(id), text);
      return changed === text ? null : { code: changed, moduleSideEffects: true };
    },
  };
  const { output } = (await build({
    configFile: false,
    root: folder,
    logLevel: "silent",
    plugins: [watch],
    build: {
      write: false,
      target: "es2022",
      modulePreload: false,
      rolldownOptions: { input: entry, preserveEntrySignatures: "strict" },
    },
  })) as Rolldown.RolldownOutput;
  const [chunk] = output;
  const kept = Object.entries(chunk.modules).filter(([id, { renderedLength }]) => id !== entry && renderedLength > 0);
  return {
    code: chunk.code,
    gzipBytes: chunk.code.trim() === "" ? 0 : gzipSync(chunk.code, { level: 9 }).length,
    kept: Object.fromEntries(kept.map(([id, module]) => [fileOf(id), module.renderedExports])),
    strangers,
  };
}

const fileOf = (id: string): string => id.slice(id.lastIndexOf("/dist/") + "/dist/".length);
