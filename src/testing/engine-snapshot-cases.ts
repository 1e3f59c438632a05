import { deepEqual, equal, match, ok } from "node:assert/strict";
import type { NodeContext } from "../core/node.ts";
import { rejection } from "./contract-case.ts";
import {
  Broken,
  type EngineCases,
  type EngineLimits,
  type EngineWorld,
  fail,
  type RunOutcome,
} from "./engine-world.ts";
import type { FaultyStore } from "./faulty-store.ts";

/** The state is stored with each commit: whatever it leaves out is missed soon. */
const EACH: EngineLimits = { snapshots: { minEvents: 1, bytesPerEvent: Infinity } };

/** Longer than what a state repeats instead of naming its place. */
const long = (text: string): string => `${text} ${"and so on ".repeat(20)}`;

interface Talk {
  round: number;
  said: string;
}

/** A loop, steps, retries, a backup and a join, with values long and short. */
function talk(world: EngineWorld<unknown>): unknown {
  const { log } = world;
  const step = async <T>(context: NodeContext, name: string, value: T): Promise<T> => {
    const made = `${name} of ${context.invocationId}`;
    let isNew = false;
    const output = await context.step(name, () => {
      isNew = true;
      log.called(context.runId, made);
      return value;
    });
    if (isNew) log.acknowledged(context.runId, made);
    return output;
  };
  const think = async ({ round, said }: Talk, context: NodeContext): Promise<Talk> => {
    const heard = await step(context, "hear", long(`heard in round ${round}`));
    if (context.attempt < 2) throw new Broken("once more");
    const answer = await step(context, "answer", round * 10);
    return { round: round + 1, said: `${said} ${answer} ${heard.length}` };
  };
  return world.workflow({
    concurrency: 2,
    nodes: {
      start: world.node((n: number) => ({ round: n, said: long("once") })),
      aside: world.node(({ said }: Talk) => long(said)),
      doomed: world.node(fail("doomed")),
      spare: world.node(({ round }: Talk) => round),
      think: world.node(think),
      join: world.node((all: Record<string, unknown>) => JSON.stringify(all)),
    },
    edges: [
      ["start", "aside"],
      ["start", "doomed"],
      ["start", "think"],
      ["think", "think", undefined, ({ round }: Talk) => round < 4],
      ["think", "join", undefined, ({ round }: Talk) => round >= 4],
      ["aside", "join"],
      ["doomed", "join"],
    ],
    fallbacks: [["doomed", "spare"]],
    policies: { think: { retry: { maxAttempts: 2, initialDelayMs: 100 } } },
    forms: { think: { join: "any" } },
  });
}

function essence({ output, status, degraded, nodeFailures, agentSteps }: RunOutcome) {
  const steps = agentSteps.map(({ invocationId, servedBy, error }) => [invocationId, servedBy, error?.message]);
  return { output, status, degraded, nodeFailures, steps: steps.toSorted() };
}

/** Whether a life of a run came to its end. */
function lived(life: Promise<unknown>): Promise<boolean> {
  return life.then(
    () => true,
    () => false,
  );
}

/** A chain of nodes with long outputs, of which the last needs the first. Dies before its last node has been stored. */
async function interrupted(world: EngineWorld<unknown>): Promise<{ workflow: unknown; snapshot: number }> {
  const workflow = world.workflow({
    nodes: {
      a: world.node((n: number) => long(`a of ${n}`)),
      b: world.node((text: string) => long(`b of ${text.length}`)),
      c: world.node((text: string) => long(`c of ${text.length}`)),
      end: world.node((all: Record<string, string>) => Object.values(all).map((text) => text.slice(0, 8))),
    },
    edges: [
      ["a", "b"],
      ["b", "c"],
      ["a", "end"],
      ["c", "end"],
    ],
  });
  const handle = world.handle();
  const isLast = ({ body }: { body: Uint8Array }): boolean => new TextDecoder().decode(body).includes("run_completed");
  handle.onAppend = (moment, _, append) => {
    if (moment === "asked" && isLast(append)) handle.down = true;
  };
  equal(await lived(world.engine({ ...EACH, store: handle }).run(workflow, 1, { runId: "r" })), false);
  await world.leasesRunOut();
  return { workflow, snapshot: (await world.store.get("r"))!.snapshot!.seq };
}

const OUTPUT = ["a of 1 a", "c of 209"];

/** A way to the store on which a record is read with another content than was written. */
function damaging(world: EngineWorld<unknown>, seq: number): FaultyStore {
  const handle = world.handle();
  handle.onRead = (_, records) => {
    for (const record of records) if (record.seq === seq) record.body[20]! ^= 1;
    return records;
  };
  return handle;
}

/** What long runs do, whose state is stored whole now and then. */
export const SNAPSHOTS: EngineCases = {
  "a run whose state is stored with each commit ends as any other, whichever write it dies at (C6.2)": async (
    world,
  ) => {
    const undisturbed = await world.another(async (other) =>
      essence(await other.finish(other.engine().run(talk(other), 1, { runId: "r" }))),
    );
    equal(undisturbed.status, "completed");
    const workflow = talk(world);
    let fromState = 0;
    for (const moment of ["asked", "stored"] as const) {
      for (let n = 1; ; n++) {
        const runId = `${moment} ${n}`;
        const first = world.handle();
        first.dieAt(n, moment);
        if (await lived(world.finish(world.engine({ ...EACH, store: first }).run(workflow, 1, { runId })))) {
          ok(n > 20, `it makes more than twenty writes, and lived when it was to die at ${n}`);
          break;
        }
        await world.leasesRunOut();
        const second = world.handle();
        second.onRead = (_, records) => {
          if ((records[0]?.seq ?? 0) > 0) fromState++;
          return records;
        };
        const outcome = await world.finish(world.engine({ ...EACH, store: second }).run(workflow, 1, { runId }));
        deepEqual(essence(outcome), undisturbed, runId);
        deepEqual(world.log.violations(), [], runId);
      }
    }
    ok(fromState > 20, "most of them were read from their state on");
  },

  "a run with few events stores no state, and one whose state is large for its events stores none either (design §5)":
    async (world) => {
      const workflow = talk(world);
      for (const snapshots of [undefined, { minEvents: 1, bytesPerEvent: 1 }]) {
        const runId = JSON.stringify({ snapshots });
        await world.finish(world.engine(snapshots && { snapshots }).run(workflow, 1, { runId }));
        equal((await world.store.get(runId))?.snapshot, null);
      }
    },

  "a state that is damaged is passed over and reported, and what was acknowledged is not done again (C6.7)": async (
    world,
  ) => {
    const { workflow, snapshot } = await interrupted(world);
    const { output } = await world.engine({ store: damaging(world, snapshot) }).run(workflow, 1, { runId: "r" });
    deepEqual(output, OUTPUT);
    deepEqual(
      ["a#0", "b#0", "c#0"].map((id) => world.log.callsOf(id)),
      [1, 1, 1],
    );
    deepEqual(
      world.eventsOf("journal.damaged").map(({ seq }) => seq),
      [snapshot],
    );
  },

  "an old value that is damaged is not believed: the run stops, and goes on from before it when it is run again (C6.7)":
    async (world) => {
      const { workflow } = await interrupted(world);
      const first = world.engine({ store: damaging(world, 2) }).run(workflow, 1, { runId: "r" });
      const error = await rejection(first, "STORE_CORRUPT");
      match(error.message, /Record \d+ of run "r" is damaged/);
      equal(world.eventsOf("journal.damaged")[0]?.seq, 2);
      const { output, status } = await world.engine().run(workflow, 1, { runId: "r" });
      deepEqual([status, output], ["completed", OUTPUT]);
      equal(world.log.callsOf("b#0"), 2);
    },
};
