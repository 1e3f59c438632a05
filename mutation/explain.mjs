// Why a fault that no test finds may stand. What is true of many is a kind; the others are in explained/, one by one.
import { readdirSync, readFileSync } from "node:fs";

/** The first that fits counts. */
const KINDS = [
  {
    why: "the listener goes with the call in any case; once only spares it the way out",
    is: ({ original }) => /^\{ once: true \}$/.test(original),
  },
];

const folder = new URL("explained/", import.meta.url);
const ones = new Map();
for (const name of readdirSync(folder).filter((file) => file.endsWith(".json")))
  for (const [file, faults] of Object.entries(JSON.parse(readFileSync(new URL(name, folder), "utf8"))))
    for (const { original, replacement, why } of faults) ones.set(JSON.stringify([file, original, replacement]), why);

/** Says why a fault may survive; null where nobody has said it yet, which makes it a missing test. */
export function explain({ file, original, replacement }) {
  const one = ones.get(JSON.stringify([file, original, replacement]));
  return { why: one ?? KINDS.find(({ is }) => is({ file, original, replacement }))?.why ?? null };
}
