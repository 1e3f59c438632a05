import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { StoreCorruptError, type StoredError } from "../core/errors.ts";
import { isEnded, type RunStatus } from "../core/store.ts";
import { MemoryStore } from "../stores/memory.ts";
import { fakeRuntime } from "../testing/index.ts";
import type { InvocationId } from "../workflow/invocation-id.ts";
import { applyEvent } from "../workflow/apply-event.ts";
import { newRunState, type RunEvent, type RunState } from "../workflow/run-state.ts";
import { Journal } from "./journal.ts";
import { decodeSnapshot, encodeSnapshot, isSnapshot } from "./snapshot.ts";
import { SnapshotSchedule } from "./snapshot-schedule.ts";

const text = fc.oneof(
  fc.string({ maxLength: 8 }),
  fc.constantFrom("", "@1.0.a", "$", "__proto__", "ä\u0000\ud83d\ude00"),
);
const node = fc.constantFrom("a", "b#", "__proto__");
const at = fc.nat();
const id = fc.constantFrom<InvocationId>(
  { node: "a", iteration: 0 },
  { node: "b#", iteration: 1, backup: "spare" },
  { node: "__proto__", iteration: 2 },
);
/** Encoded values: short ones, and such as a snapshot only notes. */
const value = fc.oneof(text, fc.string({ minLength: 40, maxLength: 60 })).map((said) => JSON.stringify(said));
const error: fc.Arbitrary<StoredError> = fc.record(
  { name: text, message: text, stack: text },
  { requiredKeys: ["name", "message"] },
);

/** Every kind of event, so that whoever adds one is reminded of this test by the compiler. */
const EVENTS: { [K in RunEvent["kind"]]: fc.Arbitrary<Omit<Extract<RunEvent, { kind: K }>, "kind">> } = {
  run_started: fc.record(
    { workflowId: text, outline: text, fingerprint: text, input: value, at, fork: fc.record({ runId: text, node }) },
    { requiredKeys: ["workflowId", "outline", "fingerprint", "input", "at"] },
  ),
  run_waiting: fc.record({ wakeAt: fc.option(at), at }),
  definition_changed: fc.record({ outline: text, fingerprint: text, at }),
  run_migrated: fc.record({
    rename: fc.dictionary(node, fc.constantFrom("c", "d"), { noNullPrototype: true, maxKeys: 1 }),
    forget: fc.array(node, { maxLength: 1 }),
    outputs: fc.dictionary(fc.constantFrom("a#0", "c#0"), value, { noNullPrototype: true, maxKeys: 1 }),
    at,
  }),
  invocation_sleeping: fc.record({ id, wakeAt: fc.option(at), signal: fc.option(text), at }),
  run_cancelling: fc.record({ reason: error, at }),
  compensated: fc.record({ id, error, at }, { requiredKeys: ["id", "at"] }),
  run_resumed: fc.record({ crashed: fc.boolean(), at }),
  invocation_started: fc.record(
    { id, at, from: fc.array(text, { maxLength: 2 }), by: text },
    { requiredKeys: ["id", "at"] },
  ),
  attempt_started: fc.record({ id, attempts: fc.nat(), at }),
  attempt_failed: fc.record({
    ...{ id, attempts: fc.nat(), failures: fc.nat(), error, retryDelayMs: at, retryAt: at, spent: fc.nat() },
  }),
  step_completed: fc.record({ id, step: text, output: value, at }),
  invocation_completed: fc.record(
    { id, attempts: fc.nat(), output: value, next: fc.array(text), handoff: text, at },
    { requiredKeys: ["id", "attempts", "output", "at"] },
  ),
  invocation_failed: fc.record({ id, attempts: fc.nat(), error, at }),
  node_redriven: fc.record({ node, iteration: fc.nat({ max: 2 }), at }),
  run_completed: fc.record({ at }),
  run_failed: fc.record({ node, iteration: fc.nat({ max: 2 }), error, at }),
  run_cancelled: fc.record({ reason: error, at }),
};
/** Ends of runs are rare: little may follow them. */
const anEvent = fc.oneof(
  ...Object.entries(EVENTS).map(([kind, fields]) => ({
    weight: kind.startsWith("run_") && kind !== "run_resumed" ? 1 : 10,
    arbitrary: (fields as fc.Arbitrary<object>).map(
      (rest) => JSON.parse(JSON.stringify({ kind, ...rest })) as RunEvent,
    ),
  })),
);

/** Begins a run, and then whatever comes: what is not legal where it stands is left out. */
const events = fc.tuple(
  EVENTS.run_started.map((rest) => JSON.parse(JSON.stringify({ kind: "run_started", ...rest })) as RunEvent),
  fc.array(anEvent, { maxLength: 120, size: "max" }),
);

function fold(first: RunEvent, rest: readonly RunEvent[]): { state: RunState; legal: RunEvent[] } {
  const state = newRunState();
  applyEvent(state, first);
  const legal = [first];
  for (const event of rest) {
    try {
      applyEvent(state, event);
      legal.push(event);
    } catch (illegal) {
      expect(illegal).toBeInstanceOf(StoreCorruptError);
    }
  }
  return { state, legal };
}

describe("a snapshot", () => {
  it("gives back the state of any run, each field of it (C6.2)", () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(events, ([first, rest]) => {
        const { state, legal } = fold(first, rest);
        for (const { kind } of legal) seen.add(kind);
        const body = encodeSnapshot(state);
        expect(isSnapshot(body)).toBe(true);
        const back = decodeSnapshot(body)!;
        expect(back).toStrictEqual(state);
        // What a map and a set keep in order, a replay goes by.
        expect([[...back.invocations.keys()], [...back.ended]]).toEqual([
          [...state.invocations.keys()],
          [...state.ended],
        ]);
      }),
      { numRuns: 300, seed: 20261125 },
    );
    expect([...seen].toSorted()).toEqual(Object.keys(EVENTS).toSorted());
  });

  it("of a newer version is refused, with what is unknown in it", () => {
    const newer = { ...newRunState(), mood: "good" };
    expect(() => decodeSnapshot(encodeSnapshot(newer))).toThrow(/unknown field "mood".*newer version of Holdfast/);
    const form = encodeSnapshot(newRunState());
    form[12] = "2".charCodeAt(0);
    expect(new TextDecoder().decode(form.subarray(0, 14))).toBe('{"snapshot":2}');
    expect(() => decodeSnapshot(form)).toThrow(/unknown here.*newer version of Holdfast/);
  });

  it("of an older version, which did not know a field yet, is left to the events before it", () => {
    const { ended, ...older } = newRunState();
    expect(ended.size).toBe(0);
    expect(decodeSnapshot(encodeSnapshot(older as RunState))).toBeUndefined();
  });
});

describe("a journal with snapshots", () => {
  const claim = { runId: "r", workflowId: "w", owner: "one", leaseMs: 5000, isDead: () => true, reopen: true };
  const open = (store: MemoryStore, more: object = {}): Promise<Journal> =>
    Journal.open(store, fakeRuntime(), { ...claim, ...more });

  it("says from its newest snapshot on, and with the noted values read in, what all of its events say (C6.2)", async () => {
    let noted = 0;
    await fc.assert(
      fc.asyncProperty(events, fc.nat({ max: 5 }), async ([first, rest], every) => {
        const { legal } = fold(first, rest);
        const store = new MemoryStore();
        const snapshots = { minEvents: 1, bytesPerEvent: Infinity };
        let journal = await open(store, { snapshots });
        for (const [i, event] of legal.entries()) {
          // Whoever ends or parks a run has given its lease back.
          const isFree = journal.state.status === "waiting" || isEnded(journal.state.status as RunStatus);
          if (isFree || i % 7 === every) {
            await journal.commit();
            journal = await open(store, { snapshots });
          }
          journal.stage(event);
          if (i % 3 !== every) await journal.commit();
        }
        await journal.commit();
        const whole = await open(store, { isWhole: true });
        expect(whole.isNoted).toBe(false);
        expect(whole.state).toStrictEqual(fold(first, rest).state);
        const short = await open(store);
        expect(short.isNoted).toBe((await store.get("r"))!.snapshot !== null);
        if (JSON.stringify([...short.state.invocations]).includes('"output":"@')) noted++;
        await short.load(short.state.invocations.keys());
        expect(short.state).toStrictEqual(whole.state);
      }),
      { numRuns: 150, seed: 20261125 },
    );
    expect(noted).toBeGreaterThan(0);
  });
});

describe("snapshots are stored", () => {
  it("at distances that grow with the state, so that they cost no more for each event however long the run (design §5)", () => {
    // An event adds 16 bytes to the state.
    const schedule = new SnapshotSchedule({}, 0, 0);
    const taken: number[] = [];
    let bytes = 0;
    for (let events = 1; events <= 1_000_000; events++) {
      schedule.count(1);
      if (!schedule.isDue || !schedule.take(events * 16)) continue;
      bytes += events * 16;
      expect(bytes).toBeLessThanOrEqual(events * 40);
      expect(events - (taken.at(-1) ?? 0)).toBeGreaterThanOrEqual(1000);
      // What is left to be replayed.
      expect(events - (taken.at(-1) ?? 0)).toBeLessThan(Math.max(1001, events * 0.41));
      taken.push(events);
    }
    expect(taken.length).toBeLessThan(40);
  });

  it("and hardly ever tried in vain, also by whoever takes the run up again", () => {
    let schedule = new SnapshotSchedule({}, 0, 0);
    let last = { bytes: 0, seq: 0 };
    let since: number[] = [];
    const [tries, taken] = [[] as number[], [] as number[]];
    for (let seq = 1; seq <= 100_000; seq++) {
      // A life of the run ends here: the next one counts from the newest snapshot on.
      if (seq % 97 === 0) {
        schedule = new SnapshotSchedule({}, last.bytes, last.seq);
        for (const events of since) schedule.count(events);
      }
      schedule.count(1);
      since.push(1);
      if (!schedule.isDue) continue;
      tries.push(seq);
      if (!schedule.take(seq * 16)) continue;
      taken.push(seq);
      [last, since] = [{ bytes: seq * 16, seq }, []];
    }
    expect(taken.length).toBeGreaterThan(5);
    expect(tries.length - taken.length).toBeLessThanOrEqual(2);
  });

  it("and are not tried for each event where the state is too large to be stored", () => {
    const schedule = new SnapshotSchedule({}, 0, 0);
    let tries = 0;
    for (let events = 1; events <= 100_000; events++) {
      schedule.count(1);
      if (!schedule.isDue) continue;
      tries++;
      expect(schedule.take(events * 100)).toBe(false);
    }
    expect(tries).toBeLessThan(30);
  });
});
