import type { Store } from "./core/store.ts";
import { Engine } from "./engine/engine.ts";
import type { EngineOptions } from "./engine/engine-options.ts";
import { storeUrlOfEnvironment } from "./executor/environment.ts";
import { openStore } from "./stores/open.ts";

/** Where journals are kept when nobody says otherwise: a file below the folder that the process was started in. */
export const DEFAULT_STORE_URL = "sqlite:.holdfast/holdfast.db";

/** Opens the store that `RESILIENCE_STORE_URL` names, else the SQLite file `.holdfast/holdfast.db`. */
export function openDefaultStore(): Store {
  const url = storeUrlOfEnvironment();
  return url === undefined ? openStore(DEFAULT_STORE_URL) : openStore(url, "RESILIENCE_STORE_URL");
}

/**
 * An engine in this process. Nothing runs until it is asked to. Without a store it keeps its journals in the SQLite
 * file `.holdfast/holdfast.db`, or where `RESILIENCE_STORE_URL` says. Throws `ConfigError` for a wrong option and
 * `StoreUnavailableError` where the store cannot be opened.
 *
 * @example
 * ```ts
 * import { createEngine, MemoryStore, Workflow } from "holdfast";
 *
 * const double = new Workflow({ id: "double" }).addNode("double", (n: number) => n * 2);
 * const engine = createEngine({ store: new MemoryStore() });
 * const result = await engine.run(double, 21, { runId: "r-1" });
 * console.log(result.output); // => 42
 * await engine.close();
 * ```
 */
export function createEngine(options: Partial<EngineOptions> = {}): Engine {
  return new Engine({ ...options, store: options.store ?? openDefaultStore() });
}

/** Engines of the process that nobody closes: the default one, and one for each store that `execute` was given. */
let standard: Engine | null = null;
const byStore = new WeakMap<Store, Engine>();

/** The engine that runs workflows on this store, or on the default one. The same store has the same engine. */
export function engineFor(store?: Store): Engine {
  if (store === undefined) return (standard ??= createEngine());
  let engine = byStore.get(store);
  if (engine === undefined) {
    engine = createEngine({ store });
    byStore.set(store, engine);
  }
  return engine;
}
