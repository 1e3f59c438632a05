import { checkOptions, numberBetween, type Rules, wholeNumber } from "../core/options.ts";

/** How often the state of a long run is stored whole, so that carrying the run on does not begin with its first event. */
export interface SnapshotOptions {
  /** How many events come between two snapshots, at least. @default 1000 */
  minEvents?: number | undefined;
  /**
   * How many bytes snapshots may add to a run, for each of its events. The state grows with the run, so that the longer
   * a run is, the further apart they are. @default 40
   */
  bytesPerEvent?: number | undefined;
}

const RULES: Rules<SnapshotOptions> = {
  minEvents: wholeNumber(1, true),
  bytesPerEvent: numberBetween(0, Infinity),
};

/** The options of snapshots, checked. */
export function snapshotOptions(options: SnapshotOptions): SnapshotOptions {
  return checkOptions("engine.snapshots", options, RULES);
}

/**
 * When a run is to store its state. A snapshot of every thousandth event would be quadratic: the state lists all that
 * has ended. So each must be earned: it is stored when the events since the last one are many enough to pay for it at
 * so many bytes each. The state takes about 16 bytes for each event (31 for an invocation), so that at 40 bytes for each
 * new one the distance grows with the run: what is replayed after a snapshot is at most two fifths of all events, a step
 * takes at most 80 bytes more however long the run is, and the time to write snapshots stays at some 10 microseconds a
 * step. More bytes would buy a shorter replay at the price of that time: it is spent two and a half times at 40 bytes,
 * five times at 80.
 */
export class SnapshotSchedule {
  readonly #minEvents: number;
  readonly #bytesPerEvent: number;
  /** Events since the last one. */
  #events = 0;
  #records: number;
  /** What the last one took, or would have taken where it was too large, and how many records there were. */
  #last: { readonly bytes: number; readonly records: number };

  /** With the last snapshot that there is, by its size and its number in the journal; both are 0 without one. */
  constructor({ minEvents = 1000, bytesPerEvent = 40 }: SnapshotOptions, bytes: number, records: number) {
    this.#minEvents = minEvents;
    this.#bytesPerEvent = bytesPerEvent;
    this.#records = records;
    this.#last = { bytes, records };
  }

  /** Counts the events of a record. */
  count(events: number): void {
    this.#events += events;
    this.#records++;
  }

  /**
   * Whether it is worth trying. The state is taken to have grown with the journal, so that none is encoded in vain, but
   * to no more than twice its size: it may have shrunk instead, when the steps of a long node were no longer needed.
   */
  get isDue(): boolean {
    const { bytes, records } = this.#last;
    const growth = Math.min(this.#records / Math.max(records, 1), 2);
    return this.#events >= this.#minEvents && this.#isPaidFor(bytes * growth);
  }

  /** Whether a snapshot of that size is to be stored. */
  take(bytes: number): boolean {
    this.#last = { bytes, records: this.#records };
    if (!this.#isPaidFor(bytes)) return false;
    this.#events = 0;
    return true;
  }

  #isPaidFor(bytes: number): boolean {
    return bytes <= this.#events * this.#bytesPerEvent;
  }
}
