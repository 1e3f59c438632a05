import { systemClock, type Timer } from "../core/clock.ts";
import type { EventListener } from "../core/events.ts";
import { cleanLines } from "./text.ts";
import { follow, frame, isLasting, type Progress, transition } from "./progress.ts";
import type { Terminal } from "./terminal.ts";

/** How often the live region is drawn: often enough for a countdown in tenths. */
const FRAME_MS = 100;

/** Somebody who shows how a run goes. */
export interface Watcher {
  readonly onEvent: EventListener;
  /** Shows a line of a node's own log. */
  log(text: string): void;
  /** Takes away what is not to stay. */
  end(): void;
}

/** Shows a run as it goes: one region that is drawn again and again on a terminal, a line for each transition elsewhere. */
export async function watch(terminal: Terminal, progress: Progress): Promise<Watcher> {
  return terminal.isLive ? await liveRegion(terminal, progress) : plainLines(terminal, progress);
}

function plainLines(terminal: Terminal, progress: Progress): Watcher {
  return {
    onEvent(event) {
      const line = transition(progress, event);
      follow(progress, event);
      if (line !== undefined) terminal.talk(line);
    },
    log: terminal.log,
    end() {},
  };
}

async function liveRegion(terminal: Terminal, progress: Progress): Promise<Watcher> {
  const { createLogUpdate } = await import("log-update");
  const region = createLogUpdate(terminal.screen);
  let timer: Timer;
  const draw = (): void => {
    const { columns, rows } = terminal.screen;
    region(frame(progress, systemClock.wallNow(), columns, rows));
    timer = systemClock.timer(FRAME_MS, draw);
    timer.unref();
  };
  const above = (text: string): void => {
    region.clear();
    terminal.talk(text);
    timer.cancel();
    draw();
  };
  draw();
  return {
    onEvent(event) {
      const line = isLasting(progress, event) ? transition(progress, event) : undefined;
      follow(progress, event);
      if (line !== undefined) above(line);
    },
    log: (text) => above(cleanLines(text).trimEnd()),
    end() {
      timer.cancel();
      region.clear();
      region.done();
    },
  };
}
