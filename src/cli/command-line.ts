import { clean } from "./text.ts";

/** A command of ours as it can be pasted into a shell. */
export function commandLine(...words: string[]): string {
  return clean(["npx", "holdfast", ...words.map(quoted)].join(" "));
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
