import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type LedgerRecord, type Reading, type Want, type Writing, written } from "./shared-ledger.ts";

const LEASE_MS = 60_000;

/** A record that lies somewhere as JSON, on a clock that the test sets. */
class Place {
  now = 1_000_000;
  text: string | undefined;
  readonly limit: number;

  constructor(limit = 100) {
    this.limit = limit;
  }

  get record(): LedgerRecord | undefined {
    return this.text === undefined ? undefined : (JSON.parse(this.text) as LedgerRecord);
  }

  make(writing: Writing, wants: readonly Want[]): Reading {
    const { record: last } = this;
    const change = written(writing, wants);
    const { next, keepMs, result } = change(last, this.now);
    // Pure: what it was given is as it was, and a second run gives the same.
    expect(last).toEqual(this.record);
    expect(change(last, this.now)).toEqual({ next, keepMs, result });
    expect(keepMs).toBeGreaterThan(1e11);
    this.text = JSON.stringify(next);
    return result;
  }

  /** What is spent and held by all, as somebody sees it who holds nothing. */
  get taken(): number {
    const { others } = new Member("auditor", this).look();
    return others.spent + others.reserved + others.unconfirmed;
  }
}

/** A member as `ledger-member.ts` is one: it writes down what it knows, and learns what it is told. */
class Member {
  version = 0;
  term = 0;
  spent = 0;
  acknowledged = 0;
  /** What each of its calls holds, in the term in which it was given. */
  holds: { amount: number; term: number }[] = [];
  readonly name: string;
  readonly place: Place;

  constructor(name: string, place: Place) {
    this.name = name;
    this.place = place;
  }

  get writing(): Writing {
    const { name: member, version, term, spent, acknowledged, place } = this;
    const reserved = this.holds.reduce((sum, hold) => sum + (hold.term === term ? hold.amount : 0), 0);
    return {
      member,
      version,
      term,
      spent,
      acknowledged,
      reserved,
      unconfirmed: 0,
      leaseMs: LEASE_MS,
      limit: place.limit,
    };
  }

  look(): Reading {
    return written({ ...this.writing, version: this.version + 1 }, [])(this.place.record, this.place.now).result;
  }

  /** Writes its page, once or twice, and hears of it or not. */
  write(amounts: readonly number[] = [], how: { patient?: boolean; forced?: boolean; lost?: boolean } = {}): Reading {
    this.version++;
    const { patient = false, forced = false, lost = false } = how;
    const reading = this.place.make(
      this.writing,
      amounts.map((amount) => ({ amount, patient, forced })),
    );
    if (lost) return reading;
    this.term = reading.term;
    this.acknowledged = this.spent;
    amounts.forEach((amount, i) => {
      if (reading.fates[i] === "fits" || forced) this.holds.push({ amount, term: this.term });
    });
    return reading;
  }

  settle(actual: number): void {
    this.holds.shift();
    this.spent += actual;
  }
}

describe("the record of a shared budget", () => {
  test("holds for one what is then not there for another; exceeded means strictly over (C3.7)", () => {
    const place = new Place();
    const [one, two] = [new Member("one", place), new Member("two", place)];
    expect(one.write([60, 50, 40]).fates).toEqual(["fits", "exceeds", "fits"]);
    expect(two.write([1, 0])).toMatchObject({ fates: ["exceeds", "fits"], others: { spent: 0, reserved: 100 } });
    one.settle(10);
    one.write();
    expect(two.write([51, 50])).toMatchObject({ fates: ["exceeds", "fits"], others: { spent: 10, reserved: 40 } });
    expect(place.taken).toBe(100);
  });

  test("behind one who waits nobody gets anything, and in a dry run everybody (C2.10, C3.7)", () => {
    const place = new Place();
    const one = new Member("one", place);
    expect(one.write([90, 20, 1], { patient: true }).fates).toEqual(["fits", "exceeds", "behind"]);
    expect(one.write([20, 10, 1], { patient: true, forced: true }).fates).toEqual(["exceeds", "exceeds", "exceeds"]);
    expect(place.taken).toBe(121);
  });

  test("what was written and not heard of is written again, and charged once (C3.7)", () => {
    const place = new Place();
    const one = new Member("one", place);
    one.write([60]);
    one.settle(45);
    for (let i = 0; i < 3; i++) one.write([], { lost: true });
    one.write();
    expect(place.taken).toBe(45);
  });

  test("what was granted and not heard of is free with the next writing (C3.7)", () => {
    const place = new Place();
    const one = new Member("one", place);
    expect(one.write([100], { lost: true }).fates).toEqual(["fits"]);
    expect(new Member("two", place).write([1]).fates).toEqual(["exceeds"]);
    one.write();
    expect(place.taken).toBe(0);
  });

  test("an older writing that comes late changes nothing and grants nothing (C3.7)", () => {
    const place = new Place();
    const one = new Member("one", place);
    one.write([10]);
    const late = one.writing;
    one.settle(10);
    one.write();
    const { text } = place;
    expect(place.make(late, [{ amount: 5, patient: false, forced: true }]).fates).toEqual([]);
    expect(place.text).toBe(text);
    // Nor does the last one that comes a second time.
    place.now += 10;
    place.make(one.writing, []);
    expect(place.text).toBe(text);
  });

  test("what is unconfirmed is held like what is reserved (C3.7)", () => {
    const place = new Place();
    const one = new Member("one", place);
    one.write([30]);
    const page = { ...one.writing, reserved: 30, unconfirmed: 30 };
    const want = (amount: number) => ({ amount, patient: false, forced: false });
    expect(place.make({ ...page, version: 2 }, [want(41), want(40)]).fates).toEqual(["exceeds", "fits"]);
    place.make({ ...page, version: 3 }, []);
    // Both have run out together: also where the place has forgotten that it ever held them.
    for (const awayMs of [LEASE_MS, 10 * 3_600_000]) {
      const away = new Place();
      away.text = place.text;
      away.now += awayMs;
      new Member("other", away).write();
      expect(away.make({ ...page, version: 4 }, []).term).toBe(1);
      expect(away.taken).toBe(0);
    }
  });

  test("a term is new to the place and to the member, and begins only where something was held (C3.7)", () => {
    const place = new Place();
    const one = new Member("one", place);
    one.write();
    place.now += LEASE_MS;
    expect(one.write([10]).term).toBe(0);
    place.now += LEASE_MS;
    expect(place.make({ ...one.writing, version: 3, term: 5 }, []).term).toBe(6);
  });

  test("what a process holds that has died is free after its lease, and what it has spent stays spent (C3.7)", () => {
    const place = new Place();
    const [dead, other] = [new Member("dead", place), new Member("other", place)];
    dead.spent = 30;
    dead.write([70]);
    place.now += LEASE_MS - 1;
    expect(other.write([1]).fates).toEqual(["exceeds"]);
    place.now += 1;
    expect(other.write([71, 70]).fates).toEqual(["exceeds", "fits"]);
    expect(place.taken).toBe(100);
    place.now += 10 * 3_600_000;
    other.settle(0);
    other.write();
    expect(Object.keys(place.record!.pages)).toEqual(["other"]);
    expect(place.taken).toBe(30);
  });

  test("a place that was emptied learns again what those have spent who live (C3.7)", () => {
    const place = new Place();
    const [one, two] = [new Member("one", place), new Member("two", place)];
    for (const [member, spent] of [
      [one, 60],
      [two, 40],
    ] as const) {
      member.write([spent]);
      member.settle(spent);
      member.write();
    }
    place.text = undefined;
    expect(one.write([40, 1]).fates).toEqual(["fits", "exceeds"]);
    expect(two.write([1])).toMatchObject({ fates: ["exceeds"], others: { spent: 60, reserved: 40 } });
    expect(place.taken).toBe(140);
  });

  test("what a forgotten member has spent stays spent, however often the others write (C3.7)", () => {
    const place = new Place();
    const [gone, here] = [new Member("gone", place), new Member("here", place)];
    gone.write([50]);
    gone.settle(50);
    gone.write();
    place.now += LEASE_MS + 3_600_000;
    for (const spent of [20, 10]) {
      here.write([spent]);
      here.settle(spent);
      here.write();
      here.write();
    }
    expect(Object.keys(place.record!.pages)).not.toContain("gone");
    expect(place.taken).toBe(80);
    expect(here.write([21]).fates).toEqual(["exceeds"]);
  });

  test("one that was only away holds nothing any more, learns so, and is still charged what it spends (C3.7)", () => {
    for (const awayMs of [LEASE_MS, 10 * 3_600_000])
      for (const lost of [true, false]) {
        const place = new Place();
        const [away, other] = [new Member("away", place), new Member("other", place)];
        away.spent = 20;
        away.write([80]);
        place.now += awayMs;
        expect(other.write([80]).fates).toEqual(["fits"]);
        // Also where it is not heard that the holds have run out, they are not taken up again.
        if (lost) away.write([], { lost });
        expect(away.write([1])).toMatchObject({ term: 1, fates: ["exceeds"], others: { reserved: 80 } });
        away.settle(75);
        away.write();
        other.settle(80);
        other.write();
        expect(place.taken).toBe(175);
      }
  });
});

const steps = fc.array(
  fc.record({
    member: fc.nat(2),
    do: fc.constantFrom("reserve", "reserve", "reserve", "settle", "settle", "renew", "crash", "pass"),
    amount: fc.integer({ min: 0, max: 60 }),
    lost: fc.boolean(),
    passMs: fc.constantFrom(1, LEASE_MS / 3, LEASE_MS / 3, LEASE_MS, 4_000_000),
  }),
  { maxLength: 60 },
);

test("through crashes, lost answers and leases: nothing is charged twice, and while leases are kept the limit holds (C3.7)", () => {
  fc.assert(
    fc.property(steps, fc.boolean(), (all, keepsLeases) => {
      const place = new Place();
      const born = [0, 0, 0];
      const members = [0, 1, 2].map((i) => new Member(`${i}-0`, place));
      let charged = 0;
      let hasExpired = false;
      for (const step of all) {
        const member = members[step.member]!;
        if (step.do === "reserve") member.write([step.amount], { lost: step.lost });
        else if (step.do === "renew") member.write([], { lost: step.lost });
        else if (step.do === "settle" && member.holds.length > 0) {
          // No call costs more than was reserved for it.
          const actual = Math.min(step.amount, member.holds[0]!.amount);
          member.settle(actual);
          charged += actual;
          member.write([], { lost: step.lost });
          // Until it is written it is not safe from a crash.
          if (step.lost) member.write();
        } else if (step.do === "crash")
          members[step.member] = new Member(`${step.member}-${++born[step.member]!}`, place);
        else {
          const parts = keepsLeases && step.passMs >= LEASE_MS ? 4 : 1;
          for (let i = 0; i < parts; i++) {
            place.now += step.passMs / parts;
            if (keepsLeases) for (const each of members) each.write();
            if (step.passMs / parts >= LEASE_MS) break;
          }
        }
        // From then on there are calls that are charged although what they had held was given to others.
        hasExpired ||= members.some(({ term }) => term > 0);
        if (keepsLeases && !hasExpired) expect(place.taken).toBeLessThanOrEqual(place.limit);
        const spent = new Member("auditor", place).look().others.spent;
        expect(spent).toBe(charged);
      }
    }),
    { numRuns: 1_000 },
  );
});
