import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ConfigError } from "../core/errors.ts";
import { FakeClock } from "../testing/fake-clock.ts";
import { mustBeSame, Registry } from "./registry.ts";

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc") as () => void;

const HOUR = 3_600_000;

class Thing {
  precious = false;
}

function make(): { registry: Registry<Thing>; clock: FakeClock } {
  const clock = new FakeClock();
  return { registry: new Registry<Thing>(clock, ({ precious }) => precious), clock };
}

/** Lets go of what was asked for before: an hour later, once something else is asked for. */
async function idle(registry: Registry<Thing>, clock: FakeClock): Promise<void> {
  await clock.advance(HOUR);
  registry.set("other", new Thing());
  await collected();
}

/** A weak reference lives as long as the task that made or read it. */
async function collected(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 1));
  gc();
}

describe("a registry", () => {
  test("gives what was put under a name, as often as one asks, until it is deleted (C2.7)", () => {
    const { registry } = make();
    const thing = new Thing();
    registry.set("a", thing);
    expect([registry.get("a"), registry.get("a"), registry.get("b")]).toEqual([thing, thing, undefined]);
    expect([...registry]).toEqual([["a", thing]]);
    expect([registry.delete("a"), registry.delete("a")]).toEqual([true, false]);
    expect(registry.get("a")).toBeUndefined();
  });

  test("lets go of what has not been asked for within an hour, without a timer (C2.7)", async () => {
    const { registry, clock } = make();
    registry.set("a", new Thing());
    await clock.advance(HOUR - 1);
    registry.set("other", new Thing());
    await collected();
    expect(registry.get("a")).toBeInstanceOf(Thing);
    await idle(registry, clock);
    expect(registry.get("a")).toBeUndefined();
    expect(Array.from(registry, ([name]) => name)).toEqual(["other"]);
    await idle(registry, clock);
    expect(registry.size).toBe(1);
    expect(registry.delete("a")).toBe(false);
    expect(clock.pendingTimers).toBe(0);
  });

  test("but never of what somebody holds (C2.7)", async () => {
    const { registry, clock } = make();
    const held = new Thing();
    registry.set("held", held);
    for (let n = 0; n < 3; n++) await idle(registry, clock);
    expect(registry.get("held")).toBe(held);
  });

  test("nor of what is worth keeping, for as long as it is (C2.7)", async () => {
    const { registry, clock } = make();
    registry.set("precious", Object.assign(new Thing(), { precious: true }));
    for (let n = 0; n < 3; n++) await idle(registry, clock);
    const [, found] = [...registry].find(([name]) => name === "precious")!;
    expect(found.precious).toBe(true);
  });

  test("takes back, whole, what was already let go when somebody asks for it (C2.7)", async () => {
    const { registry, clock } = make();
    let held: Thing | null = new Thing();
    registry.set("a", held);
    await clock.advance(HOUR);
    registry.set("other", new Thing());
    expect(registry.get("a")).toBe(held);
    held = null;
    await collected();
    expect(registry.get("a")).toBeInstanceOf(Thing);
  });

  test("stays small under a million names, and what was asked for last is still there (C2.7)", async () => {
    const { registry, clock } = make();
    const held = new Thing();
    registry.set("held", held);
    let largest = 0;
    for (let n = 0; n < 1_000_000; n++) {
      registry.set(`name ${n}`, new Thing());
      largest = Math.max(largest, registry.size);
      if (n % 20_000 === 0) await collected();
    }
    expect(largest).toBeLessThan(60_000);
    expect([registry.get("held"), registry.get("name 999999")]).toEqual([held, expect.any(Thing)]);
    expect(clock.now()).toBe(0);
  }, 30_000);

  test("is a map of what somebody holds, in any order of puts, questions, deletions and pauses (C2.7)", async () => {
    const step = fc.record({
      do: fc.constantFrom("set", "get", "get", "delete", "pass"),
      name: fc.constantFrom("a", "b", "c", "d"),
      precious: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60, size: "max" }), async (steps) => {
        const { registry, clock } = make();
        const model = new Map<string, Thing>();
        for (const { do: what, name, precious } of steps) {
          const thing = Object.assign(new Thing(), { precious });
          if (what === "set") for (const each of [registry, model]) each.set(name, thing);
          else if (what === "get") expect(registry.get(name)).toBe(model.get(name));
          else if (what === "delete") expect(registry.delete(name)).toBe(model.delete(name));
          else await clock.advance(HOUR / 2);
          expect(new Map(registry)).toEqual(model);
        }
      }),
    );
  });

  test("looks at few entries whenever it is asked, however many are idle (C2.7)", async () => {
    const { clock } = make();
    let looked = 0;
    const registry = new Registry<Thing>(clock, () => ++looked > 0);
    for (let n = 0; n < 5_000; n++) registry.set(`name ${n}`, new Thing());
    expect(looked).toBe(0);
    await clock.advance(HOUR);
    registry.get("name 4999");
    expect(looked).toBeLessThan(10);
  });
});

test("asking for what is not there leaves nothing behind (C2.7)", () => {
  const { registry } = make();
  expect([registry.get("a"), registry.size]).toEqual([undefined, 0]);
  registry.set("a", new Thing());
  expect(registry.size).toBe(1);
});

test("what was deleted does not come back when its time would have been over (C2.7)", async () => {
  const { registry, clock } = make();
  const thing = new Thing();
  registry.set("a", thing);
  registry.delete("a");
  await clock.advance(HOUR);
  registry.set("other", thing);
  expect([registry.get("a"), registry.size]).toEqual([undefined, 1]);
});

test("ten thousand names are kept for an hour; with more, what was asked for longest ago is let go earlier (C2.7)", () => {
  const looked: Thing[] = [];
  const registry = new Registry<Thing>(new FakeClock(), (thing) => looked.push(thing) > 0);
  const things = Array.from({ length: 10_001 }, () => new Thing());
  for (const [n, thing] of things.slice(0, -1).entries()) registry.set(`${n}`, thing);
  expect(looked).toEqual([]);
  registry.set("more", things.at(-1)!);
  expect(looked[0]).toBe(things[0]);
});

describe("options", () => {
  const fn = (): void => {};
  class Place {}
  const place = new Place();

  test.each([
    [
      { a: 1, b: "x" },
      { b: "x", a: 1 },
    ],
    [{ a: Number.NaN }, { a: Number.NaN }],
    [{ a: undefined }, {}],
    [{ a: Object.assign(Object.create(null), { b: 1 }) }, { a: { b: 1 } }],
    [{ window: { kind: "count", size: 3 } }, { window: { size: 3, kind: "count" } }],
    [{ match: [/a/g, "b", Place] }, { match: [/a/g, "b", Place] }],
    [
      { fn, place },
      { fn, place },
    ],
  ])("%o and %o are the same (C2.7)", (one, other) => {
    expect(() => mustBeSame("It", one, other)).not.toThrow();
    expect(() => mustBeSame("It", other, one)).not.toThrow();
  });

  test.each([
    ["a", { a: 1 }, { a: 2 }],
    ["b", { a: 1 }, { a: 1, b: 0 }],
    ["window", { window: { kind: "count", size: 3 } }, { window: { kind: "count", size: 4 } }],
    ["window", { window: { a: undefined } }, { window: { b: undefined } }],
    ["match", { match: [/a/g] }, { match: [/a/] }],
    ["match", { match: ["a"] }, { match: ["a", "b"] }],
    ["match", { match: [] }, { match: {} }],
    ["fn", { fn: () => {} }, { fn: () => {} }],
    ["place", { place: new Place() }, { place: new Place() }],
    ["place", { place: null }, { place: {} }],
    ["match", { match: /a/ }, { match: "/a/" }],
    ["fn", { fn }, {}],
  ])("another %s is another thing, and the error says which (C2.7)", (option, one, other) => {
    for (const [built, asked] of [
      [one, other],
      [other, one],
    ]) {
      expect(() => mustBeSame('Lock "a"', built!, asked!)).toThrow(ConfigError);
      expect(() => mustBeSame('Lock "a"', built!, asked!)).toThrow(`Lock "a" exists with another ${option}.`);
    }
    if (option === "a") expect(() => mustBeSame("It", one, other)).toThrow("another a. It has 1, not 2. Ask for it");
    const advice = option === "fn" ? "make it once, outside" : "Ask for it with the options it has, or with none";
    expect(() => mustBeSame("It", one, other)).toThrow(advice);
    expect(() => mustBeSame("It", other, one)).toThrow(advice);
    if (option !== "fn") expect(() => mustBeSame("It", one, other)).not.toThrow("Functions");
  });

  test("that look alike are different all the same, and the error shows no difference (C2.7)", () => {
    expect(() => mustBeSame("It", { place: new Place() }, { place: new Place() })).toThrow("another place. Ask for it");
  });

  test("that hold themselves are different, and end nothing (C2.7)", () => {
    const endless = (): object => {
      const value: Record<string, unknown> = {};
      value.value = value;
      return value;
    };
    expect(() => mustBeSame("It", endless(), endless())).toThrow("another value");
  });
});
