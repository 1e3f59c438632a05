import type { Timer } from "../core/clock.ts";
import { checkOptions, durationMs, positiveMs, type Rules, wholeNumber } from "../core/options.ts";
import type { Runtime } from "../core/runtime.ts";
import type { RedrivePace } from "./redriving.ts";

export interface AutoRedriveOptions extends Pick<RedrivePace, "staggerMs" | "concurrency" | "limit"> {
  /** How often it is looked which entries are due; each look reads all that are pending. @default 30000 */
  everyMs?: number | undefined;
}

const RULES: Rules<AutoRedriveOptions> = {
  everyMs: positiveMs,
  staggerMs: durationMs,
  concurrency: wholeNumber(1, true),
  limit: wholeNumber(1, true),
};

/** Has what is due redriven again and again, one round after the other, until `closed` aborts. Keeps no process alive. */
export function redriveNowAndThen(
  { clock, events }: Runtime,
  closed: AbortSignal,
  options: AutoRedriveOptions,
  round: (pace: RedrivePace) => Promise<unknown>,
): void {
  const { everyMs = 30_000, ...pace } = checkOptions("engine.autoRedrive", options, RULES);
  let timer: Timer;
  const wait = (): void => {
    if (closed.aborted) return;
    timer = clock.timer(everyMs, () => void once());
    timer.unref();
  };
  async function once(): Promise<void> {
    try {
      await round(pace);
    } catch (error) {
      if (!closed.aborted) events.emit?.("dead_letter.round_failed", { error });
    }
    wait();
  }
  closed.addEventListener("abort", () => timer.cancel(), { once: true });
  wait();
}
