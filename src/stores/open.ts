import { ConfigError } from "../core/errors.ts";
import type { SharedState } from "../core/shared-state.ts";
import type { Store } from "../core/store.ts";
import { MemorySharedState } from "./memory-shared-state.ts";
import { MemoryStore } from "./memory.ts";
import { SqliteSharedState } from "./sqlite-shared-state.ts";
import { SqliteStore, type SqliteStoreOptions } from "./sqlite.ts";

/**
 * The store that a URL names: `memory:`, `sqlite:path/to/file.db`, or a bare path to a SQLite file. What a SQLite store
 * promises may be said behind it: `sqlite:path/to/file.db?durability=relaxed`. Throws `ConfigError` for a scheme or a
 * parameter that this version does not know; `source` says in the message where the URL came from.
 */
export function openStore(url: string, source = "The store URL"): Store {
  return opened<Store>(url, source, {
    memory: () => new MemoryStore(),
    sqlite: (path, parameters) => new SqliteStore(path, storeOptions(url, source, parameters)),
  });
}

/**
 * The shared state that a URL names, as for `openStore`: `memory:`, which one process shares with itself only, or a
 * SQLite file, which may be that of a store.
 */
export function openSharedState(url: string, source = "The URL of the shared state"): SharedState {
  return opened<SharedState>(url, source, {
    memory: () => new MemorySharedState(),
    sqlite: (path, parameters) => {
      for (const [name] of parameters) throw parameterError(url, source, name, "a shared state has none");
      return new SqliteSharedState(path);
    },
  });
}

function opened<T>(
  url: string,
  source: string,
  kinds: { memory(): T; sqlite(path: string, parameters: URLSearchParams): T },
): T {
  if (url === "") throw new ConfigError(`${source} is empty. Give memory: or sqlite:path/to/file.db.`);
  if (url === "memory:") return kinds.memory();
  const named = sqliteFile(url);
  if (named !== undefined) return kinds.sqlite(named.path, named.parameters);
  throw new ConfigError(
    `${source} is "${withoutSecrets(url)}", which names no store. Give memory: or sqlite:path/to/file.db.`,
  );
}

function storeOptions(url: string, source: string, parameters: URLSearchParams): SqliteStoreOptions {
  const options: SqliteStoreOptions = {};
  for (const [name, value] of parameters) {
    if (name !== "durability" || (value !== "full" && value !== "relaxed"))
      throw parameterError(url, source, `${name}=${value}`, "it may be durability=full or durability=relaxed");
    options.durability = value;
  }
  return options;
}

function parameterError(url: string, source: string, parameter: string, known: string): ConfigError {
  return new ConfigError(`${source} is "${url}" with the parameter "${parameter}"; ${known}.`);
}

/** The file that a store URL names: a bare path, or what comes after `sqlite:`. Undefined for another kind of store. */
export function sqlitePath(url: string): string | undefined {
  return sqliteFile(url)?.path;
}

// A bare path has no parameters: a file may have a question mark in its name.
function sqliteFile(url: string): { path: string; parameters: URLSearchParams } | undefined {
  const [, scheme, path = "", parameters = ""] = /^([a-z][a-z0-9+.-]+):([^?]*)(?:\?(.*))?$/s.exec(url) ?? [];
  if (scheme !== undefined && scheme !== "sqlite") return undefined;
  const named = scheme === undefined ? url : path;
  return named === "" ? undefined : { path: named, parameters: new URLSearchParams(parameters) };
}

// A URL of another kind of store may carry a password.
function withoutSecrets(url: string): string {
  return url.replace(/\/\/[^@/]*@/, "//***@");
}
