const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** The milliseconds that a text such as `30d` or `1.5h` means; undefined where it means none. A bare number has no unit. */
export function durationOf(text: string): number | undefined {
  const [, count, unit] = /^(\d+(?:\.\d+)?)([smhdw])$/.exec(text.trim()) ?? [];
  const milliseconds = Number(count) * UNITS[unit ?? ""]!;
  return Number.isFinite(milliseconds) && milliseconds <= Number.MAX_SAFE_INTEGER ? milliseconds : undefined;
}
