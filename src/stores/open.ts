import { ConfigError } from "../core/errors.ts";
import type { SharedState } from "../core/shared-state.ts";
import type { Store } from "../core/store.ts";
import { MemorySharedState } from "./memory-shared-state.ts";
import { MemoryStore } from "./memory.ts";
import { SqliteSharedState } from "./sqlite-shared-state.ts";
import { SqliteStore } from "./sqlite.ts";

/**
 * The store that a URL names: `memory:`, `sqlite:path/to/file.db`, or a bare path to a SQLite file. Throws
 * `ConfigError` for a scheme that this version does not know; `source` says in the message where the URL came from.
 */
export function openStore(url: string, source = "The store URL"): Store {
  return opened<Store>(url, source, { memory: () => new MemoryStore(), sqlite: (path) => new SqliteStore(path) });
}

/**
 * The shared state that a URL names, as for `openStore`: `memory:`, which one process shares with itself only, or a
 * SQLite file, which may be that of a store.
 */
export function openSharedState(url: string, source = "The URL of the shared state"): SharedState {
  return opened<SharedState>(url, source, {
    memory: () => new MemorySharedState(),
    sqlite: (path) => new SqliteSharedState(path),
  });
}

function opened<T>(url: string, source: string, kinds: { memory(): T; sqlite(path: string): T }): T {
  if (url === "") throw new ConfigError(`${source} is empty. Give memory: or sqlite:path/to/file.db.`);
  if (url === "memory:") return kinds.memory();
  const path = sqlitePath(url);
  if (path !== undefined) return kinds.sqlite(path);
  throw new ConfigError(
    `${source} is "${withoutSecrets(url)}", which names no store. Give memory: or sqlite:path/to/file.db.`,
  );
}

/** The file that a store URL names: a bare path, or what comes after `sqlite:`. Undefined for another kind of store. */
export function sqlitePath(url: string): string | undefined {
  const [, scheme, rest = ""] = /^([a-z][a-z0-9+.-]+):(.*)$/s.exec(url) ?? [];
  const path = scheme === undefined ? url : scheme === "sqlite" ? rest : "";
  return path === "" ? undefined : path;
}

// A URL of another kind of store may carry a password.
function withoutSecrets(url: string): string {
  return url.replace(/\/\/[^@/]*@/, "//***@");
}
