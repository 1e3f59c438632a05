import { nameOf, type Node, parse, walk } from "./syntax.ts";

/** What the comments in some source files say about defaults: `Interface.option` to the text behind `@default`. */
export function documentedDefaults(sources: readonly string[]): Map<string, string> {
  const defaults = new Map<string, string>();
  for (const text of sources) {
    const { program, comments } = parse("source.ts", text);
    walk(program, (node, around) => {
      if (node.type !== "TSPropertySignature") return;
      const owner = around.find(({ id }) => nameOf(id) !== undefined);
      // The last comment that ends before the option, with nothing but blanks between.
      const comment = comments.findLast(({ end }) => end <= node.start);
      if (comment === undefined || text.slice(comment.end, node.start).trim() !== "") return;
      const words = comment.value.replace(/\s*\n\s*\*\s?/g, " ").split("@default ")[1];
      if (words === undefined) return;
      const key = `${nameOf(owner?.id as Node | undefined)}.${nameOf(node.key)}`;
      if (defaults.has(key)) throw new Error(`Two options are called ${key}.`);
      defaults.set(key, words.trim());
    });
  }
  return defaults;
}

/**
 * How to see a default in what the code does. A value is compared by what comes of it: leaving the option out must do
 * what giving the documented value does, and something else than giving `other`, or the probe shows nothing. Words are
 * compared as they are, and `holds` says whether they are true.
 */
export type Probe =
  { other: unknown; observe: (value: unknown) => unknown } | { words: string; holds: () => boolean | Promise<boolean> };

/** Complaints about defaults that are documented without a probe, probed without being documented, or wrong. */
export async function wrongDefaults(
  documented: ReadonlyMap<string, string>,
  probes: Readonly<Record<string, Probe>>,
): Promise<string[]> {
  const complaints = Object.keys(probes)
    .filter((option) => !documented.has(option))
    .map((option) => `${option} has a probe, but no @default.`);
  for (const [option, text] of documented) {
    const probe = probes[option];
    if (probe === undefined) complaints.push(`${option} has @default ${text}, but no probe.`);
    else if ("words" in probe) {
      if (probe.words !== text)
        complaints.push(`${option} has @default ${text}, where the probe expects ${probe.words}.`);
      else if (!(await probe.holds())) complaints.push(`${option} has @default ${text}, which is not so.`);
    } else {
      const observed = async (value: unknown): Promise<string> => JSON.stringify(await probe.observe(value));
      const left = await observed(undefined);
      const given = await observed(valueOf(text));
      if (left !== given)
        complaints.push(`${option} has @default ${text}: left out it gives ${left}, given it gives ${given}.`);
      if (left === (await observed(probe.other)))
        complaints.push(`${option}: its probe sees no difference to ${JSON.stringify(probe.other)}.`);
    }
  }
  return complaints;
}

/** The value that a default is written as. */
function valueOf(text: string): unknown {
  try {
    return new Function(`return (${text});`)() as unknown;
  } catch {
    return `@default ${text} is no value`;
  }
}

/** The first table of a page that begins with an option and its default, numbers without blanks and remarks. */
export function printedDefaults(page: string): Record<string, string> {
  const table = /^\| option \| default \|.*\n\|[-|]+\n((?:\|.*\n)+)/m.exec(page)?.[1] ?? "";
  const rows = table
    .trimEnd()
    .split("\n")
    .map((row) => row.split("|").slice(1, 3));
  const number = (text: string): string => text.replace(/\(.*\)/, "").replaceAll(" ", "");
  return Object.fromEntries(rows.map(([option = "", text = ""]) => [option.replaceAll("`", "").trim(), number(text)]));
}
