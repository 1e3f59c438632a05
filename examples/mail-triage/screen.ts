/** How often a live line is drawn anew, and how often a plain one is added where there is no terminal. */
const LIVE_MS = 100;
const PLAIN_MS = 2000;

/** Shows how far things are: on a terminal in one line that changes, else in a plain line now and then. */
export class Screen {
  readonly #isLive = process.stdout.isTTY === true;
  #drawnAt = -Infinity;
  #live = false;

  /** A line that stays. */
  say(text: string): void {
    process.stdout.write(`${this.#live ? "\r\x1b[K" : ""}${text}\n`);
    this.#live = false;
  }

  /** Draws what `text` gives, if it is time to. */
  progress(text: () => string): void {
    const now = performance.now();
    if (now - this.#drawnAt < (this.#isLive ? LIVE_MS : PLAIN_MS)) return;
    this.#drawnAt = now;
    if (!this.#isLive) return this.say(text());
    const width = process.stdout.columns || 80;
    process.stdout.write(`\r\x1b[K${text().slice(0, width - 1)}`);
    this.#live = true;
  }
}
