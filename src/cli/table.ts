import { clean, cut } from "./text.ts";

/** Gives a status word its colour, or leaves it as it is. */
export type Paint = (word: string) => string;

/**
 * Rows under headings, in columns as wide as what is in them. Cells are cleaned here, so that nothing from a store can
 * act on the terminal. The last column is cut where it would pass `width`.
 */
export function table(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
  paint: Paint,
  width: number,
): string {
  const cells = [headings, ...rows].map((row) => row.map(clean));
  const widths = headings.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  const last = headings.length - 1;
  const before = widths.slice(0, last).reduce((sum, column) => sum + column + 2, 0);
  return cells
    .map((row, index) =>
      row
        .map((cell, column) => {
          const text = column === last ? cut(cell, Math.max(12, width - before)) : cell;
          const padding = column === last ? "" : " ".repeat(widths[column]! - text.length);
          return (index === 0 ? text : paint(text)) + padding;
        })
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** Names and what they are, one a line. */
export function facts(pairs: readonly (readonly [name: string, value: string])[]): string {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs
    .map(([name, value]) => `  ${name.padEnd(width)}  ${value.replaceAll("\n", `\n${" ".repeat(width + 4)}`)}`)
    .join("\n");
}
