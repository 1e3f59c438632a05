import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Clock, systemClock, type Timer } from "../../src/core/clock.ts";
import { Events } from "../../src/core/events.ts";
import { systemRandom } from "../../src/core/random.ts";
import type { Runtime } from "../../src/core/runtime.ts";
import { createEngine } from "../../src/default-engine.ts";
import type { Engine } from "../../src/engine/engine.ts";
import type { Runnable } from "../../src/engine/runnable.ts";
import * as holdfast from "../../src/index.ts";
import { FileBlobs } from "../../src/stores/file-blobs.ts";
import { SqliteStore } from "../../src/stores/sqlite.ts";
import { goldenWorkflows, TYPES } from "./workflows.ts";

/** When the golden runs began. */
export const BEGIN = 1_767_225_600_000;
const DAY_MS = 24 * 3_600_000;

/** The clock of the machine, set to another time. */
class ShiftedClock extends Clock {
  readonly #ahead: number;

  constructor(wallNow: number) {
    super();
    this.#ahead = wallNow - systemClock.wallNow();
  }

  now(): number {
    return systemClock.now();
  }

  wallNow(): number {
    return systemClock.wallNow() + this.#ahead;
  }

  timer(delayMs: number, fn: () => void): Timer {
    return systemClock.timer(delayMs, fn);
  }

  afterTurn(fn: () => void): void {
    systemClock.afterTurn(fn);
  }
}

/** A golden store as the code at hand reads it. */
export interface Reading {
  readonly store: SqliteStore;
  readonly engine: Engine;
  readonly workflows: Readonly<Record<string, Runnable>>;
  readonly runtime: Runtime;
  /** The work that was done since: in which run, what, and when. */
  readonly calls: { readonly runId: string; readonly what: string; readonly at: number }[];
}

export interface ReadOptions {
  /** When the store is read, in wall-clock milliseconds. 40 days later all that waited for days is due. */
  at?: number;
  /** Changes the copy of the file beforehand. */
  change?: (path: string) => void;
}

/** Gives a copy of a golden store to `read`. What is committed stays as it is. */
export async function readCopy<T>(
  folder: string,
  read: (reading: Reading) => Promise<T>,
  { at = BEGIN + 40 * DAY_MS, change = () => {} }: ReadOptions = {},
): Promise<T> {
  const copy = mkdtempSync(join(tmpdir(), "holdfast-golden-"));
  const path = join(copy, "runs.db");
  const clock = new ShiftedClock(at);
  const runtime: Runtime = { clock, random: systemRandom, events: new Events(clock) };
  const calls: Reading["calls"] = [];
  const { current } = goldenWorkflows(holdfast, (runId, what) => void calls.push({ runId, what, at: clock.wallNow() }));
  try {
    cpSync(folder, copy, { recursive: true });
    change(path);
    const store = new SqliteStore(path, { clock });
    const blobs = new FileBlobs(join(copy, "blobs"));
    const engine = createEngine({ store, blobs, workflows: Object.values(current), types: TYPES, runtime });
    try {
      return await read({ store, engine, workflows: current, runtime, calls });
    } finally {
      await engine.close();
    }
  } finally {
    rmSync(copy, { recursive: true });
  }
}
