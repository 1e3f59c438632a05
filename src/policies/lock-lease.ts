import { ANSWER_MS, type SharedChange } from "../core/shared-state.ts";

/** Somebody who holds a permit of a shared lock until `until`, in the time of the place, unless it is renewed. */
interface LeaseHolder {
  /** Tells one acquisition from all others. */
  readonly id: string;
  readonly holderId: string;
  readonly token: number;
  readonly until: number;
}

/** Somebody who was refused and asks again. */
interface LeaseWaiter {
  readonly id: string;
  readonly since: number;
  /** When nobody waits for it any longer, unless it asks again. */
  readonly until: number;
}

/** What lies in the shared state for a lock: nothing while it is free and its last token is past. */
export interface LockRecord {
  /** The last fencing token that was given. */
  readonly token: number;
  /** In the order in which they acquired it; some of them may have run out. */
  readonly holders: readonly LeaseHolder[];
  /** In the order in which they came; some of them may be gone. */
  readonly waiters: readonly LeaseWaiter[];
}

/**
 * Who asks may overtake those who have waited for less than this. Nobody could, if everybody had to wait for the next
 * time that the first in line asks; somebody who takes the lock again and again would have it for ever, if all could.
 */
const PATIENCE_MS = 500;

/**
 * Who has not asked again after this time has given up or is dead. It is more than an answer may take and the pause
 * after it, or who is far away would lose its place each time, and never get the lock while others want it.
 */
const WAITER_MS: number = ANSWER_MS + 500;

/** What somebody asks for who wants a permit. */
export interface LeaseRequest {
  readonly id: string;
  readonly holderId: string;
  readonly leaseMs: number;
  readonly maxConcurrent: number;
  /** Whether it will ask again when it is refused, and so takes its place in line. */
  readonly waits: boolean;
}

/** How a request came out, with everybody who holds the lock then. */
export interface LeaseAnswer {
  /** The fencing token of the permit; null where none was free. */
  readonly token: number | null;
  readonly holders: readonly LeaseHolder[];
  /** When the first of their leases runs out, if it is not renewed; Infinity where nobody holds one. */
  readonly freeInMs: number;
}

type Change<R> = (record: LockRecord | undefined, now: number) => SharedChange<LockRecord, R>;

/**
 * Takes a permit where one is free. Asked again for the same request it answers the same, as it must where the first
 * answer got lost.
 *
 * A token is above the one before, and above the time: the record of a free lock can then be forgotten as soon as that
 * time has come, and tokens rise all the same.
 */
export function taken({ id, holderId, leaseMs, maxConcurrent, waits }: LeaseRequest): Change<LeaseAnswer> {
  return (record, now) => {
    const holders = living(record?.holders, now);
    const waiters = living(record?.waiters, now);
    const last = record?.token ?? 0;
    const mine = holders.find((holder) => holder.id === id);
    const place = waiters.findIndex((waiter) => waiter.id === id);
    const ahead = waiters.slice(0, place === -1 ? undefined : place).filter(({ since }) => now - since >= PATIENCE_MS);
    if (mine !== undefined || holders.length + ahead.length >= maxConcurrent) {
      const waiter = { id, since: waiters[place]?.since ?? now, until: now + WAITER_MS };
      if (mine === undefined && waits) waiters.splice(place === -1 ? waiters.length : place, 1, waiter);
      return kept({ token: last, holders, waiters }, now, answer(mine?.token ?? null, holders, now));
    }
    const token = Math.max(last, Math.floor(now)) + 1;
    const next = {
      token,
      holders: [...holders, { id, holderId, token, until: now + leaseMs }],
      waiters: waiters.filter((waiter) => waiter.id !== id),
    };
    return kept(next, now, answer(token, next.holders, now));
  };
}

/** Lengthens a lease. False where it has run out: then it is lost, whether or not somebody has taken its place. */
export function renewed(id: string, leaseMs: number): Change<boolean> {
  return (record, now) => {
    const held = living(record?.holders, now).some((holder) => holder.id === id);
    const lengthened = (holder: LeaseHolder): LeaseHolder =>
      holder.id === id ? { ...holder, until: now + leaseMs } : holder;
    return kept(record && { ...record, holders: living(record.holders, now).map(lengthened) }, now, held);
  };
}

/**
 * Gives a permit back, or a place in line. Does nothing where it has run out: what others have taken since stays
 * theirs.
 */
export function released(id: string): Change<void> {
  return (record, now) => {
    const isOther = (one: { id: string }): boolean => one.id !== id;
    const next = record && {
      token: record.token,
      holders: living(record.holders, now).filter(isOther),
      waiters: living(record.waiters, now).filter(isOther),
    };
    return kept(next, now, undefined);
  };
}

function living<T extends { until: number }>(list: readonly T[] | undefined, now: number): T[] {
  return list?.filter(({ until }) => until > now) ?? [];
}

function answer(token: number | null, holders: readonly LeaseHolder[], now: number): LeaseAnswer {
  return { token, holders, freeInMs: Math.min(...holders.map(({ until }) => until - now)) };
}

/** The record, for as long as it says something: who holds the lock or waits, and what the next token must be above. */
function kept<R>(next: LockRecord | undefined, now: number, result: R): SharedChange<LockRecord, R> {
  if (next === undefined) return { next, keepMs: 0, result };
  const until = Math.max(next.token + 1, ...[...next.holders, ...next.waiters].map((one) => one.until));
  return { next, keepMs: Math.max(0, until - now), result };
}
