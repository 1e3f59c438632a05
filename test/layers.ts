/**
 * What may lean on what in `src/`, as data. The architecture test fails on a use that is not permitted here and on a
 * permission that nobody uses, so these tables say what the code does and not what it once meant to do.
 */
export interface Layers {
  /** For each folder the folders it may import from. Its own files are free to it. */
  folders: Readonly<Record<string, readonly string[]>>;
  /** For each folder the packages it may load, and how. A folder without an entry loads none. */
  packages: Readonly<Record<string, Readonly<Record<string, PackageUse>>>>;
  /** For each global the files that may touch it, and why. `Math.random` means that member only. So with `COMPUTED`. */
  globals: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

/** `any`: as it likes; `lazily`: by `import()` or `require()` only; a list: these names only. */
export type PackageUse = "any" | "lazily" | readonly string[];

/** The folder that stands for the files right in `src/`: what users import. */
export const FRONT_DOOR = "front door";

/** Stands among the globals for an import of something that is only known when the code runs. */
export const COMPUTED = "a computed import";

const CLOCK = "the only owner of time (C0.4)";
const RANDOM = "the only owner of randomness";

export const LAYERS: Layers = {
  folders: {
    core: [],
    policies: ["core"],
    executor: [],
    workflow: ["core"],
    nodes: ["core", "policies", "workflow"],
    stores: ["core", "policies"],
    engine: ["core", "policies", "workflow"],
    testing: ["core"],
    cli: ["core", "engine", "executor", FRONT_DOOR, "stores", "workflow"],
    [FRONT_DOOR]: ["core", "engine", "executor", "nodes", "policies", "stores", "workflow"],
  },
  packages: {
    stores: {
      "node:crypto": ["createHash"],
      "node:fs": "any",
      "node:fs/promises": "any",
      "node:path": "any",
      "node:module": ["createRequire"],
      "node:sqlite": "lazily",
      libsql: "lazily",
    },
    testing: { "node:assert/strict": "any" },
    cli: {
      commander: "any",
      jiti: "lazily",
      "log-update": "lazily",
      picocolors: "lazily",
      "node:console": ["Console"],
      "node:fs": "any",
      "node:module": ["isBuiltin"],
      "node:path": "any",
      "node:stream": "any",
      "node:url": "any",
      "node:util": "any",
      "../package.json": "lazily",
    },
    engine: {
      croner: "lazily",
      "node:crypto": ["createHash"],
      "node:zlib": ["deflateRawSync", "inflateRawSync"],
      "node:fs": ["readlinkSync"],
      "node:os": ["hostname"],
    },
  },
  globals: {
    Date: { "core/clock.ts": CLOCK, "testing/engine-value-cases.ts": "makes values that must come back as they were" },
    performance: { "core/clock.ts": CLOCK },
    setTimeout: { "core/clock.ts": CLOCK },
    setInterval: {},
    setImmediate: { "core/clock.ts": CLOCK },
    "AbortSignal.timeout": {},
    "Math.random": { "core/random.ts": RANDOM },
    crypto: { "core/random.ts": RANDOM },
    process: {
      "engine/owner.ts": "names and looks for processes, to take over the runs of dead ones",
      "engine/shutdown.ts": "closes an engine at signals and ends the process, for a program that asks for it",
      "cli/terminal.ts": "the only way of the command line to its process: arguments, streams, signals",
      "stores/machine-time.ts": "reads the monotonic clock that all processes of a machine share",
      "executor/environment.ts": "the only reader of the environment below the command line (C4.5)",
    },
    Buffer: {
      "testing/engine-value-cases.ts": "makes values that must come back as they were",
      "core/bytes.ts": "asks whether there is one: other runtimes have none",
    },
    [COMPUTED]: { "cli/load-workflow.ts": "loads the file of the user's that it is given" },
    createRequire: {
      "stores/sqlite-driver.ts":
        "loads whichever SQLite binding there is, in a constructor, which cannot await import()",
    },
  },
};
