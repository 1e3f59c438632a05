import { deepEqual, equal, match, ok } from "node:assert/strict";
import { codeOf } from "../core/errors.ts";
import { type Random, seededRandom } from "../core/random.ts";
import type { StoredRecord } from "../core/record.ts";
import { rejection } from "./contract-case.ts";
import { Broken, type EngineCases, type EngineWorld, gate } from "./engine-world.ts";

type Damage = (records: StoredRecord[], random: Random) => StoredRecord[];

const pick = (random: Random, below: number): number => Math.floor(random() * below);

/** Ways in which stored records may be damaged. All of them change what is read. */
const DAMAGES: Record<string, Damage> = {
  "a flipped bit": (records, random) => {
    const { body } = records[pick(random, records.length)]!;
    body[pick(random, body.length)]! ^= 1 << pick(random, 8);
    return records;
  },
  "a flipped checksum": (records, random) => {
    records[pick(random, records.length)]!.checksum ^= 1 << pick(random, 31);
    return records;
  },
  "a record cut short": (records, random) => {
    const record = records[pick(random, records.length)]!;
    record.body = record.body.slice(0, pick(random, record.body.length));
    return records;
  },
  "a record filled with zeros": (records, random) => {
    records[pick(random, records.length)]!.body.fill(0);
    return records;
  },
  "two records swapped": (records, random) => {
    const a = pick(random, records.length - 1);
    const [first, second] = [records[a]!, records[a + 1 + pick(random, records.length - 1 - a)]!];
    [first.body, second.body] = [second.body, first.body];
    [first.checksum, second.checksum] = [second.checksum, first.checksum];
    return records;
  },
  "a record left out": (records, random) => {
    const gone = pick(random, records.length - 1);
    return records.filter((_, i) => i !== gone).map((record, seq) => ({ ...record, seq }));
  },
  "a record written twice": (records, random) => {
    const twice = pick(random, records.length);
    return records.toSpliced(twice, 0, records[twice]!).map((record, seq) => ({ ...record, seq }));
  },
  "a tail that is gone": (records, random) => records.slice(0, pick(random, records.length)),
};

const OUTPUT = { left: "L3", right: "R3" };

function branches(world: EngineWorld<unknown>): unknown {
  return world.workflow({
    nodes: { start: () => 3, left: (n: number) => `L${n}`, right: (n: number) => `R${n}`, join: (all: unknown) => all },
    edges: [
      ["start", "left"],
      ["start", "right"],
      ["left", "join"],
      ["right", "join"],
    ],
  });
}

/** What becomes of a run whose journal is not what was written. */
export const DAMAGE: EngineCases = {
  "a damaged journal gives the right result or a typed error and a report, never a wrong result (C6.7)": async (
    world,
  ) => {
    const workflow = branches(world);
    for (const [name, damage] of Object.entries(DAMAGES)) {
      for (let seed = 1; seed <= 25; seed++) {
        const runId = `${name}, seed ${seed}`;
        // Half of the runs have ended; the others were interrupted before their last write.
        const handle = world.handle();
        if (seed % 2 === 0) handle.dieAt(4, "asked");
        const first = world.engine({ store: handle }).run(workflow, null, { runId });
        await first.catch(() => {});
        await world.leasesRunOut();
        await rewrite(world, runId, (records) => damage(records, seededRandom(seed)));
        const outcome = await world
          .engine()
          .run(workflow, null, { runId })
          .then(
            ({ output, status }) => ({ output, status, code: "none" }),
            (error: unknown) => ({ output: OUTPUT, status: "completed", code: codeOf(error) }),
          );
        deepEqual([outcome.output, outcome.status], [OUTPUT, "completed"], runId);
        ok(["none", "STORE_CORRUPT"].includes(String(outcome.code)), `${runId}: ${outcome.code}`);
        // An interrupted run has no anchor behind its first record, so that a lost tail does not show.
        const mayBeUnseen = seed % 2 === 0 && name === "a tail that is gone";
        const reports = world.eventsOf("journal.damaged").filter((event) => event.runId === runId);
        if (!mayBeUnseen) equal(reports.length, 1, runId);
      }
    }
  },

  "the state before the damage is used, and the rest is set aside and done again (C6.7)": async (world) => {
    const workflow = world.workflow({
      nodes: { a: world.node(() => 1), b: world.node((n: number) => n + 1), c: world.node((n: number) => n * 10) },
      edges: [
        ["a", "b"],
        ["b", "c"],
      ],
    });
    await world.engine().run(workflow, null, { runId: "r" });
    await rewrite(world, "r", (records) => {
      records[2]!.body[10]! ^= 1;
      return records;
    });
    const again = await world.engine().run(workflow, null, { runId: "r" });
    deepEqual([again.status, again.output], ["completed", 20]);
    deepEqual(
      ["a#0", "b#0", "c#0"].map((id) => world.log.callsOf(id)),
      [1, 2, 2],
    );
    const [event] = world.eventsOf("journal.damaged");
    deepEqual([event?.runId, event?.seq], ["r", 2]);
    match(String(event?.why), /checksum does not fit/);
    // It is whole again.
    equal((await world.engine().run(workflow, null, { runId: "r" })).output, 20);
    equal(world.eventsOf("journal.damaged").length, 1);
  },

  "a record of another run does not pass for one of this (C6.7)": async (world) => {
    const workflow = world.workflow({ nodes: { a: world.node((n: number) => n) } });
    const engine = world.engine();
    await engine.run(workflow, 1, { runId: "r" });
    await engine.run(workflow, 2, { runId: "s" });
    const foreign = await world.store.read("s");
    const handle = world.handle();
    handle.onRead = (runId, records) => (runId === "r" ? [records[0]!, foreign[1]!] : records);
    equal((await world.engine({ store: handle }).run(workflow, 1, { runId: "r" })).output, 1);
    equal(world.eventsOf("journal.damaged").length, 1);
    handle.onRead = (runId, records) => (runId === "r" ? foreign : records);
    await rejection(world.engine({ store: handle }).run(workflow, 1, { runId: "r" }), "STORE_CORRUPT");
  },

  "the tail of an ended run that vanished whole is noticed (C6.7)": async (world) => {
    const workflow = world.workflow({ nodes: { a: world.node(() => 1) } });
    await world.engine().run(workflow, null, { runId: "r" });
    await rewrite(world, "r", (records) => records.slice(0, 1));
    equal((await world.engine().run(workflow, null, { runId: "r" })).output, 1);
    deepEqual(
      world.eventsOf("journal.damaged").map(({ why }) => why),
      ["the newest 1 of 2 records known to have been written are gone"],
    );
    equal(world.log.callsOf("a#0"), 2);
  },

  "damage that is gone when it is looked at again leaves an ended run as it is (C6.7, C6.9)": async (world) => {
    const workflow = world.workflow({ nodes: { a: world.node(() => 1) } });
    await world.engine().run(workflow, null, { runId: "r" });
    const handle = world.handle();
    let reads = 0;
    handle.onRead = (_, records) => (++reads === 1 ? records.slice(0, 1) : records);
    equal((await world.engine({ store: handle }).run(workflow, null, { runId: "r" })).output, 1);
    deepEqual([world.log.callsOf("a#0"), (await world.store.get("r"))?.owner], [1, null]);
  },

  "a journal that is damaged from its first record on is an error, each time, and is not started anew (C6.7)": async (
    world,
  ) => {
    const workflow = world.workflow({ nodes: { a: world.node(() => 1) } });
    await world.engine().run(workflow, null, { runId: "r" });
    await rewrite(world, "r", (records) => {
      records[0]!.checksum ^= 1;
      return records;
    });
    for (let i = 0; i < 2; i++) {
      const error = await rejection(world.engine().run(workflow, null, { runId: "r" }), "STORE_CORRUPT");
      match(error.message, /Run|run "r" is damaged from its first record on/);
    }
    equal(world.log.callsOf("a#0"), 1);
    equal((await world.store.get("r"))?.owner, null);
  },

  "a failed run that has lost its end is carried on, and may fail again with its dead letter (C6.7, C7.1)": async (
    world,
  ) => {
    const door = gate();
    const workflow = world.workflow({
      nodes: {
        bad: () => {
          throw new Broken("no");
        },
        slow: async () => door.promise,
      },
    });
    const first = world.engine().run(workflow, null, { runId: "r" });
    await world.settle();
    door.open();
    await first;
    await rewrite(world, "r", (records) => records.slice(0, -1));
    const { status, deadLetters } = await world.engine().run(workflow, null, { runId: "r" });
    deepEqual([status, deadLetters.length], ["failed", 1]);
  },
};

/** Changes what is stored of a run that nobody works on, as a bad disk does: behind the back of whoever wrote it. */
async function rewrite(
  world: EngineWorld<unknown>,
  runId: string,
  change: (records: StoredRecord[]) => StoredRecord[],
): Promise<void> {
  const { store } = world;
  const row = (await store.get(runId))!;
  const changed = change(await store.read(runId));
  const claim = { runId, workflowId: row.workflowId, owner: "disk", leaseMs: 1, isDead: () => true, reopen: true };
  const { token } = await store.claim(claim);
  await store.setAside(runId, token, 0);
  for (const [version, { body, checksum }] of changed.entries())
    await store.append({ runId, token, version, body, checksum });
  await store.release(runId, token);
}
