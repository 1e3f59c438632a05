// Why a fault that no test finds may stand: nobody could see it, or only in a way that no test should fix.

/** By what a fault looks like. The first that fits counts. */
const KINDS = [];

/** By file, original and replacement. */
const ONES = {};

/** Says why a fault may survive; null where nobody has said it yet, which makes it a missing test. */
export function explain({ file, mutator, original, replacement }) {
  const one = ONES[`${file}: ${original} -> ${replacement}`];
  const kind = KINDS.find(({ is }) => is({ file, mutator, original, replacement }));
  return { why: one ?? kind?.why ?? null };
}
