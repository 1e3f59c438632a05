/** The only reader of `process.env` below the command line (C4.5). */

/** Where the default store is, as the environment says it; undefined where it says nothing. */
export function storeUrlOfEnvironment(): string | undefined {
  return process.env["RESILIENCE_STORE_URL"];
}
