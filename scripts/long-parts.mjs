import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseSync } from "oxc-parser";

const FOLDERS = ["src", "test", "scripts", "examples", "bench", "peers", "mutation"];
const LONGEST_FILE = 400;
const LONGEST_FUNCTION = 70;

/** Files of more than 400 lines and functions of more than 70, longest first: each a reason to look twice. */
export function longParts(root) {
  const found = [];
  for (const path of FOLDERS.flatMap((folder) => sourcesBelow(root, folder))) {
    const text = readFileSync(join(root, path), "utf8");
    const lines = text.split("\n").length - 1;
    if (lines > LONGEST_FILE) found.push({ lines, what: path });
    for (const { name, start, end } of functionsIn(parseSync(path, text).program, path)) {
      const length = text.slice(start, end).split("\n").length;
      if (length > LONGEST_FUNCTION) found.push({ lines: length, what: `${name} in ${path}` });
    }
  }
  return found.sort((a, b) => b.lines - a.lines).map(({ lines, what }) => `${lines} lines: ${what}`);
}

function sourcesBelow(root, folder) {
  return readdirSync(join(root, folder), { recursive: true })
    .map((path) => join(folder, path))
    .filter((path) => /\.(ts|mjs)$/.test(path) && !path.includes("node_modules"));
}

/** Every function with a name that a reader would know it by. A suite of tests is no function to a reader. */
function functionsIn(node, path, name = "a function") {
  const found = [];
  const isFunction = /^(FunctionDeclaration|FunctionExpression|ArrowFunctionExpression)$/.test(node.type);
  if (isFunction && !path.endsWith(".test.ts"))
    found.push({ name: node.id?.name ?? name, start: node.start, end: node.end });
  const own = node.id?.name ?? node.key?.name ?? (isFunction ? "a function" : name);
  for (const child of Object.values(node).flat()) {
    if (typeof child?.type === "string") found.push(...functionsIn(child, path, own));
  }
  return found;
}
