import type { SharedChange } from "../core/shared-state.ts";
import type { BreakerSettings } from "./breaker-options.ts";
import { type BreakerState, openTimeMs, shouldOpen } from "./breaker-state.ts";
import { SLICES, type WindowTotals } from "./failure-window.ts";

/**
 * A breaker as its processes share it: one record, and every decision about it as a pure function of the record and
 * the time of the place where it lies. `since` is when it came into its state; there is no record where nothing has
 * happened. A generation is one stay in a state: never given twice, also where a record was lost in between.
 */
export type BreakerRecord = { generation: number; since: number; reopened: number } & (
  | ({ kind: "closed"; calls: number; failures: number; parts: Part[] } & Blamed)
  | { kind: "open"; until: number; failures: number }
  | ({
      kind: "half_open";
      openedAt: number;
      failures: number;
      successes: number;
      leases: [lease: string, expiresAt: number][];
    } & Blamed)
  | { kind: "isolated" }
  | { kind: "disabled" }
);

/** Calls of a window: those of one slice of time (`slice`), or some that came one after the other (`slice` is 0). */
type Part = [slice: number, calls: number, failures: number, slow: number];

/** Which instances had failures that count now, and when last: the youngest `quorum` of them, where that is above 1. */
interface Blamed {
  blamed?: [instance: string, at: number][];
}

/** What a member has counted since its last report. */
export interface Batch {
  readonly instance: string;
  /** The stay in the closed state in which the calls began; null for a member that does not know it yet. */
  readonly generation: number | null;
  /** How long ago the first of the calls can have begun. */
  readonly ageMs: number;
  /** Whether one succeeded after failures that the record has, and how many failed after the last that succeeded. */
  readonly endsRow: boolean;
  readonly trailing: number;
  readonly parts: readonly BatchPart[];
}

export interface BatchPart extends WindowTotals {
  ageMs: number;
}

/** What a member learns of the record: instants are told as time from now, since each has a clock of its own. */
export interface FleetView {
  /** When this was so, by the clock of the place. */
  readonly at: number;
  readonly generation: number;
  readonly kind: BreakerRecord["kind"];
  /** What a member that asked has counted belongs to this very generation. */
  readonly same: boolean;
  readonly reopened: number;
  readonly failures: number;
  readonly successes: number;
  /** Calls in the window; null where failures in a row are counted. */
  readonly totals: WindowTotals | null;
  readonly openForMs: number;
  readonly leftMs: number;
}

export interface LeaseAnswer {
  view: FleetView;
  granted: boolean;
}

export interface ProbeAnswer {
  view: FleetView;
  /** The probe failed, but too few instances have seen that to open for all. */
  alone: boolean;
}

/** How a probe ended; `neutral` says nothing about the service. */
export type ProbeEnd = "success" | "failure" | "neutral";

type Change<R> = (last: BreakerRecord | undefined, now: number) => SharedChange<BreakerRecord, R>;

/** How long a record is kept that nobody touches. */
const KEPT_MS = 86_400_000;

/** Orders given by hand hold until they are taken back. */
const KEPT_BY_HAND_MS = Infinity;

/** How long a closed record without failures is kept, so that what began before it closed is known to be stale. */
const FENCED_MS = 3_600_000;

/** An instance that had no failure for so long does not count for the quorum; longer where the breaker opens for longer. */
const BLAMED_MS = 60_000;

/** A window of calls is kept in no more than about this many parts. */
const MOST_PARTS = 50;

/** Takes in what a member has counted, which may be nothing, and opens where that is enough. */
export function counted(settings: BreakerSettings, batch: Batch, draw: number): Change<FleetView> {
  return (last, now) => {
    const same =
      last === undefined ||
      last.generation === batch.generation ||
      (batch.generation === null && last.since <= now - batch.ageMs);
    const record = last ?? { generation: 0, since: 0, reopened: 0, kind: "closed", calls: 0, failures: 0, parts: [] };
    if (record.kind !== "closed") return keeping(settings, record, now, same);
    const parts = recentParts(settings, record.parts, now);
    if (!same || batch.parts.length === 0) return keeping(settings, { ...record, parts }, now, same);

    const { calls, failures, slow } = sumOf(batch.parts);
    const row = settings.window.kind === "consecutive";
    const endsRow = row && batch.endsRow;
    const bad = row ? batch.trailing > 0 : failures + slow > 0;
    const next = {
      ...record,
      calls: row ? Math.min(record.calls + calls, settings.volumeThreshold) : 0,
      failures: row ? (endsRow ? 0 : record.failures) + batch.trailing : 0,
      parts: withBatch(settings, parts, batch, now),
      ...blamed(settings, endsRow ? undefined : record.blamed, bad, batch.instance, now),
    };
    const totals = totalsOf(settings, next.parts);
    if (!shouldOpen(settings, next, totals) || !hasQuorum(settings, next)) return keeping(settings, next, now, same);
    return keeping(settings, opened(settings, record, totals?.failures ?? next.failures, now, draw), now, same);
  };
}

/** Asks for the place of a probe, once the open time is over. */
export function leased(settings: BreakerSettings, lease: string): Change<LeaseAnswer> {
  return (last, now) => {
    const expiresAt = now + settings.probeTimeoutMs;
    const answer = (record: BreakerRecord | undefined, granted: boolean): SharedChange<BreakerRecord, LeaseAnswer> => {
      const { result: view, ...kept } = keeping(settings, record, now, false);
      return { ...kept, result: { view, granted } };
    };
    if (last?.kind === "open" && now >= last.until) {
      const { since: openedAt, reopened, failures } = last;
      return answer(
        {
          ...{ kind: "half_open", generation: following(last, now), since: now, reopened },
          ...{ openedAt, failures, successes: 0, leases: [[lease, expiresAt]] },
        },
        true,
      );
    }
    if (last?.kind !== "half_open") return answer(last, false);
    const leases = last.leases.filter(([, until]) => until > now);
    const granted = leases.length < settings.halfOpenMaxConcurrent;
    if (granted) leases.push([lease, expiresAt]);
    return answer({ ...last, leases }, granted);
  };
}

/**
 * Gives the place of a probe back with what came of it. A lease is given once, and is gone when its time or its
 * generation has ended: what comes then changes nothing.
 */
export function settled(
  settings: BreakerSettings,
  probe: { instance: string; lease: string; end: ProbeEnd },
  draw: number,
): Change<ProbeAnswer> {
  return (last, now) => {
    const answer = (record: BreakerRecord | undefined, alone = false): SharedChange<BreakerRecord, ProbeAnswer> => {
      const { result: view, ...kept } = keeping(settings, record, now, false);
      return { ...kept, result: { view, alone } };
    };
    if (last?.kind !== "half_open") return answer(last);
    const live = last.leases.filter(([, until]) => until > now);
    const leases = live.filter(([lease]) => lease !== probe.lease);
    if (leases.length === live.length || probe.end === "neutral") return answer({ ...last, leases });
    if (probe.end === "success") {
      const successes = last.successes + 1;
      if (successes < settings.successThreshold) return answer({ ...last, leases, successes });
      return answer(asOrdered("closed", last, now));
    }
    const next = { ...last, leases, ...blamed(settings, last.blamed, true, probe.instance, now) };
    if (!hasQuorum(settings, next)) return answer(next, true);
    return answer(opened(settings, last, last.failures + 1, now, draw));
  };
}

/** Puts the record into a state by hand. */
export function ordered(settings: BreakerSettings, kind: "closed" | "isolated" | "disabled"): Change<FleetView> {
  return (last, now) => keeping(settings, asOrdered(kind, last, now), now, true);
}

function asOrdered(
  kind: "closed" | "isolated" | "disabled",
  last: BreakerRecord | undefined,
  now: number,
): BreakerRecord {
  const stay = { generation: following(last, now), since: now, reopened: 0 };
  return kind === "closed" ? { ...stay, kind, calls: 0, failures: 0, parts: [] } : { ...stay, kind };
}

function opened(
  settings: BreakerSettings,
  last: BreakerRecord,
  failures: number,
  now: number,
  draw: number,
): BreakerRecord {
  const until = now + openTimeMs(settings, last.reopened, () => draw);
  return {
    ...{ kind: "open", generation: following(last, now), since: now, until },
    ...{ reopened: last.reopened + 1, failures },
  };
}

// The time of the place never runs backwards, so that a record made anew does not repeat the number of a lost one.
function following(last: BreakerRecord | undefined, now: number): number {
  return Math.max((last?.generation ?? 0) + 1, Math.floor(now));
}

/** Leaves the record there, where it says anything, and tells what it says. */
function keeping(
  settings: BreakerSettings,
  record: BreakerRecord | undefined,
  now: number,
  same: boolean,
): SharedChange<BreakerRecord, FleetView> {
  const silent =
    record === undefined ||
    (record.kind === "closed" &&
      record.failures === 0 &&
      record.parts.length === 0 &&
      (record.calls === 0 || settings.volumeThreshold === 1) &&
      (record.generation === 0 || now - record.since > FENCED_MS));
  if (silent) return { next: undefined, keepMs: 0, result: viewOf(settings, undefined, now, same) };
  const byHand = record.kind === "isolated" || record.kind === "disabled";
  const openMs = record.kind === "open" ? Math.max(0, record.until - now) : 0;
  return {
    next: record,
    keepMs: byHand ? KEPT_BY_HAND_MS : KEPT_MS + openMs,
    result: viewOf(settings, record, now, same),
  };
}

function viewOf(settings: BreakerSettings, record: BreakerRecord | undefined, now: number, same: boolean): FleetView {
  const totals = totalsOf(settings, record?.kind === "closed" ? record.parts : []);
  const openedAt = record?.kind === "half_open" ? record.openedAt : record?.kind === "open" ? record.since : now;
  const failures = record !== undefined && "failures" in record ? record.failures : 0;
  return {
    at: now,
    generation: record?.generation ?? 0,
    kind: record?.kind ?? "closed",
    same,
    reopened: record?.reopened ?? 0,
    failures: record?.kind === "closed" && totals !== null ? totals.failures : failures,
    successes: record?.kind === "half_open" ? record.successes : 0,
    totals,
    openForMs: now - openedAt,
    leftMs: record?.kind === "open" ? Math.max(0, record.until - now) : 0,
  };
}

/** The state of a breaker that follows its fleet, from `now` on its own clock. */
export function stateIn({ kind, failures, successes, openForMs, leftMs }: FleetView, now: number): BreakerState {
  const openedAt = now - openForMs;
  switch (kind) {
    case "closed":
      return { kind, calls: 0, failures: 0 };
    case "open":
      return { kind, openedAt, until: now + leftMs, failures, refusal: null };
    case "half_open":
      return { kind, openedAt, failures, successes, probes: new Map() };
    case "isolated":
      return { kind, refusal: null };
    case "disabled":
      return { kind };
  }
}

function hasQuorum({ quorum }: BreakerSettings, { blamed: those }: Blamed): boolean {
  return quorum === 1 || those!.length >= quorum;
}

/** Those who had failures lately, with `instance` where it `failed` now. */
function blamed(
  settings: BreakerSettings,
  last: Blamed["blamed"],
  failed: boolean,
  instance: string,
  now: number,
): Blamed {
  const { quorum, window, recoveryTimeoutMs } = settings;
  if (quorum === 1) return {};
  const lastingMs = window.kind === "time" ? window.sizeMs : Math.max(BLAMED_MS, recoveryTimeoutMs);
  const others = last?.filter(([id, at]) => now - at < lastingMs && !(failed && id === instance)) ?? [];
  if (failed) others.push([instance, now]);
  return { blamed: others.slice(-quorum) };
}

function recentParts({ window }: BreakerSettings, parts: readonly Part[], now: number): Part[] {
  if (window.kind !== "time") return [...parts];
  const current = Math.floor(now / (window.sizeMs / SLICES));
  return parts.filter(([slice]) => slice > current - SLICES);
}

function withBatch({ window }: BreakerSettings, last: readonly Part[], batch: Batch, now: number): Part[] {
  if (window.kind === "consecutive") return [];
  const parts = [...last];
  if (window.kind === "time") {
    const sliceMs = window.sizeMs / SLICES;
    const oldest = Math.floor(now / sliceMs) - SLICES + 1;
    for (const { ageMs, calls, failures, slow } of batch.parts) {
      const slice = Math.floor((now - ageMs) / sliceMs);
      if (slice >= oldest) addPart(parts, [slice, calls, failures, slow], (part) => part[0] === slice);
    }
    return parts;
  }
  const { size } = window;
  const most = Math.ceil(size / MOST_PARTS);
  const { calls, failures, slow } = sumOf(batch.parts);
  addPart(parts, [0, calls, failures, slow], (part, i) => i === parts.length - 1 && part[1] + calls <= most);
  let excess = parts.reduce((sum, part) => sum + part[1], 0) - size;
  while (excess >= parts[0]![1]) excess -= parts.shift()![1];
  if (excess <= 0) return parts;
  // Failures are reported at once, so that within a part the successes came first: they are forgotten first.
  const [, held, failed, slowed] = parts[0]!;
  const left = held - excess;
  parts[0] = [0, left, Math.min(failed, left), Math.min(slowed, left)];
  return parts;
}

/** Adds to the part that `fits`, or puts a new one behind the others. */
function addPart(parts: Part[], [slice, calls, failures, slow]: Part, fits: (part: Part, i: number) => boolean): void {
  const at = parts.findIndex(fits);
  if (at < 0) return void parts.push([slice, calls, failures, slow]);
  const part = parts[at]!;
  parts[at] = [slice, part[1] + calls, part[2] + failures, part[3] + slow];
}

function totalsOf({ window }: BreakerSettings, parts: readonly Part[]): WindowTotals | null {
  if (window.kind === "consecutive") return null;
  return sumOf(parts.map(([, calls, failures, slow]) => ({ calls, failures, slow })));
}

function sumOf(all: readonly WindowTotals[]): WindowTotals {
  const sum = { calls: 0, failures: 0, slow: 0 };
  for (const { calls, failures, slow } of all) {
    sum.calls += calls;
    sum.failures += failures;
    sum.slow += slow;
  }
  return sum;
}
