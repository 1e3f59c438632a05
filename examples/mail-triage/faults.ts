import { createHash } from "node:crypto";

/**
 * Which calls a server spoils. Worked out from the seed, the key of the request and how often the server has been
 * called under that key, and from nothing else: two runs with the same seed meet the same faults, whatever the order
 * in which their calls arrive.
 */
export interface FaultPlan<Kind extends string> {
  seed: number;
  /** Share of calls, from 0 to 1. */
  rate: number;
  /** Equally likely. */
  kinds: readonly Kind[];
  /**
   * No key meets more faults than this. One less than the attempts that a client makes: then every request gets
   * through in the end, and the result has to be that of a run without faults.
   */
  most: number;
}

/** What happens to the given call under a key, counted from 1; null where it is served. */
export function faultOf<Kind extends string>(plan: FaultPlan<Kind>, key: string, call: number): Kind | null {
  let met = 0;
  let fault: Kind | null = null;
  for (let n = 1; n <= call; n++) {
    fault = met < plan.most ? faultAt(plan, `${key}/${n}`) : null;
    if (fault !== null) met++;
  }
  return fault;
}

function faultAt<Kind extends string>({ seed, rate, kinds }: FaultPlan<Kind>, name: string): Kind | null {
  const draw = drawOf(seed, name);
  return draw < rate ? (kinds[Math.floor((draw / rate) * kinds.length)] ?? null) : null;
}

/** A number in [0, 1) that belongs to a name under a seed. */
function drawOf(seed: number, name: string): number {
  return createHash("sha256").update(`${seed}/${name}`).digest().readUInt32BE() / 2 ** 32;
}
