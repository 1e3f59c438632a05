import { randomBytes } from "node:crypto";

/** What every step returns: 1000 characters that no compression makes small. */
export const OUTPUT = randomBytes(750).toString("base64");
