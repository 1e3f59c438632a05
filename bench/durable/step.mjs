import { randomBytes } from "node:crypto";

/** What every step returns: 1000 characters that no compression makes small. */
export const OUTPUT = randomBytes(750).toString("base64");

/** Microseconds of a clock that nobody sets. */
export const now = () => Number(process.hrtime.bigint()) / 1000;

/** Settles never: what a step awaits whose process is about to be killed. */
export const never = () => new Promise(() => {});
