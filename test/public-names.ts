import { dirname, join } from "node:path/posix";
import { isNode, nameOf, type Node, parse, walk } from "./syntax.ts";

/** What a module declares, imports and exports, by name. */
interface Module {
  /** What is declared here; an overloaded function several times. */
  declared: Map<string, Declaration[]>;
  /** Local names that come from elsewhere. */
  imported: Map<string, Origin>;
  /** Exported names and what they stand for. */
  exported: Map<string, Origin>;
  /** Modules whose exports are all exported again. */
  passedOn: string[];
}

interface Origin {
  /** Undefined for this module itself. */
  from: string | undefined;
  name: string;
}

interface Declaration {
  text: string;
  /** Every name that stands in it. */
  mentions: Set<string>;
}

/** Where something is declared. */
type Place = readonly [path: string, name: string];

/**
 * Everything that a user of an entry can see: each public name with its declaration, and behind them what these mention
 * without its being exported. `read` gives the text of a file of declarations by its path.
 */
export function publicNames(entry: string, read: (path: string) => string): Map<string, string> {
  const modules = new Modules(read);
  const shown = new Map<string, string>();
  const queue: { title: string; place: Place }[] = [...modules.exportsOf(entry)].map(([title, origin]) => {
    const place = modules.declarationOf(origin.from ?? entry, origin.name);
    if (place === undefined) throw new Error(`${entry} exports ${title}, whose declaration is not to be found.`);
    return { title, place };
  });
  const publicOnes = new Set(queue.map(({ place }) => place.join("#")));
  for (const { title, place } of queue) {
    const declarations = modules.at(place[0]).declared.get(place[1])!;
    shown.set(title, declarations.map(({ text }) => text).join("\n"));
    for (const name of new Set(declarations.flatMap(({ mentions }) => [...mentions]))) {
      const other = modules.declarationOf(place[0], name);
      if (other === undefined || publicOnes.has(other.join("#"))) continue;
      publicOnes.add(other.join("#"));
      // In the order of the alphabet these come last.
      queue.push({ title: `~ ${other[1]} of ${other[0]}`, place: other });
    }
  }
  return new Map([...shown].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The files of declarations of a package, read when they are needed. */
class Modules {
  readonly #read: (path: string) => string;
  readonly #parsed = new Map<string, Module>();

  constructor(read: (path: string) => string) {
    this.#read = read;
  }

  at(path: string): Module {
    let module = this.#parsed.get(path);
    if (module === undefined) this.#parsed.set(path, (module = moduleOf(path, this.#read(path))));
    return module;
  }

  /** The exported names of a file, and where each comes from: a name of its own goes before one that is passed on. */
  exportsOf(path: string): Map<string, Origin> {
    const { exported, passedOn } = this.at(path);
    const all = new Map<string, Origin>();
    for (const from of passedOn) for (const name of this.exportsOf(from).keys()) all.set(name, { from, name });
    for (const [name, origin] of exported) all.set(name, origin);
    return all;
  }

  /** Where a name is declared that is known in a file; undefined for a global or what belongs to another package. */
  declarationOf(path: string, name: string): Place | undefined {
    const module = this.at(path);
    if (module.declared.has(name)) return [path, name];
    const origin = module.imported.get(name) ?? this.exportsOf(path).get(name);
    if (origin?.from === undefined) return undefined;
    const there = this.exportsOf(origin.from).get(origin.name);
    return this.declarationOf(origin.from, there?.from === undefined ? (there?.name ?? origin.name) : origin.name);
  }
}

function moduleOf(path: string, text: string): Module {
  const module: Module = { declared: new Map(), imported: new Map(), exported: new Map(), passedOn: [] };
  // The declarations of `./x.js` lie in `./x.d.ts`, which rewritten imports name as `./x.ts`.
  const fileOf = (source: unknown): string | undefined => {
    const specifier = isNode(source) ? String(source.value) : "";
    return specifier.startsWith(".") ? join(dirname(path), specifier).replace(/\.[jt]s$/, ".d.ts") : undefined;
  };
  for (const statement of parse(path, text).program.body as Node[]) {
    const from = fileOf(statement.source);
    for (const specifier of (statement.specifiers ?? []) as Node[]) {
      const { local, imported, exported } = specifier;
      if (statement.type !== "ImportDeclaration")
        module.exported.set(nameOf(exported)!, { from, name: nameOf(local)! });
      else if (from !== undefined) module.imported.set(nameOf(local)!, { from, name: nameOf(imported ?? local)! });
    }
    if (statement.type === "ExportAllDeclaration" && from !== undefined) module.passedOn.push(from);
    const declaration = statement.type === "ExportNamedDeclaration" ? statement.declaration : statement;
    if (
      !isNode(declaration) ||
      !/Declaration$|Function$/.test(declaration.type) ||
      /^(Import|Export)/.test(declaration.type)
    )
      continue;
    const declarators = (declaration.declarations ?? [declaration]) as Node[];
    for (const name of declarators.map(({ id }) => nameOf(id))) {
      if (name === undefined) continue;
      const mentions = new Set<string>();
      walk(declaration, (node) => void (nameOf(node) !== undefined && mentions.add(nameOf(node)!)));
      module.declared.set(name, [
        ...(module.declared.get(name) ?? []),
        { text: withoutComments(text, declaration), mentions },
      ]);
      if (declaration !== statement) module.exported.set(name, { from: undefined, name });
    }
  }
  return module;
}

function withoutComments(text: string, { start, end }: Node): string {
  const code = text
    .slice(start, end)
    .replace(/^[ \t]*\/\*\*[^]*?\*\/\n?/gm, "")
    .replace(/\/\*\*[^]*?\*\/\s*/g, "");
  return code.replace(/^declare /, "").trimEnd();
}
