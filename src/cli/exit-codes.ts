import { codeOf } from "../core/errors.ts";

/** What a command ends with, the same for all of them. 5 is kept for a run that waits and is not waited for, which is planned. */
export const EXIT = { OK: 0, RUN_FAILED: 1, USAGE: 2, NOT_FOUND: 3, STORE: 4, SIGINT: 130, SIGTERM: 143 } as const;

const OF_CODES: Record<string, number> = {
  NOT_FOUND: EXIT.NOT_FOUND,
  STORE_UNAVAILABLE: EXIT.STORE,
  STORE_CORRUPT: EXIT.STORE,
};

/** The exit code for a command that could not be carried out. By code, since a workflow may bring its own copy of us. */
export function exitCodeOf(error: unknown): number {
  return OF_CODES[codeOf(error) ?? ""] ?? EXIT.USAGE;
}
