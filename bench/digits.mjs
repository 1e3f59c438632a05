/** A figure with three digits; words instead of one stay as they are. */
export function digits(figure) {
  if (figure === null) return "-";
  return typeof figure === "string" ? figure : figure.toFixed(figure < 10 ? 2 : figure < 100 ? 1 : 0);
}
