import { describe, expect, test } from "vitest";
import type { SharedChange } from "../core/shared-state.ts";
import { MemorySharedState } from "../stores/memory-shared-state.ts";
import { type BreakerSettings, breakerSettings, type CircuitBreakerOptions } from "./breaker-options.ts";
import {
  type Batch,
  type BreakerRecord,
  counted,
  type FleetView,
  leased,
  ordered,
  type ProbeEnd,
  settled,
  stateIn,
} from "./shared-breaker.ts";

/** A record on a clock that the test sets, with the members' reports in short. */
class Place {
  now = 1_000_000;
  record: BreakerRecord | undefined;
  keepMs = 0;
  readonly settings: BreakerSettings;

  constructor(options: CircuitBreakerOptions<never> = {}) {
    this.settings = breakerSettings({ sharedState: new MemorySharedState(), ...options });
  }

  make<R>(change: (last: BreakerRecord | undefined, now: number) => SharedChange<BreakerRecord, R>): R {
    const last = structuredClone(this.record);
    const { next, keepMs, result } = change(this.record, this.now);
    // Pure: what it was given is as it was, and a second run gives the same.
    expect(this.record).toEqual(last);
    expect(change(this.record, this.now)).toEqual({ next, keepMs, result });
    if (next !== undefined) expect(keepMs).toBeGreaterThanOrEqual(3_600_000);
    this.record = next;
    this.keepMs = keepMs;
    return result;
  }

  /** `calls` in words: F failed, S succeeded, s was slow, in their order. */
  report(calls: string, from: Partial<Batch> & { agoMs?: number } = {}): FleetView {
    const all = [...calls];
    const failures = all.filter((call) => call === "F").length;
    const slow = all.filter((call) => call === "s").length;
    const { agoMs = 0, ...batch } = from;
    return this.make(
      counted(
        this.settings,
        {
          instance: "a",
          generation: this.record?.generation ?? 0,
          ageMs: 0,
          endsRow: failures < all.length,
          trailing: /F*$/.exec(calls)![0].length,
          parts: calls === "" ? [] : [{ ageMs: agoMs, calls: all.length, failures, slow }],
          ...batch,
        },
        0.5,
      ),
    );
  }

  lease(lease: string): boolean {
    return this.make(leased(this.settings, lease)).granted;
  }

  end(lease: string, end: ProbeEnd, instance = "a"): boolean {
    return this.make(settled(this.settings, { instance, lease, end }, 0.5)).alone;
  }
}

/** A place whose breaker is open, with the open time just over. */
function due(options: CircuitBreakerOptions<never> = {}): Place {
  const place = new Place({ failureThreshold: 1, recoveryTimeoutMs: 100, ...options });
  place.report("F");
  for (let n = 1; n < place.settings.quorum; n++) place.report("F", { instance: `other ${n}` });
  expect(place.record!.kind).toBe("open");
  place.now += 100;
  return place;
}

describe("failures in a row", () => {
  test("add up over instances, and a success of any of them ends the row (C2.9)", () => {
    const place = new Place({ failureThreshold: 4 });
    expect(place.report("FF", { instance: "a" }).failures).toBe(2);
    expect(place.report("SF", { instance: "b" }).failures).toBe(1);
    expect(place.report("FF", { instance: "a" }).failures).toBe(3);
    expect(place.report("F", { instance: "c" })).toMatchObject({ kind: "open", failures: 4, leftMs: 60_000 });
  });

  test("leave no record where there are none, also when successes are told (C2.9)", () => {
    const place = new Place();
    place.report("SSS");
    expect(place.record).toBeUndefined();
    place.report("F");
    expect(place.record).toBeDefined();
    place.report("S");
    expect(place.record).toBeUndefined();
  });

  test("of one's own are enough without a quorum, so who had them is not kept (C2.8, C2.9)", () => {
    const place = new Place();
    place.report("F");
    expect(place.record).not.toHaveProperty("blamed");
  });

  test("do not open below volumeThreshold calls of all instances together (C2.1, C2.9)", () => {
    const place = new Place({ failureThreshold: 2, volumeThreshold: 6 });
    place.report("SS", { instance: "a" });
    expect(place.report("FFF", { instance: "b" }).kind).toBe("closed");
    expect(place.report("F", { instance: "c" }).kind).toBe("open");
  });
});

describe("a window of time", () => {
  const window = { kind: "time", sizeMs: 1_000, failureRateThreshold: 0.5, minimumCalls: 4 } as const;

  test("has the rate of all instances together, from minimumCalls on (C2.1, C2.9)", () => {
    const place = new Place({ window });
    expect(place.report("FFF", { instance: "a" }).kind).toBe("closed");
    expect(place.report("SSSS", { instance: "b" })).toMatchObject({
      ...{ kind: "closed", failures: 3 },
      totals: { calls: 7, failures: 3 },
    });
    expect(place.report("F", { instance: "c" })).toMatchObject({ kind: "open", failures: 4 });
  });

  test("forgets by the time of the place, in tenths of it (C2.9)", () => {
    const place = new Place({ window });
    place.report("FFF");
    place.now += 999;
    expect(place.report("").totals).toMatchObject({ calls: 3 });
    place.now += 1;
    expect(place.report("").totals).toMatchObject({ calls: 0 });
    expect(place.record).toBeUndefined();
  });

  test("takes calls for as old as they were when they are told (C2.9)", () => {
    const place = new Place({ window });
    place.report("SSS", { agoMs: 900 });
    expect(place.report("SS", { agoMs: 1_000 }).totals).toMatchObject({ calls: 3 });
    place.report("F");
    expect(place.report("").totals).toMatchObject({ calls: 4, failures: 1 });
    place.now += 100;
    expect(place.report("").totals).toMatchObject({ calls: 1, failures: 1 });
  });

  test("adds up slow calls of one tenth (C2.1, C2.9)", () => {
    const place = new Place({ window, slowCallMs: 5 });
    place.report("s");
    expect(place.report("s").totals).toEqual({ calls: 2, failures: 0, slow: 2 });
    expect((place.record as { parts: unknown[] }).parts).toHaveLength(1);
  });

  test("that has forgotten everything leaves no record, also where volumeThreshold is above 1 (C2.9)", () => {
    const place = new Place({ window, volumeThreshold: 3 });
    place.report("F");
    place.now += 1_000;
    place.report("");
    expect(place.record).toBeUndefined();
  });

  test("keeps one part for each tenth, however many reports there are (C2.8, C2.9)", () => {
    const place = new Place({ window: { kind: "time", sizeMs: 1_000, failureRateThreshold: 1 } });
    for (let n = 0; n < 500; n++) {
      place.report("SF");
      place.now += 7;
    }
    expect((place.record as { parts: unknown[] }).parts.length).toBeLessThanOrEqual(10);
  });
});

describe("a window of calls", () => {
  test("looks at the last ones of all instances together (C2.9)", () => {
    const place = new Place({ window: { kind: "count", size: 4, failureRateThreshold: 0.75, minimumCalls: 4 } });
    expect(place.report("SSF", { instance: "a" }).kind).toBe("closed");
    expect(place.report("F", { instance: "b" })).toMatchObject({ kind: "closed", totals: { calls: 4, failures: 2 } });
    expect(place.report("S", { instance: "b" })).toMatchObject({ totals: { calls: 4, failures: 2 } });
    expect(place.report("F", { instance: "c" }).kind).toBe("open");
  });

  test("forgets a part of a long report call by call, what succeeded first (C2.9)", () => {
    const place = new Place({ window: { kind: "count", size: 10, failureRateThreshold: 1 } });
    place.report("SSSSSSSSFF");
    expect(place.report("FFFF")).toMatchObject({ totals: { calls: 10, failures: 6, slow: 0 } });
    expect(place.report("SSSSS")).toMatchObject({ totals: { calls: 10, failures: 5 } });
  });

  test("forgets no failure before what came before it, though it puts calls together (C2.9)", () => {
    const place = new Place({ window: { kind: "count", size: 100, failureRateThreshold: 1, minimumCalls: 100 } });
    for (const calls of ["F", "SS", "F"]) place.report(calls);
    expect(place.report("S".repeat(98)).totals).toMatchObject({ calls: 100, failures: 1 });
  });

  test("of single calls is kept in no more than fifty parts, however long it goes on (C2.8, C2.9)", () => {
    const place = new Place({ window: { kind: "count", size: 100, failureRateThreshold: 1, minimumCalls: 100 } });
    for (let n = 0; n < 120; n++) {
      place.report(n % 10 === 0 ? "F" : "S");
      if (n % 2 === 1) expect((place.record as { parts: unknown[] }).parts.length).toBeLessThanOrEqual(50);
    }
  });

  test("is left as it is by a member that only asks (C2.9)", () => {
    const place = new Place({ window: { kind: "count", size: 4, failureRateThreshold: 1 } });
    place.report("");
    expect(place.record).toBeUndefined();
  });

  test("of many calls is kept in few parts (C2.8, C2.9)", () => {
    const place = new Place({ window: { kind: "count", size: 10_000, failureRateThreshold: 1 } });
    for (let n = 0; n < 1_000; n++) place.report(n % 3 === 0 ? "S".repeat(50) : "F");
    expect((place.record as { parts: unknown[] }).parts.length).toBeLessThan(110);
    expect(place.report("").totals!.calls).toBe(10_000);
  });

  test("counts slow calls (C2.1, C2.9)", () => {
    const window = { kind: "count", size: 10, minimumCalls: 4 } as const;
    const place = new Place({ window, failureThreshold: 10, slowCallMs: 5, slowCallRateThreshold: 0.5 });
    expect(place.report("SSs").kind).toBe("closed");
    expect(place.report("s", { instance: "b" }).kind).toBe("open");
  });
});

describe("probes", () => {
  test("get no lease where there is no record, and what one brings then leaves none (C2.9)", () => {
    const place = new Place();
    expect(place.lease("one")).toBe(false);
    expect(place.end("one", "failure")).toBe(false);
    expect(place.record).toBeUndefined();
  });

  test("are answered with what is so, which never vouches for what the member has counted (C2.3, C2.9)", () => {
    const place = due();
    place.now += 30;
    expect(place.make(leased(place.settings, "one")).view).toEqual({
      ...{ at: place.now, generation: place.record!.generation, kind: "half_open", same: false, reopened: 1 },
      ...{ failures: 1, successes: 0, totals: null, openForMs: 130, leftMs: 0 },
    });
    const probe = { instance: "a", lease: "one", end: "success" } as const;
    expect(place.make(settled(place.settings, probe, 0.5)).view).toMatchObject({ same: false, successes: 1 });
  });

  test("get a lease only when the open time is over, by the time of the place (C2.9)", () => {
    const place = due();
    place.now -= 1;
    expect(place.lease("one")).toBe(false);
    expect(place.record!.kind).toBe("open");
    place.now += 1;
    expect(place.lease("one")).toBe(true);
    expect(place.record!.kind).toBe("half_open");
  });

  test("are no more than halfOpenMaxConcurrent, until one gives its place back (C2.2, C2.9)", () => {
    const place = due({ halfOpenMaxConcurrent: 2, successThreshold: 9 });
    expect(["a", "b", "c"].map((lease) => place.lease(lease))).toEqual([true, true, false]);
    place.end("a", "success");
    expect(["d", "e"].map((lease) => place.lease(lease))).toEqual([true, false]);
    place.end("d", "neutral");
    expect(place.lease("f")).toBe(true);
  });

  test("lose their place after probeTimeoutMs, and what they bring then changes nothing (C2.3, C2.9)", () => {
    const place = due({ probeTimeoutMs: 500, successThreshold: 1 });
    place.lease("hung");
    place.now += 499;
    expect(place.lease("next")).toBe(false);
    place.now += 1;
    place.end("hung", "failure");
    expect(place.record!.kind).toBe("half_open");
    expect(place.lease("next")).toBe(true);
    place.end("hung", "success");
    expect(place.record!.kind).toBe("half_open");
    place.end("next", "success");
    expect(place.record!.kind).toBe("closed");
  });

  test("that hang make room for others in the very instant in which their time is over (C2.3, C2.9)", () => {
    const place = due({ probeTimeoutMs: 500 });
    place.lease("hung");
    place.now += 500;
    expect(["next", "third"].map((lease) => place.lease(lease))).toEqual([true, false]);
  });

  test("close it after successThreshold, and open it for longer when one fails (C2.2, C2.9)", () => {
    const place = due({ recoveryBackoff: { backoffMultiplier: 3 } });
    place.lease("one");
    place.end("one", "failure");
    expect(place.record).toMatchObject({ kind: "open", until: place.now + 300, failures: 2, reopened: 2 });
    place.now += 300;
    place.lease("two");
    place.end("two", "success");
    expect(place.record).toMatchObject({ kind: "half_open", successes: 1 });
    place.lease("three");
    place.end("three", "success");
    expect(place.record).toMatchObject({ kind: "closed", failures: 0, reopened: 0 });
  });

  test("of an older generation change nothing (C2.3, C2.9)", () => {
    const place = due({ successThreshold: 1, halfOpenMaxConcurrent: 2 });
    place.lease("old");
    place.lease("other");
    place.end("other", "failure");
    place.now += 100;
    place.lease("new");
    const before = structuredClone(place.record);
    place.end("old", "success");
    place.end("old", "failure");
    expect(place.record).toEqual(before);
  });
});

test("a probe that nobody waits for any more changes nothing in any state (C2.3, C2.9)", () => {
  const place = due();
  place.lease("old");
  for (const put of [
    () => place.end("old", "failure"),
    () => place.make(ordered(place.settings, "isolated")),
    () => place.make(ordered(place.settings, "closed")),
  ]) {
    put();
    const before = structuredClone(place.record);
    expect(before).toBeDefined();
    for (const end of ["failure", "success", "neutral"] as const) place.end("old", end);
    expect(place.record).toEqual(before);
  }
});

describe("generations", () => {
  test("a report of an older one changes nothing (C2.3, C2.9)", () => {
    const place = due({ successThreshold: 1 });
    place.lease("one");
    place.end("one", "success");
    const before = structuredClone(place.record);
    expect(place.report("FFFF", { generation: 0 })).toMatchObject({ kind: "closed", same: false, failures: 0 });
    expect(place.record).toEqual(before);
    expect(place.report("F").kind).toBe("open");
  });

  test("a member that knows none yet is heard if its calls began after it came into this one (C2.3, C2.9)", () => {
    const place = due({ successThreshold: 1, failureThreshold: 1 });
    place.lease("one");
    place.end("one", "success");
    place.now += 50;
    expect(place.report("F", { generation: null, ageMs: 51 })).toMatchObject({ kind: "closed", same: false });
    expect(place.report("F", { generation: null, ageMs: 50 }).kind).toBe("open");
  });

  test("none is given twice, also when the record was lost in between (C2.3, C2.9)", () => {
    const place = due({ successThreshold: 1 });
    const seen = new Set([0]);
    for (let n = 0; n < 20; n++) {
      if (n % 3 === 0) place.record = undefined;
      const { generation } = place.make(ordered(place.settings, n % 2 === 0 ? "isolated" : "closed"));
      expect(seen).not.toContain(generation);
      seen.add(generation);
      place.now += 1;
    }
  });

  test("that follow each other within a millisecond are told apart (C2.3, C2.9)", () => {
    const place = new Place();
    const generations = Array.from({ length: 5 }, () => place.make(ordered(place.settings, "isolated")).generation);
    expect(generations).toEqual([0, 1, 2, 3, 4].map((n) => 1_000_000 + n));
  });

  test("a closed record is kept for an hour, so that what began before is known; then it goes (C2.3, C2.9)", () => {
    const place = due({ successThreshold: 1 });
    place.lease("one");
    place.end("one", "success");
    place.now += 3_600_000;
    place.report("");
    expect(place.record).toBeDefined();
    place.now += 1;
    expect(place.report("")).toMatchObject({ kind: "closed", same: true });
    expect(place.record).toBeUndefined();
  });
});

describe("a quorum", () => {
  test("one instance alone opens nothing, however much it fails; a second one does (C2.9)", () => {
    const place = new Place({ failureThreshold: 3, quorum: 2 });
    expect(place.report("FFFFFFFF", { instance: "a" })).toMatchObject({ kind: "closed", failures: 8 });
    expect(place.report("F", { instance: "a" }).kind).toBe("closed");
    place.report("", { instance: "b" });
    expect(place.report("F", { instance: "b" }).kind).toBe("open");
  });

  test("of failures in a row is not made up by an instance that only succeeded (C2.9)", () => {
    const place = new Place({ failureThreshold: 3, quorum: 2 });
    place.report("FF", { instance: "a" });
    place.report("SS", { instance: "b", endsRow: false });
    expect(place.report("FF", { instance: "a" }).kind).toBe("closed");
  });

  test("counts only instances whose failures count: a success ends the row for all (C2.9)", () => {
    const place = new Place({ failureThreshold: 2, quorum: 2 });
    place.report("F", { instance: "a" });
    place.report("SFF", { instance: "b" });
    expect(place.record!.kind).toBe("closed");
    expect(place.report("F", { instance: "a" }).kind).toBe("open");
  });

  test("forgets an instance that has not failed for a minute, or for the window (C2.9)", () => {
    const place = new Place({ failureThreshold: 2, quorum: 2, recoveryTimeoutMs: 10 });
    place.report("F", { instance: "a" });
    place.now += 60_000;
    expect(place.report("F", { instance: "b" }).kind).toBe("closed");
    place.now += 59_999;
    expect(place.report("F", { instance: "a" }).kind).toBe("open");
    const window = { kind: "time", sizeMs: 1_000 } as const;
    const briefly = new Place({ window, failureThreshold: 2, quorum: 2 });
    briefly.report("F", { instance: "a" });
    briefly.now += 950;
    briefly.report("FF", { instance: "b" });
    briefly.now += 49;
    expect(briefly.report("F", { instance: "b" }).kind).toBe("open");
    const gone = new Place({ window, failureThreshold: 2, quorum: 2 });
    gone.report("F", { instance: "a" });
    gone.now += 1_000;
    expect(gone.report("FFF", { instance: "b" }).kind).toBe("closed");
  });

  test("of a window is made of instances whose calls failed or were slow, not of those that did well (C2.1, C2.9)", () => {
    const window = { kind: "count", size: 9, failureRateThreshold: 0.1, minimumCalls: 1 } as const;
    for (const [calls, kind] of [
      ["S", "closed"],
      ["F", "open"],
      ["s", "open"],
      ["Fs", "open"],
    ]) {
      const place = new Place({ window, quorum: 2, slowCallMs: 5 });
      expect(place.report("FF", { instance: "a" }).kind).toBe("closed");
      expect(place.report(calls!, { instance: "b" }).kind).toBe(kind);
    }
  });

  test("keeps no more instances than it needs (C2.8, C2.9)", () => {
    const place = new Place({ failureThreshold: 999, quorum: 3 });
    for (let n = 0; n < 50; n++) place.report("F", { instance: `number ${n}` });
    expect((place.record as { blamed: unknown[] }).blamed).toHaveLength(3);
  });

  test("is needed to open it again: a probe that fails for one instance only sends that one away (C2.9)", () => {
    const place = due({ quorum: 2, successThreshold: 1 });
    place.lease("one");
    expect(place.end("one", "failure", "a")).toBe(true);
    expect(place.record!.kind).toBe("half_open");
    place.lease("two");
    expect(place.end("two", "failure", "a")).toBe(true);
    place.lease("three");
    expect(place.end("three", "failure", "b")).toBe(false);
    expect(place.record!.kind).toBe("open");
  });
});

describe("how long a record is kept that nobody touches", () => {
  const dayMs = 86_400_000;

  test("is a day, and beyond the time for which it is open (C2.9)", () => {
    const place = new Place({ failureThreshold: 2, recoveryTimeoutMs: 3 * dayMs });
    place.report("F");
    expect(place.keepMs).toBe(dayMs);
    place.report("F");
    expect(place.record!.kind).toBe("open");
    expect(place.keepMs).toBe(4 * dayMs);
    place.now += 3 * dayMs + 5;
    place.report("");
    expect(place.keepMs).toBe(dayMs);
  });

  test("is for ever after an order by hand (C2.6, C2.9)", () => {
    const place = new Place();
    for (const kind of ["isolated", "disabled"] as const) {
      place.make(ordered(place.settings, kind));
      expect(place.keepMs).toBe(Infinity);
    }
  });
});

test("what a view says is the same state on another clock (C2.9)", () => {
  const place = due();
  place.now -= 40;
  const state = (): unknown => stateIn(place.report(""), 500);
  expect(state()).toEqual({ kind: "open", openedAt: 440, until: 540, failures: 1, refusal: null });
  place.now += 40;
  place.lease("one");
  place.now += 10;
  expect(state()).toEqual({ kind: "half_open", openedAt: 390, failures: 1, successes: 0, probes: new Map() });
  place.make(ordered(place.settings, "closed"));
  expect(state()).toEqual({ kind: "closed", calls: 0, failures: 0 });
  place.make(ordered(place.settings, "isolated"));
  expect(state()).toEqual({ kind: "isolated", refusal: null });
  place.make(ordered(place.settings, "disabled"));
  expect(state()).toEqual({ kind: "disabled" });
});

describe("orders by hand", () => {
  test("hold until they are taken back, whatever is reported (C2.6, C2.9)", () => {
    const place = new Place({ failureThreshold: 1 });
    for (const kind of ["isolated", "disabled"] as const) {
      expect(place.make(ordered(place.settings, kind)).kind).toBe(kind);
      expect(place.report("FFF").kind).toBe(kind);
      expect(place.lease("one")).toBe(false);
      place.now += 1e10;
      expect(place.report("").kind).toBe(kind);
    }
    expect(place.make(ordered(place.settings, "closed"))).toMatchObject({ kind: "closed", failures: 0, same: true });
  });
});

test("a window in other words than the record's is no reason to fail (C2.9)", () => {
  const place = new Place();
  place.report("FF");
  const other = new Place({ window: { kind: "time", sizeMs: 100 } });
  other.record = place.record;
  expect(other.report("F")).toMatchObject({ kind: "closed", totals: { calls: 1, failures: 1 } });
});
