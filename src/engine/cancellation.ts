import type { Codec } from "../core/codec.ts";
import { HoldfastError, messageOf } from "../core/errors.ts";
import type { Signal } from "../core/store.ts";

/** The signal by which a run is cancelled that another process carries out. Users' names do not begin like this. */
export const CANCEL = "$cancel";

/** Why a run is cancelled by `engine.cancel`, and whether what it did is to be undone. */
export class Cancellation extends HoldfastError {
  readonly compensate: boolean;

  constructor(reason: unknown, compensate: boolean) {
    // A reason that is a text is the message, and no cause.
    super("CANCELLED", messageOf(reason), reason instanceof Error ? { cause: reason } : {});
    this.compensate = compensate;
  }
}

export function asksForCompensation(reason: unknown): boolean {
  return reason instanceof Cancellation && reason.compensate;
}

/** What a signal asks for: a cancellation, or undefined where it is a user's own. */
export function cancellationIn({ name, payload }: Signal, codec: Codec): Cancellation | undefined {
  if (name !== CANCEL) return undefined;
  const { reason, compensate } = codec.decode(payload) as { reason: string; compensate: boolean };
  return new Cancellation(reason, compensate);
}
