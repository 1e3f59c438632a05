import { ConfigError } from "../core/errors.ts";
import type { Store } from "../core/store.ts";
import { MemoryStore } from "./memory.ts";
import { SqliteStore } from "./sqlite.ts";

/**
 * The store that a URL names: `memory:`, `sqlite:path/to/file.db`, or a bare path to a SQLite file. Throws
 * `ConfigError` for a scheme that this version does not know; `source` says in the message where the URL came from.
 */
export function openStore(url: string, source = "The store URL"): Store {
  if (url === "") throw new ConfigError(`${source} is empty. Give memory: or sqlite:path/to/file.db.`);
  if (url === "memory:") return new MemoryStore();
  const path = sqlitePath(url);
  if (path !== undefined) return new SqliteStore(path);
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
