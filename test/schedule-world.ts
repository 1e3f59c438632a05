import { StoreUnavailableError } from "../src/core/errors.ts";
import type { HoldfastEvent } from "../src/core/events.ts";
import { newRun, type RunRow } from "../src/core/store.ts";
import type { Runnable } from "../src/engine/runnable.ts";
import type { ScheduledRuns } from "../src/engine/schedule-watch.ts";
import { Schedules } from "../src/engine/schedules.ts";
import { MemorySharedState } from "../src/stores/memory-shared-state.ts";
import { type FakeRuntime, fakeRuntime, record } from "../src/testing/fake-clock.ts";
import { FaultySharedState } from "../src/testing/faulty-shared-state.ts";

/** What goes wrong with a start: it is not made, it is made and the answer is lost, or it is never answered. */
export type StartFault = "refused" | "unanswered" | "hangs" | Error | null;

/** A store of runs as schedules see it: the id decides whether a run is started, or is there. */
export class StartedRuns {
  /** The runs that were started, with their inputs, in order. */
  readonly started: { runId: string; input: unknown }[] = [];
  /** Every call, also for a run that is there. */
  readonly asked: string[] = [];
  readonly #rows = new Map<string, RunRow>();

  /** The store as one process reaches it. */
  port(faultOf: (runId: string) => StartFault = () => null): ScheduledRuns {
    return {
      know() {},
      start: async (workflow, input, runId) => {
        this.asked.push(runId);
        const fault = faultOf(runId);
        if (fault instanceof Error) throw fault;
        if (fault === "hangs") await new Promise(() => {});
        if (fault === "refused") throw new StoreUnavailableError("The store cannot be reached: a test says so.");
        if (!this.#rows.has(runId)) {
          this.#rows.set(runId, { ...newRun(runId, workflow.definition.id, 0), version: 1 });
          this.started.push({ runId, input });
        }
        if (fault === "unanswered") throw new StoreUnavailableError("The answer is lost: a test says so.");
      },
      get: async (runId) => this.#rows.get(runId),
    };
  }

  end(runId: string): void {
    this.#rows.set(runId, { ...this.#rows.get(runId)!, status: "completed" });
  }

  /** The instants whose runs were started, without the date of the first day and the zone. */
  get times(): string[] {
    return this.started.map(({ runId }) => runId.split("@")[1]!.replace("2026-01-01T", "").replace(".000Z", ""));
  }
}

/** A process that has schedules, on a connection of its own to what all of them share. */
export interface Process {
  readonly runtime: FakeRuntime;
  readonly state: FaultySharedState;
  readonly schedules: Schedules;
  readonly events: HoldfastEvent[];
  /** What goes wrong with each start from now on. */
  fault: StartFault;
  /** Ends it as a kill does: nothing of it reaches the place or the store any more. */
  kill(): void;
}

/** Processes that share one place and one store; they share a clock too, unless a test gives one its own. */
export class ScheduleWorld {
  readonly runs: StartedRuns = new StartedRuns();
  readonly runtime: FakeRuntime = fakeRuntime();
  readonly place: MemorySharedState = new MemorySharedState({ clock: this.runtime.clock });

  readonly #processes: Process[] = [];

  /** Ends all that runs, and waits for nothing. */
  end(): void {
    for (const process of this.#processes) process.kill();
  }

  process(): Process {
    const { clock, random } = this.runtime;
    const runtime = { ...fakeRuntime(), clock, random };
    const state = new FaultySharedState(this.place);
    const process: Process = {
      runtime,
      state,
      events: record(runtime.events),
      schedules: new Schedules({ runtime, state, runs: this.runs.port(() => process.fault) }),
      fault: null,
      kill() {
        process.fault = "hangs";
        state.fault = "hangs";
        void process.schedules.close();
      },
    };
    this.#processes.push(process);
    return process;
  }
}

/** A workflow of which nothing but its id matters. */
export function workflowCalled(id: string): Runnable<unknown> {
  return { definition: { id } } as Runnable<unknown>;
}
