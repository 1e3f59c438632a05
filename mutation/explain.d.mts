/** Says why a fault may survive; null where nobody has said it yet. */
export function explain(fault: { file: string; original: string; replacement: string }): { why: string | null };
