import { ConfigError } from "../core/errors.ts";
import type { Store } from "../core/store.ts";
import { MemoryStore } from "./memory.ts";
import { SqliteStore } from "./sqlite.ts";

/**
 * The store that a URL names: `memory:`, `sqlite:path/to/file.db`, or a bare path to a SQLite file. Throws
 * `ConfigError` for a scheme that this version does not know; `source` says in the message where the URL came from.
 */
export function openStore(url: string, source = "The store URL"): Store {
  const [, scheme, rest = ""] = /^([a-z][a-z0-9+.-]+):(.*)$/s.exec(url) ?? [];
  if (url === "") throw new ConfigError(`${source} is empty. Give memory: or sqlite:path/to/file.db.`);
  if (scheme === undefined) return new SqliteStore(url);
  if (scheme === "memory" && rest === "") return new MemoryStore();
  if (scheme === "sqlite" && rest !== "") return new SqliteStore(rest);
  throw new ConfigError(
    `${source} is "${withoutSecrets(url)}", which names no store. Give memory: or sqlite:path/to/file.db.`,
  );
}

// A URL of another kind of store may carry a password.
function withoutSecrets(url: string): string {
  return url.replace(/\/\/[^@/]*@/, "//***@");
}
