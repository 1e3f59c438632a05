import type { Policy } from "./policy.ts";

/** Two policies of a pipeline whose order takes the sense from one of them. */
export interface OrderProblem {
  /** The outer one, as its kind and name. */
  outer: string;
  inner: string;
  why: string;
}

/** That something of kind `inner` stands inside something of kind `outer` is wrong, for this reason. */
interface Rule {
  readonly outer: string;
  readonly inner: string;
  readonly why: string;
  /** Further conditions, where the kinds alone do not tell. `inside` is all that the outer one wraps. */
  readonly only?: (outer: Policy<unknown>, inner: Policy<unknown>, inside: readonly Policy<unknown>[]) => boolean;
}

const SWALLOWED = "the fallback turns failures into values, so that what stands outside it never sees one";
const SLOT_HELD = "its slot is held through every wait between attempts, so that calls which only wait keep others out";
const ONCE_A_SERIES = "it admits a whole series of attempts as one call, so that repeats pass it by unlimited";

/**
 * The orders that defeat themselves. An order that is merely unusual is not here: a breaker outside a retry sees one
 * call for each series, which somebody may want.
 */
const RULES: readonly Rule[] = [
  { outer: "retry", inner: "fallback", why: SWALLOWED },
  { outer: "circuitBreaker", inner: "fallback", why: SWALLOWED },
  { outer: "bulkhead", inner: "retry", why: SLOT_HELD },
  { outer: "adaptiveConcurrency", inner: "retry", why: SLOT_HELD },
  { outer: "rateLimiter", inner: "retry", why: ONCE_A_SERIES },
  {
    outer: "timeout",
    inner: "retry",
    why: "attemptTimeoutMs bounds all attempts together here, so that one that hangs leaves no time for another",
    only: (timeout, _, inside) => saysAttempt(timeout) && !inside.some(({ kind }) => kind === "timeout"),
  },
  {
    outer: "retry",
    inner: "timeout",
    why: "totalTimeoutMs bounds one attempt here, so that nothing bounds all of them and the waits between",
    only: (_, timeout, inside) => saysTotal(timeout) && !inside.some(({ kind }) => kind === "retry"),
  },
];

const saysAttempt = (timeout: Policy<unknown>): boolean => timeout.describe().options.attemptTimeoutMs !== undefined;
const saysTotal = (timeout: Policy<unknown>): boolean => timeout.describe().options.totalTimeoutMs !== undefined;

/** What is wrong with the order of some policies, outermost first: for each of them the first that it clashes with. */
export function orderProblems(policies: readonly Policy<unknown>[]): OrderProblem[] {
  const problems: OrderProblem[] = [];
  for (const [index, outer] of policies.entries()) {
    const inside = policies.slice(index + 1);
    for (const inner of inside) {
      const why = whyWrong(outer, inner, inside);
      if (why === undefined) continue;
      problems.push({ outer: titleOf(outer), inner: titleOf(inner), why });
      break;
    }
  }
  return problems;
}

function whyWrong(
  outer: Policy<unknown>,
  inner: Policy<unknown>,
  inside: readonly Policy<unknown>[],
): string | undefined {
  if (outer.kind === "chaos" && inner.kind !== "chaos")
    return "what chaos injects does not pass through the policies inside it, so that they are not put to the test";
  return RULES.find(
    (rule) => rule.outer === outer.kind && rule.inner === inner.kind && (rule.only?.(outer, inner, inside) ?? true),
  )?.why;
}

function titleOf({ kind, name }: Policy<unknown>): string {
  return `${kind} "${name}"`;
}
