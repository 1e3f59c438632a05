import type { Clock } from "../core/clock.ts";
import type { Events, HoldfastEvent } from "../core/events.ts";
import { checkOptions, type Rules, wholeNumber } from "../core/options.ts";

export interface EventStreamOptions {
  /** How many events wait for a reader who is slow. The oldest are dropped beyond that. @default 1000 */
  buffer?: number | undefined;
}

const RULES: Rules<EventStreamOptions> = { buffer: wholeNumber(1) };

/**
 * Events for a reader who takes them one after the other. He may be slower than they come: then the oldest are dropped,
 * and `events.dropped` stands in their place. Work never waits for a reader.
 */
export class EventStream implements AsyncIterableIterator<HoldfastEvent> {
  readonly #clock: Clock;
  readonly #most: number;
  readonly #unsubscribe: () => void;
  readonly #onEnd: () => void;
  readonly #events: HoldfastEvent[] = [];
  #dropped = 0;
  #lastDropped = 0;
  #readers: ((result: IteratorResult<HoldfastEvent>) => void)[] = [];
  #ended = false;

  constructor(events: Events, clock: Clock, options: EventStreamOptions, onEnd: () => void) {
    this.#clock = clock;
    this.#most = checkOptions("engine.events", options, RULES).buffer ?? 1000;
    this.#onEnd = onEnd;
    this.#unsubscribe = events.on((event) => this.#put(event));
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<HoldfastEvent>> {
    const value = this.#droppedOnes() ?? this.#events.shift();
    if (value !== undefined) return { value, done: false };
    if (this.#ended) return { value: undefined, done: true };
    return new Promise((resolve) => this.#readers.push(resolve));
  }

  /** Ends the stream for a reader who has had enough: what waits for him is given up. */
  async return(): Promise<IteratorResult<HoldfastEvent>> {
    this.#events.length = this.#dropped = 0;
    this.end();
    return { value: undefined, done: true };
  }

  /** Nothing more comes. What has come already can still be read. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#unsubscribe();
    for (const resolve of this.#readers.splice(0)) resolve({ value: undefined, done: true });
    this.#onEnd();
  }

  #put(event: HoldfastEvent): void {
    const reader = this.#readers.shift();
    if (reader !== undefined) return reader({ value: event, done: false });
    this.#events.push(event);
    if (this.#events.length <= this.#most) return;
    this.#lastDropped = this.#events.shift()!.seq;
    this.#dropped++;
  }

  /** Says once that events are missing here; it is told to this reader only. */
  #droppedOnes(): HoldfastEvent | undefined {
    if (this.#dropped === 0) return undefined;
    const count = this.#dropped;
    this.#dropped = 0;
    return { type: "events.dropped", at: this.#clock.wallNow(), seq: this.#lastDropped, count };
  }
}
