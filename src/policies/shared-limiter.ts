import type { SharedChange } from "../core/shared-state.ts";
import { restMs, type SavedAllowance, SLACK_MS } from "./rate-allowance.ts";
import { Meter, type RateKind } from "./rate-limits.ts";

/** What processes that share a limiter have taken from its limits: nothing where all is there. Instants are the place's. */
export type LimiterRecord = Partial<Record<RateKind, SavedAllowance>> & {
  /** Until then a server wants no calls. */
  closedUntil?: number;
};

/** The record as it is after a change, and the instant of the place at which it was so. */
export interface LimiterView {
  readonly record: LimiterRecord;
  readonly at: number;
}

/** What came of claims: so many of them were granted, from the first on. */
export interface Granted extends LimiterView {
  readonly granted: number;
  /** How long the last one that was looked at has to wait, or would have had to. */
  readonly waitMs: number;
}

/** Amounts of each kind. */
export type Amounts = Readonly<Record<RateKind, number>>;

/** A limit of a limiter. Each change makes meters of its own from them, since it may run more than once. */
type Limit = Pick<Meter, "kind" | "settings">;

export type LimiterChange<R> = (last: LimiterRecord | undefined, now: number) => SharedChange<LimiterRecord, R>;

/**
 * Takes what the claims take, in order, up to the first for which there is no room in every limit. With `withinMs` a
 * claim is granted before its time that would have had to wait no longer than that.
 */
export function granting(limits: readonly Limit[], claims: readonly Amounts[], withinMs = 0): LimiterChange<Granted> {
  return (last, now) => {
    const { meters, closedUntil } = opened(limits, last, now);
    let granted = 0;
    let waitMs = 0;
    for (const claim of claims) {
      waitMs = Math.max(0, closedUntil - now, ...meters.map((meter) => meter.waitMs(claim[meter.kind], 0, now)));
      if (waitMs > Math.max(SLACK_MS, withinMs)) break;
      for (const { kind, allowance } of meters) allowance.take(claim[kind], now);
      granted++;
    }
    const next = closed(meters, last, now);
    return { ...next, result: { ...next.result, granted, waitMs } };
  };
}

/** Takes amounts without asking whether they are there, and returns those below 0, which were taken at `takenAt`. */
export function charging(
  limits: readonly Limit[],
  amounts: Partial<Amounts>,
  takenAt: number,
): LimiterChange<LimiterView> {
  return (last, now) => {
    const { meters } = opened(limits, last, now);
    for (const { kind, allowance } of meters) {
      const amount = amounts[kind] ?? 0;
      if (amount > 0) allowance.take(amount, now);
      else allowance.giveBack(-amount, takenAt);
    }
    return closed(meters, last, now);
  };
}

/** Lowers what there is to what remains elsewhere, and closes the limiter for as long as a server asks for. */
export function learning(
  limits: readonly Limit[],
  remaining: Partial<Amounts>,
  closedForMs: number | undefined,
): LimiterChange<LimiterView> {
  return (last, now) => {
    const { meters, closedUntil } = opened(limits, last, now);
    for (const { kind, allowance } of meters)
      allowance.take(Math.max(0, allowance.available(now) - (remaining[kind] ?? Infinity)), now);
    if (closedForMs === undefined) return closed(meters, last, now);
    return closed(meters, { ...last, closedUntil: Math.max(closedUntil, now + closedForMs) }, now);
  };
}

function opened(
  limits: readonly Limit[],
  last: LimiterRecord | undefined,
  now: number,
): { meters: Meter[]; closedUntil: number } {
  const meters = limits.map(({ kind, settings }) => {
    const meter = new Meter(kind, settings);
    const saved = last?.[kind];
    if (saved !== undefined) meter.allowance.load(saved, now);
    return meter;
  });
  return { meters, closedUntil: last?.closedUntil ?? -Infinity };
}

/** The record with what the meters say. Limits that only other processes have stay as they were. */
function closed(
  meters: readonly Meter[],
  last: LimiterRecord | undefined,
  now: number,
): SharedChange<LimiterRecord, LimiterView> {
  const record: LimiterRecord = { ...last };
  for (const { kind, allowance } of meters) record[kind] = allowance.save();
  if ((record.closedUntil ?? 0) <= now) delete record.closedUntil;
  let keepMs = (record.closedUntil ?? now) - now;
  for (const kind of ["requests", "tokens"] as const) {
    const saved = record[kind];
    const rest = saved === undefined ? 0 : restMs(saved, now);
    if (rest === 0) delete record[kind];
    keepMs = Math.max(keepMs, rest);
  }
  const result = { record, at: now };
  return { next: keepMs === 0 ? undefined : record, keepMs, result };
}
