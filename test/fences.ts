import { parse } from "./syntax.ts";

/** A block of code in a page, and where it stands. */
export interface Block {
  page: string;
  /** The line of its first line of code, from 1. */
  line: number;
  /** What stands behind the opening fence: `ts`, `ts no-run`, `sh` … */
  language: string;
  code: string;
}

export interface Scanned {
  blocks: Block[];
  complaints: string[];
}

const LANGUAGES = new Set(["ts", "ts no-run", "sh", "json", "yaml", "text", "mermaid", "diff"]);

const OPENING = /^([ \t]*)(`{3,}|~{3,})(.*)$/;

/** The fenced blocks of a Markdown page. Complains of a fence without a known language or without an end. */
export function blocksOf(page: string, text: string, firstLine = 1): Scanned {
  const blocks: Block[] = [];
  const complaints: string[] = [];
  let open: { fence: string; indent: number; language: string; line: number; code: string[] } | undefined;
  for (const [index, raw] of text.split("\n").entries()) {
    const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
    const number = firstLine + index;
    const [, space = "", fence = "", info = ""] = OPENING.exec(line) ?? [];
    if (open === undefined) {
      if (/^\s*([>*+-]|\d+[.)]).*?(```|~~~)/.test(line) && !/(```|~~~).*\1/.test(line.replace(/^[^`~]*/, "")))
        complaints.push(`${page}:${number} a fence must begin its line.`);
      // Backquotes behind backquotes are code within a line, not a fence.
      if (fence === "" || (fence.startsWith("`") && info.includes("`"))) continue;
      open = { fence, indent: space.length, language: info.trim(), line: number + 1, code: [] };
      if (open.language === "") complaints.push(`${page}:${number} a fence without a language.`);
      else if (!LANGUAGES.has(open.language))
        complaints.push(
          `${page}:${number} a fence of the unknown language "${open.language}". Known: ${[...LANGUAGES].join(", ")}.`,
        );
    } else if (info.trim() === "" && fence.startsWith(open.fence)) {
      blocks.push({ page, line: open.line, language: open.language, code: open.code.join("\n") });
      open = undefined;
    } else {
      if (fence.startsWith(open.fence))
        complaints.push(`${page}:${number} a fence opens within that of line ${open.line - 1}, which was not closed.`);
      open.code.push(line.slice(Math.min(open.indent, line.length - line.trimStart().length)));
    }
  }
  if (open !== undefined) complaints.push(`${page}:${open.line - 1} a fence that is never closed.`);
  return { blocks, complaints };
}

/** The fenced blocks in the documentation comments of a source file. */
export function blocksInComments(path: string, text: string): Scanned {
  const scanned: Scanned = { blocks: [], complaints: [] };
  let line = 1;
  let at = 0;
  for (const { type, value, start } of parse(path, text).comments) {
    if (type !== "Block" || !value.startsWith("*")) continue;
    for (; at < start; at++) if (text[at] === "\n") line++;
    const prose = value.replace(/^[ \t]*\* ?/gm, "");
    const { blocks, complaints } = blocksOf(path, prose, line);
    scanned.blocks.push(...blocks);
    scanned.complaints.push(...complaints);
  }
  return scanned;
}
