import type { SharedChange } from "../core/shared-state.ts";

/**
 * The books of a budget that processes share. Each process, a member, has one page, on which it writes what it has
 * spent in all and what it holds now. So a page that is written again, since nobody knows whether the first time went
 * through, charges nothing twice; and a process that has died is one page whose holds run out.
 */
export interface LedgerRecord {
  /** What was spent by members whose pages were torn out, since they are gone for long. */
  readonly spent: number;
  readonly pages: Readonly<Record<string, Page>>;
}

/** What one member has spent and holds. */
interface Page {
  /** Rises with each time that the page is written: an older writing that comes late changes nothing. */
  readonly version: number;
  /** Rises each time that the holds of the member have run out: who does not know it yet still writes the last one. */
  readonly term: number;
  readonly spent: number;
  readonly reserved: number;
  readonly unconfirmed: number;
  /** What it holds is free after this instant of the place. */
  readonly until: number;
}

/** A page as its member wants it written. */
export interface Writing extends Omit<Page, "until"> {
  readonly member: string;
  /** What it has spent as far as it knows to be written down. */
  readonly acknowledged: number;
  readonly leaseMs: number;
  readonly limit: number;
}

/** An amount that the member would like to hold. */
export interface Want {
  readonly amount: number;
  /** Whether it waits where there is no room; then nobody behind it gets any either. */
  readonly patient: boolean;
  /** Whether it is held in any case. */
  readonly forced: boolean;
}

/** What became of a want: it fits, it does not, or somebody before it waits for room. */
type Fate = "fits" | "exceeds" | "behind";

/** What the member learns. */
export interface Reading {
  readonly at: number;
  readonly term: number;
  readonly fates: readonly Fate[];
  /** The sums of all other members. */
  readonly others: { readonly spent: number; readonly reserved: number; readonly unconfirmed: number };
}

/** Money is counted for as long as a number of milliseconds can say. */
const KEPT_MS = 1e12;

/** How long after its holds have run out a member is still known, should it come back. */
const REMEMBERED_MS = 3_600_000;

/** Writes a page, and holds what is wanted as far as the limit allows it. */
export function written(
  writing: Writing,
  wants: readonly Want[],
): (last: LedgerRecord | undefined, now: number) => SharedChange<LedgerRecord, Reading> {
  return (last, now) => {
    const { member, limit, leaseMs, acknowledged, ...page } = writing;
    const { [member]: mine, ...pages } = { ...last?.pages };
    let spent = last?.spent ?? 0;
    const others = { spent: 0, reserved: 0, unconfirmed: 0 };
    for (const [id, other] of Object.entries(pages)) {
      if (other.until + REMEMBERED_MS <= now) {
        spent += other.spent;
        delete pages[id];
        continue;
      }
      others.spent += other.spent;
      if (other.until <= now) continue;
      others.reserved += other.reserved;
      others.unconfirmed += other.unconfirmed;
    }
    // A member that was forgotten is among the sum of those. What it knows to be there is not to be there twice. Where
    // the sum is less, the place was emptied, and what its members still know to be spent is written down anew.
    if (mine === undefined) spent -= Math.min(spent, acknowledged);
    others.spent += spent;

    const stale = mine !== undefined && mine.version >= page.version;
    const term = termOf(mine, page, now);
    const next = term === page.term ? { ...page } : { ...page, term, reserved: 0, unconfirmed: 0 };
    const fates: Fate[] = [];
    let free = limit - others.spent - others.reserved - others.unconfirmed;
    free -= next.spent + next.reserved + next.unconfirmed;
    let waits = false;
    for (const { amount, patient, forced } of stale ? [] : wants) {
      const fits: boolean = amount <= free && !waits;
      fates.push(fits ? "fits" : waits ? "behind" : "exceeds");
      waits ||= !fits && patient && !forced;
      if (!fits && !forced) continue;
      next.reserved += amount;
      free -= amount;
    }
    const result = { at: now, term, fates, others };
    const kept = stale ? mine : { ...next, until: now + leaseMs };
    return { next: { spent, pages: { ...pages, [member]: kept } }, keepMs: KEPT_MS, result };
  };
}

/** The term of a member after it has written: a new one where what it holds has run out. */
function termOf(mine: Page | undefined, { term, reserved, unconfirmed }: Omit<Page, "until">, now: number): number {
  if (mine === undefined) return reserved + unconfirmed > 0 ? term + 1 : term;
  return mine.until <= now && mine.reserved + mine.unconfirmed > 0 ? Math.max(mine.term, term) + 1 : mine.term;
}
