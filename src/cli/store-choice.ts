import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { ConfigError, NotFoundError } from "../core/errors.ts";
import type { Store } from "../core/store.ts";
import { DEFAULT_STORE_URL } from "../default-engine.ts";
import { storeUrlOfEnvironment } from "../executor/environment.ts";
import { openStore, sqlitePath } from "../stores/open.ts";

/** Which store a command works on, and who says so. */
export class StoreChoice {
  readonly url: string;
  /** Null where nobody says so, and it is the default one. */
  readonly source: "--store" | "RESILIENCE_STORE_URL" | null;

  /** What `--store` says, else `RESILIENCE_STORE_URL`, else the default file. */
  constructor(option: string | undefined) {
    const fromEnvironment = storeUrlOfEnvironment();
    this.url = option ?? fromEnvironment ?? DEFAULT_STORE_URL;
    this.source = option !== undefined ? "--store" : fromEnvironment !== undefined ? "RESILIENCE_STORE_URL" : null;
  }

  /** The file of the store; undefined where it is none. */
  get path(): string | undefined {
    const path = sqlitePath(this.url);
    return path && resolve(path);
  }

  /** Opens the store, and makes it where there is none. */
  open(): Store {
    return openStore(this.url, this.source ?? undefined);
  }

  /**
   * Opens the store to look at what is there. Looking makes no store: where somebody has named one that does not exist
   * that is an error, and where the default one does not exist, nothing has been run yet: undefined.
   */
  openExisting(): Store | undefined {
    const { path } = this;
    if (this.url === "memory:")
      throw new ConfigError(`${this.source} is memory:, which ends with its process. Name a store that is kept.`);
    if (path === undefined || existsSync(path)) return this.open();
    if (this.source === null) return undefined;
    throw new NotFoundError(`There is no store ${path}, which ${this.source} names.`);
  }

  /** The same for what only a store can have: where there is none, `what` is not found. */
  openFor(what: string): Store {
    const store = this.openExisting();
    if (store === undefined) throw new NotFoundError(`There is no ${what}: nothing has been run on ${this.path} yet.`);
    return store;
  }

  /** The option that names this store again, to be put behind a command; empty where the command finds it by itself. */
  get argument(): string[] {
    return this.source === "--store" ? ["--store", this.url] : [];
  }
}
