import { dirname, join } from "node:path/posix";
import { COMPUTED, FRONT_DOOR, type Layers, type PackageUse } from "./layers.ts";
import { bare, isNode, lineAt, memberName, nameOf, type Node, parse, staticText, walk } from "./syntax.ts";

/** One import, of whatever form. `specifier` is undefined where the code works it out. */
interface Import {
  specifier: string | undefined;
  lazily: boolean;
  /** The names it takes; undefined for all of them. */
  names: string[] | undefined;
  offset: number;
}

/** The use of a global, or of a name that hides one. */
interface GlobalUse {
  name: string;
  offset: number;
}

// `window` and `self` are left out: our types know no browser, so that they would not compile.
const OBJECTS_OF_GLOBALS = new Set(["globalThis", "global"]);

/**
 * Complaints about source files, by their paths below `src/`, that break the rules of the layers: see `layers.ts`. Lines
 * are counted in the file that is named first. An empty list means that all of it is as permitted.
 */
export function architecture(files: ReadonlyMap<string, string>, layers: Layers): string[] {
  const complaints: string[] = [];
  const used = new Set<string>();
  const graph = new Map<string, string[]>();
  for (const [path, text] of files) {
    const folder = folderOf(path);
    const complain = (offset: number, what: string): void =>
      void complaints.push(`${path}:${lineAt(text, offset)} ${what}`);
    if (!path.endsWith(".ts")) complain(0, "is no .ts file.");
    if (!Object.hasOwn(layers.folders, folder)) complain(0, `lies in the folder "${folder}", which is not listed.`);
    const { program, errors } = parse(path, text);
    for (const { message, offset } of errors) complain(offset, `cannot be read: ${message}`);
    const targets: string[] = [];
    graph.set(path, targets);
    for (const found of importsOf(program)) {
      const problem = judgeImport(path, found, files, layers, used, targets);
      if (problem !== undefined) complain(found.offset, problem);
    }
    for (const { name, offset } of globalsOf(program, layers)) {
      used.add(`global ${name} ${path}`);
      if (!Object.hasOwn(layers.globals[name] ?? {}, path))
        complain(offset, `touches ${name}, which is not its to touch.`);
    }
  }
  return [...new Set(complaints), ...unusedPermissions(layers, used, files), ...cyclesOf(graph)];
}

function folderOf(path: string): string {
  return path.includes("/") ? path.slice(0, path.indexOf("/")) : FRONT_DOOR;
}

/** What is wrong with an import, if anything. Notes what it uses, and adds the file that it leads to. */
function judgeImport(
  path: string,
  { specifier, lazily, names }: Import,
  files: ReadonlyMap<string, string>,
  layers: Layers,
  used: Set<string>,
  targets: string[],
): string | undefined {
  const folder = folderOf(path);
  if (specifier === undefined) {
    used.add(`global ${COMPUTED} ${path}`);
    return Object.hasOwn(layers.globals[COMPUTED] ?? {}, path)
      ? undefined
      : "works out what it imports. Name it in the import.";
  }
  if (specifier === "holdfast" || specifier.startsWith("holdfast/"))
    return `imports the package by its own name, "${specifier}". Import the file.`;
  const target = /^\.\.?(\/|$)/.test(specifier) ? join(dirname(path), specifier) : undefined;
  if (target === undefined || target.startsWith("../")) {
    const name = target ?? packageOf(specifier);
    const use = layers.packages[folder]?.[name];
    used.add(`package ${folder} ${name}`);
    if (use === undefined) return `imports "${name}", which ${folder} may not.`;
    return misuse(name, use, lazily, names);
  }
  if (!files.has(target)) return `imports "${specifier}", which is no file of src/. Relative imports end in .ts.`;
  targets.push(target);
  const other = folderOf(target);
  if (other === folder) return undefined;
  used.add(`folder ${folder} ${other}`);
  if (layers.folders[folder]?.includes(other)) return undefined;
  return `imports "${specifier}", but ${folder} may not import ${other}.`;
}

/** `node:fs/promises` as it is, `@scope/name/deep` as `@scope/name`. */
function packageOf(specifier: string): string {
  if (specifier.includes(":") || specifier.startsWith("#") || specifier.startsWith("/")) return specifier;
  return specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
}

function misuse(name: string, use: PackageUse, lazily: boolean, names: string[] | undefined): string | undefined {
  if (use === "any") return undefined;
  if (use === "lazily")
    return lazily ? undefined : `imports "${name}" when it is loaded; it may do so only when it needs it.`;
  const other = names === undefined ? "all of it" : names.find((taken) => !use.includes(taken));
  return other === undefined ? undefined : `takes ${other} from "${name}"; it may take ${use.join(", ")}.`;
}

function importsOf(program: Node): Import[] {
  const imports: Import[] = [];
  const add = (source: unknown, offset: number, lazily: boolean, names?: string[]): void =>
    void imports.push({ specifier: staticText(source), lazily, names, offset });
  walk(program, (node) => {
    switch (node.type) {
      case "ImportDeclaration":
      case "ExportNamedDeclaration":
        if (isNode(node.source)) add(node.source, node.start, false, namesTaken(node.specifiers as Node[]));
        break;
      case "ExportAllDeclaration":
      case "TSImportType":
        add(node.source, node.start, false);
        break;
      case "TSExternalModuleReference":
        add(node.expression, node.start, false);
        break;
      case "ImportExpression":
        add(node.source, node.start, true);
        break;
      case "CallExpression": {
        const callee = bare(node.callee);
        const resolves =
          callee?.type === "MemberExpression" && isImportMeta(callee.object) && memberName(callee) === "resolve";
        if (resolves || nameOf(callee) === "require") add((node.arguments as unknown[])[0], node.start, true);
        break;
      }
      case "NewExpression": {
        const [first, second] = node.arguments as unknown[];
        const base = bare(second);
        const besideUs = base?.type === "MemberExpression" && isImportMeta(base.object) && memberName(base) === "url";
        if (besideUs && nameOf(bare(node.callee)) === "URL") add(first, node.start, true);
        break;
      }
    }
  });
  return imports;
}

function isImportMeta(node: unknown): boolean {
  return bare(node)?.type === "MetaProperty" && nameOf((node as Node).meta) === "import";
}

/** The names an import takes, by what they are called where they come from; undefined for a whole namespace. */
function namesTaken(specifiers: readonly Node[]): string[] | undefined {
  const names: string[] = [];
  for (const { type, imported, local } of specifiers) {
    if (type === "ImportNamespaceSpecifier") return undefined;
    names.push(type === "ImportDefaultSpecifier" ? "default" : (nameOf(imported ?? local) ?? "a name in quotes"));
  }
  return names;
}

// Nodes of TypeScript that stand around values; all others are types, which touch nothing.
const AROUND_VALUES =
  /^TS(As|Satisfies|NonNull|Instantiation)Expression$|^TS(TypeAssertion|ParameterProperty|EnumDeclaration|EnumBody|EnumMember|ModuleDeclaration|ModuleBlock|ExportAssignment)$/;

function globalsOf(program: Node, layers: Layers): GlobalUse[] {
  const uses: GlobalUse[] = [];
  const members = new Map<string, string[]>();
  for (const global of Object.keys(layers.globals)) {
    const [object, member] = global.split(".") as [string, string | undefined];
    if (member !== undefined) members.set(object, [...(members.get(object) ?? []), member]);
  }
  const add = (name: string, node: Node): void => {
    if (Object.hasOwn(layers.globals, name)) uses.push({ name, offset: node.start });
  };
  walk(program, (node, around) => {
    if (node.type.startsWith("TS") && !AROUND_VALUES.test(node.type)) return false;
    const name = nameOf(node);
    if (name === undefined) return;
    // Reached in whatever way: as an import under any name, or as a property of `node:module`.
    if (name === "createRequire") add(name, node);
    if (isPlainName(node, around[0]!)) return;
    if (name !== "createRequire") add(name, node);
    if (OBJECTS_OF_GLOBALS.has(name)) {
      const reached = reachedThrough(node, around);
      if (reached === undefined) Object.keys(layers.globals).forEach((global) => add(global, node));
      else reached.forEach((member) => add(member, node));
    }
    const owned = members.get(name);
    if (owned === undefined) return;
    const reached = reachedThrough(node, around);
    for (const member of owned) if (reached?.includes(member) ?? true) add(`${name}.${member}`, node);
  });
  return uses;
}

/** Whether an identifier only names a property, and stands for no variable. */
function isPlainName(node: Node, parent: Node): boolean {
  const isOwnName = parent.key === node || parent.property === node || parent.meta === node || parent.label === node;
  // In `{ Date }` the name is both: what the property is called, and the variable that fills it.
  return isOwnName && parent.computed !== true && parent.shorthand !== true;
}

/** The members that are taken of an object where it is named; undefined where that cannot be seen: `const m = Math`. */
function reachedThrough(node: Node, around: readonly Node[]): string[] | undefined {
  const at = around.findIndex((outer) => bare(outer) !== node);
  const outer = around[at];
  const inner = at === 0 ? node : around[at - 1];
  if (outer?.type === "MemberExpression" && outer.object === inner) {
    const member = memberName(outer);
    return member === undefined ? undefined : [member];
  }
  if (outer?.type === "BinaryExpression" && outer.operator === "instanceof") return [];
  if (outer?.type !== "VariableDeclarator" || !isNode(outer.id) || outer.id.type !== "ObjectPattern") return undefined;
  const names = (outer.id.properties as Node[]).map((property) =>
    property.type !== "Property"
      ? undefined
      : property.computed === true
        ? staticText(property.key)
        : nameOf(property.key),
  );
  return names.every((name) => name !== undefined) ? names : undefined;
}

function unusedPermissions(layers: Layers, used: ReadonlySet<string>, files: ReadonlyMap<string, string>): string[] {
  const complaints: string[] = [];
  const folders = new Set([...files.keys()].map(folderOf));
  for (const [folder, others] of Object.entries(layers.folders)) {
    if (!folders.has(folder)) complaints.push(`layers: the folder "${folder}" is listed, but has no file.`);
    for (const other of others) {
      if (!used.has(`folder ${folder} ${other}`))
        complaints.push(`layers: ${folder} may import ${other}, but does not.`);
    }
  }
  for (const [folder, packages] of Object.entries(layers.packages)) {
    for (const name of Object.keys(packages)) {
      if (!used.has(`package ${folder} ${name}`))
        complaints.push(`layers: ${folder} may import "${name}", but does not.`);
    }
  }
  for (const [global, owners] of Object.entries(layers.globals)) {
    for (const path of Object.keys(owners)) {
      if (!used.has(`global ${global} ${path}`)) complaints.push(`layers: ${path} may touch ${global}, but does not.`);
    }
  }
  return complaints;
}

/** One complaint for each cycle that a walk over the files closes; imports of types count. */
function cyclesOf(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const complaints: string[] = [];
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): void => {
    if (trail.includes(path)) {
      complaints.push(
        `${path}:1 imports itself in a cycle: ${[...trail.slice(trail.indexOf(path)), path].join(" -> ")}.`,
      );
    } else if (!done.has(path)) {
      for (const target of graph.get(path) ?? []) visit(target, [...trail, path]);
      done.add(path);
    }
  };
  for (const path of graph.keys()) visit(path, []);
  return complaints;
}

/**
 * The table under the heading "Layers" of a page, as data: its first column names a folder in backquotes, or the front
 * door, its second the folders that it may import, or nothing. Further columns are for the reader.
 */
export function printedFolders(page: string): Record<string, string[]> {
  const section = /^## Layers$([^]*?)(?=^## |(?![^]))/m.exec(page)?.[1] ?? "";
  const rows = section.split("\n").filter((line) => line.startsWith("|"));
  const folders: Record<string, string[]> = {};
  for (const row of rows.slice(2)) {
    const [folder = "", imports = ""] = row.split("|").slice(1);
    folders[foldersIn(folder)[0] ?? folder.trim()] = foldersIn(imports).sort();
  }
  return folders;
}

function foldersIn(cell: string): string[] {
  const quoted = [...cell.replace(/\(.*?\)/g, "").matchAll(/`([^`]+)`/g)].map(([, name]) => name!);
  return cell.includes(FRONT_DOOR) ? [FRONT_DOOR, ...quoted] : quoted;
}
