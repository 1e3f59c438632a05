import type { DueTimes } from "./due-times.ts";

/** What becomes of due times that have passed without anybody taking them up. */
export type Missed = "skip" | "run-once" | "run-all";

/** What a schedule was asked to do, as plain data. Processes with other terms under the same id leave it alone. */
export interface ScheduleTerms {
  readonly workflowId: string;
  readonly cron: string | null;
  readonly timeZone: string | null;
  readonly everyMs: number | null;
  readonly missed: Missed;
  readonly graceMs: number;
  readonly overlap: "allow" | "skip";
}

/** What is durable of a schedule. Instants are those of the wall clock, in milliseconds. */
export interface ScheduleRecord {
  readonly terms: ScheduleTerms;
  /** When its timing was set: what comes every so often is counted from here. */
  readonly anchor: number;
  /** Due times until this one, included, are done with. */
  readonly handled: number;
  /** The due time whose run was the last to be started; null before the first one. */
  readonly started: number | null;
  /** A due time that somebody has taken up. Whatever happens, its run is started: by him, or after him by another. */
  readonly taken: Taken | null;
  readonly paused: boolean;
}

interface Taken {
  readonly due: number;
  readonly by: string;
  /** In the time of the place: until then nobody else starts it. */
  readonly until: number;
}

/** Due times that were passed over: the first, the last, and how many; undefined where there are too many to count. */
interface PassedOver {
  readonly from: number;
  readonly to: number;
  readonly count: number | undefined;
}

/** Somebody looks at the record: when, what he has done since he last looked, and whether he will do more. */
export interface Look {
  readonly terms: ScheduleTerms;
  readonly by: string;
  /** The wall clock of the one who looks. */
  readonly wall: number;
  /** Since when he has tried to look. A place that does not answer makes nothing late for those who are there. */
  readonly since: number;
  /** The due time that he had been given, and whether a run was started for it. */
  readonly done: { readonly due: number; readonly started: boolean } | null;
  /** False where he is about to stop: he is given nothing more, and what he has is up to others at once. */
  readonly open: boolean;
  /** Whether he has looked before in this round, so that the number of due times has been seen to be within bounds. */
  readonly again: boolean;
}

/** What he is to do: start the run of a due time, look again after a while, or rest until a due time that is to come. */
type Next =
  | { readonly kind: "start"; readonly due: number; readonly previous: number | null }
  | { readonly kind: "wait"; readonly ms: number }
  | { readonly kind: "rest"; readonly until: number | undefined };

/** The record after a look, what was passed over, and what is to be done. */
export interface Looked {
  readonly record: ScheduleRecord;
  readonly passedOver: PassedOver | null;
  readonly next: Next;
}

/** A record stays until somebody removes it. */
export const FOREVER_MS: number = Infinity;

/** How many due times that have piled up are carried out at most. */
const MOST_PILED_UP = 1_000;

/** How long a due time stays with the one who has taken it up. A start takes milliseconds; a dead process takes none. */
const TAKEN_MS = 10_000;

/** How long to wait before looking again at a record that others have replaced or removed. */
export const ABSENT_MS = 60_000;

/**
 * The record once a schedule is set, new or over an earlier one. As long as the timing is the same it goes on where it
 * was: after a restart, due times in between have been missed. Another timing begins to count now.
 */
export function scheduled(last: ScheduleRecord | undefined, terms: ScheduleTerms, wall: number): ScheduleRecord {
  if (last === undefined) return { terms, anchor: wall, handled: wall, started: null, taken: null, paused: false };
  const { cron, timeZone, everyMs } = last.terms;
  const same = cron === terms.cron && timeZone === terms.timeZone && everyMs === terms.everyMs;
  return same ? { ...last, terms } : { ...last, terms, anchor: wall, handled: wall };
}

/** The record while the schedule is paused, or from its end on. What was due in between is not made up for. */
export function paused(last: ScheduleRecord, pause: boolean, wall: number): ScheduleRecord {
  if (last.paused === pause) return last;
  return { ...last, paused: pause, handled: pause ? last.handled : Math.max(last.handled, wall) };
}

/** What comes of a look. `now` is the time of the place. */
export function look(last: ScheduleRecord, times: DueTimes, looking: Look, now: number): Looked {
  const record = looking.done === null ? last : settled(last, looking.done);
  const { taken } = record;
  const mine = taken?.by === looking.by;
  if (!looking.open) {
    const left = mine ? { ...record, taken: { ...taken, until: now } } : record;
    return { record: left, passedOver: null, next: { kind: "wait", ms: ABSENT_MS } };
  }
  if (!sameTerms(record.terms, looking.terms))
    return { record, passedOver: null, next: { kind: "wait", ms: ABSENT_MS } };
  if (record.paused) return { record, passedOver: null, next: { kind: "rest", until: times.next(looking.wall) } };
  if (taken === null) return takeUp(record, times, looking, now);
  if (!mine && taken.until > now) return { record, passedOver: null, next: { kind: "wait", ms: taken.until - now } };
  return given(record, taken.due, looking, now, null);
}

/** The record once a due time is done with. */
function settled(last: ScheduleRecord, { due, started }: NonNullable<Look["done"]>): ScheduleRecord {
  return {
    ...last,
    handled: Math.max(last.handled, due),
    started: started ? Math.max(last.started ?? due, due) : last.started,
    taken: last.taken !== null && last.taken.due <= due ? null : last.taken,
  };
}

/**
 * Looks for what is due and not done with. All but the newest have been overtaken, and the newest is late once its
 * grace is over: that is what the terms about missed due times decide on.
 */
function takeUp(record: ScheduleRecord, times: DueTimes, looking: Look, now: number): Looked {
  const { missed, graceMs } = record.terms;
  const { handled } = record;
  const all = missed === "run-all";
  const first = times.next(handled);
  if (first === undefined || first > looking.wall)
    return { record, passedOver: null, next: { kind: "rest", until: first } };
  const due = all && looking.again ? [first] : times.newest(handled, looking.wall, MOST_PILED_UP + 1);
  const tooMany = due.length > MOST_PILED_UP;
  const newest = due.at(-1)!;
  let dropped = 0;
  if (all) dropped = tooMany ? 1 : 0;
  else dropped = missed === "run-once" || looking.since - newest <= graceMs ? due.length - 1 : due.length;
  if (dropped === 0) return given(record, first, looking, now, null);
  const to = due[dropped - 1]!;
  const passedOver = { from: first, to, count: tooMany ? undefined : dropped };
  const left = { ...record, handled: to };
  if (dropped < due.length) return given(left, due[dropped]!, looking, now, passedOver);
  return { record: left, passedOver, next: { kind: "rest", until: times.next(to) } };
}

function given(record: ScheduleRecord, due: number, { by }: Look, now: number, passedOver: PassedOver | null): Looked {
  const taken = { due, by, until: now + TAKEN_MS };
  return { record: { ...record, taken }, passedOver, next: { kind: "start", due, previous: record.started } };
}

function sameTerms(one: ScheduleTerms, other: ScheduleTerms): boolean {
  return (Object.keys(one) as (keyof ScheduleTerms)[]).every((term) => one[term] === other[term]);
}
