import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LetterWorld, outcomes } from "../../test/letter-world.ts";
import { FaultyStore } from "../testing/faulty-store.ts";
import { record } from "../testing/fake-clock.ts";

let world: LetterWorld;
beforeEach(() => (world = new LetterWorld()));
afterEach(() => world.close());

describe("redriveDue", () => {
  test("waits for nextRetryAt, which each failure puts off longer (C10.8)", async () => {
    const engine = world.engine();
    const [id] = await world.fail(engine, "a");
    await world.runtime.clock.advance(58_999);
    expect(outcomes(await engine.deadLetters.redriveDue())).toEqual([]);
    await world.runtime.clock.advance(1);
    expect(outcomes(await engine.deadLetters.redriveDue())).toEqual(["a failed"]);
    await world.runtime.clock.advance(119_999);
    expect(outcomes(await engine.deadLetters.redriveDue())).toEqual([]);
    await world.runtime.clock.advance(1);
    world.broken.clear();
    expect(outcomes(await engine.deadLetters.redriveDue())).toEqual(["a succeeded"]);
    expect(await engine.deadLetters.get(id!)).toMatchObject({ status: "succeeded", retryCount: 2 });
  });

  test("does not redrive what another engine has just tried in vain (C7.2, C10.8)", async () => {
    const engine = world.engine();
    await world.fail(engine, "a");
    await world.runtime.clock.advance(60_000);
    // It has seen that the entry is due, and comes to claim it when the other has failed already.
    const handle = new FaultyStore(world.store);
    let open = (): void => {};
    const door = new Promise<void>((resolve) => (open = resolve));
    const { claim } = handle;
    handle.claim = async (wanted) => door.then(() => claim.call(handle, wanted));
    const late = world.engine({ store: handle }).deadLetters.redriveDue();
    await world.settle();
    expect(outcomes(await engine.deadLetters.redriveDue())).toEqual(["a failed"]);
    open();
    expect(outcomes(await late)).toEqual(["a skipped DEAD_LETTER_NOT_DUE"]);
    expect(world.begun.length).toBe(1);
  });

  test("leaves to others what this engine does not know, and to people what is quarantined (C7.2)", async () => {
    await world.fail(world.engine({ maxRetries: 0 }), "quarantined");
    const other = world.workflow("other");
    world.broken.add("strange");
    await world.engine({ workflows: [other] }).run(other, "strange", { runId: "strange" });
    await world.runtime.clock.advance(1e9);
    expect(outcomes(await world.engine().deadLetters.redriveDue())).toEqual([]);
  });
});

describe("autoRedrive", () => {
  test("is off unless asked for, and then redrives what is due, round after round, until the engine closes (C10.8)", async () => {
    const off = world.engine();
    await world.fail(off, "a", "b");
    await world.finish(world.runtime.clock.advance(300_000));
    expect(world.begun).toEqual([]);
    const engine = world.engine({ autoRedrive: { everyMs: 10_000 } });
    const from = world.runtime.clock.wallNow();
    for (let i = 0; i < 25; i++) {
      if (i === 2) world.broken.delete("a");
      if (i === 20) world.broken.clear();
      await world.runtime.clock.advance(10_000);
      await world.settle();
    }
    // Both had long been due; then b is put off by 120 s, and is redriven by the first round after that.
    expect(world.begun.map(([name, at]) => [name, (at - from) / 1000])).toEqual([
      ["a", 10],
      ["b", 10],
      ["a", 130],
      ["b", 130],
    ]);
    expect((await engine.deadLetters.stats()).open).toBe(1);
    await engine.close();
    await world.runtime.clock.advance(1e7);
    expect(world.begun.length).toBe(4);
  });

  test("a round that the store cuts short is told of, and the next one comes (C10.8)", async () => {
    const events = record(world.runtime.events);
    await world.fail(world.engine(), "a");
    world.broken.clear();
    await world.runtime.clock.advance(60_000);
    const store = new FaultyStore(world.store);
    store.down = true;
    world.engine({ store, autoRedrive: true });
    await world.runtime.clock.advance(30_000);
    await world.settle();
    expect(events.filter(({ type }) => type === "dead_letter.round_failed")).toMatchObject([
      { error: { code: "STORE_UNAVAILABLE" } },
    ]);
    store.down = false;
    await world.runtime.clock.advance(30_000);
    await world.settle();
    expect(world.begun.length).toBe(1);
  });
});
