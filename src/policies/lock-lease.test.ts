import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type LeaseRequest, type LockRecord, released, renewed, taken } from "./lock-lease.ts";

const request = (id: string, more: Partial<LeaseRequest> = {}): LeaseRequest => ({
  ...{ id, holderId: `holder ${id}`, leaseMs: 100, maxConcurrent: 1, waits: false },
  ...more,
});

const take = (record: LockRecord | undefined, now: number, id: string, more?: Partial<LeaseRequest>) =>
  taken(request(id, more))(record, now);

describe("a lease of a shared lock", () => {
  test("is given where nobody has one, with a token above the time (C3.3)", () => {
    const { next, keepMs, result } = take(undefined, 1000.5, "a");
    const holder = { id: "a", holderId: "holder a", token: 1001, until: 1100.5 };
    expect(next).toEqual({ token: 1001, holders: [holder], waiters: [] });
    expect(result).toEqual({ token: 1001, holders: [holder], freeInMs: 100 });
    expect(keepMs).toBe(100);
    expect(take(undefined, 0, "a").result.token).toBe(1);
  });

  test("is refused while it is another's, with who has it and how long (C3.3)", () => {
    const { next } = take(undefined, 1000, "a");
    const refused = take(next, 1060, "b");
    expect(refused.result).toMatchObject({ token: null, freeInMs: 40, holders: [{ holderId: "holder a" }] });
    expect(refused.next).toEqual(next);
    expect(take(next, 1099, "b").result.token).toBe(null);
    expect(take(next, 1100, "b").result).toMatchObject({ token: 1101, holders: [{ id: "b" }] });
  });

  test("is given as often as the limit says (C3.3)", () => {
    let record: LockRecord | undefined;
    const tokens = ["a", "b", "c", "d"].map((id) => {
      const { next, result } = take(record, 5, id, { maxConcurrent: 3 });
      record = next;
      return result.token;
    });
    expect(tokens).toEqual([6, 7, 8, null]);
  });

  test("asked for twice under one id is one lease: an answer may have got lost (C3.3)", () => {
    const first = take(undefined, 10, "a");
    const again = take(first.next, 20, "a");
    expect(again.result).toEqual({ ...first.result, freeInMs: 90 });
    expect(again.next).toEqual(first.next);
    expect(take(first.next, 20, "a", { waits: true }).next).toEqual(first.next);
  });

  test("is lengthened by a renewal, and not brought back by one (C3.3)", () => {
    const { next } = take(undefined, 0, "a");
    const longer = renewed("a", 100)(next, 99);
    expect(longer.result).toBe(true);
    expect(longer.next?.holders).toMatchObject([{ id: "a", token: 1, until: 199 }]);
    expect(longer.keepMs).toBe(100);
    const late = renewed("a", 100)(next, 100);
    expect(late.result).toBe(false);
    expect(late.next?.holders).toEqual([]);
    const successor = take(next, 100, "b").next;
    const replaced = renewed("a", 100)(successor, 101);
    expect(replaced.result).toBe(false);
    expect(replaced.next).toEqual(successor);
    expect(renewed("a", 100)(undefined, 5)).toEqual({ next: undefined, keepMs: 0, result: false });
  });

  test("that was given back is free at once; one that ran out gives nothing back (C3.3)", () => {
    const { next } = take(undefined, 0, "a");
    const free = released("a")(next, 50).next;
    expect(take(free, 50, "b").result.token).toBe(51);
    const successor = take(next, 100, "b").next;
    expect(released("a")(successor, 120).next).toEqual(successor);
    expect(released("a")(undefined, 5).next).toBe(undefined);
  });
});

describe("the line before a shared lock", () => {
  const busy = take(undefined, 0, "holder", { leaseMs: 300 }).next;

  test("may be overtaken for a while, so that the lock does not lie idle until the first in line asks again (C3.3)", () => {
    const { next } = take(busy, 0, "first", { waits: true });
    expect(next?.waiters).toEqual([{ id: "first", since: 0, until: 1500 }]);
    const overtaken = take(released("holder")(next, 10).next, 10, "second");
    expect(overtaken.result.token).toBe(11);
    expect(overtaken.next?.waiters).toHaveLength(1);
  });

  test("is kept to once somebody has waited long, and first come is first served among those (C3.3)", () => {
    let record = busy;
    for (const [at, id] of [
      [0, "first"],
      [1, "second"],
      [250, "first"],
      [250, "second"],
    ] as const)
      record = take(record, at, id, { waits: true }).next;
    expect(record?.waiters.map(({ id, since, until }) => [id, since, until])).toEqual([
      ["first", 0, 1750],
      ["second", 1, 1750],
    ]);
    record = released("holder")(record, 299).next;
    expect(take(record, 499, "newcomer").result.token).toBe(500);
    expect(take(record, 500, "newcomer").result.token).toBe(null);
    for (const id of ["newcomer", "second"]) expect(take(record, 501, id, { waits: true }).result.token).toBe(null);
    expect(take(record, 501, "newcomer", { maxConcurrent: 3 }).result.token).toBe(502);
    const first = take(record, 501, "first", { waits: true });
    expect(first.result.token).toBe(502);
    expect(first.next?.waiters.map(({ id }) => id)).toEqual(["second"]);
  });

  test("loses who gives up, and who does not ask again within a second and a half (C3.3)", () => {
    const record = take(busy, 0, "first", { waits: true }).next;
    expect(take(record, 1499, "newcomer").result.token).toBe(null);
    expect(take(record, 1500, "newcomer").result.token).toBe(1501);
    expect(take(released("first")(record, 600).next, 600, "newcomer").result.token).toBe(601);
    expect(take(record, 0, "once").next?.waiters).toHaveLength(1);
  });
});

type Step = { at: number; id: string; what: "take" | "renew" | "release" };

test("whatever is asked when, permits stay within the limit and tokens rise, also past a record that is gone (C3.3)", () => {
  const steps = fc.array(
    fc.record<Step>({
      at: fc.oneof(fc.double({ min: 0, max: 3, noNaN: true }), fc.integer({ min: 0, max: 60 })),
      id: fc.constantFrom("a", "b", "c", "d"),
      what: fc.constantFrom("take", "take", "renew", "release"),
    }),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 3 }), fc.boolean(), (history, maxConcurrent, waits) => {
      let now = 0;
      let kept: { record: LockRecord; until: number } | undefined;
      let lastToken = 0;
      const leases = new Map<string, { token: number; until: number }>();
      for (const { at, id, what } of history) {
        now += at;
        if (kept !== undefined && kept.until <= now) kept = undefined;
        for (const [held, { until }] of leases) if (until <= now) leases.delete(held);
        const change =
          what === "take"
            ? take(kept?.record, now, id, { maxConcurrent, leaseMs: 50, waits })
            : what === "renew"
              ? renewed(id, 50)(kept?.record, now)
              : released(id)(kept?.record, now);
        if (what === "take") {
          const { token } = (change as ReturnType<typeof take>).result;
          const mine = leases.get(id);
          if (mine !== undefined) expect(token).toBe(mine.token);
          else if (leases.size >= maxConcurrent) expect(token).toBe(null);
          else if (token === null) expect(change.next?.waiters).not.toEqual([]);
          else {
            expect(token).toBeGreaterThan(lastToken);
            lastToken = token;
            leases.set(id, { token, until: now + 50 });
          }
        } else if (what === "renew") {
          expect(change.result).toBe(leases.has(id));
          if (leases.has(id)) leases.set(id, { ...leases.get(id)!, until: now + 50 });
        } else leases.delete(id);
        kept = change.next === undefined ? undefined : { record: change.next, until: now + change.keepMs };
      }
    }),
    { numRuns: 500 },
  );
});
