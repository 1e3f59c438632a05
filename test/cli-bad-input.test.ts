import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { SqliteStore } from "../src/index.ts";
import { openDriver } from "../src/stores/sqlite-driver.ts";
import { type Ended, holdfast, MAIN, project, start, startHoldfast } from "./cli-harness.ts";

const ONE = `
  import { Workflow } from "holdfast";
  export default new Workflow({ id: "one" }).addNode("n", (input) => input ?? 1);
`;

/** The exit code, and what was wrong, of a command that was not carried out. */
type Complaint = readonly [code: number | null, message: string];

function complaint({ code, out, err }: Ended): Complaint {
  expect(out).toBe("");
  return [code, err.replace(/^error: /, "").trimEnd()];
}

describe("a workflow file", () => {
  test("that does not exist, has no workflow, throws at import or does not parse is told apart", async () => {
    const folder = project({
      "none.mjs": "export const triage = 7; export const helper = () => 1;",
      "empty.mjs": "",
      "throws.mjs": '\nexport const a = 1;\nthrow new Error("no model key in the environment");',
      "throws.ts": "const key: string | undefined = undefined;\n\nthrow new Error(`key is ${key}`);\nexport {};",
      "syntax.mjs": "export default = ;",
    });
    const run = async (file: string): Promise<Complaint> => complaint(await holdfast(folder, "run", file));
    const [missing, none, empty, throws, typescript, syntax] = await Promise.all([
      run("missing.mjs"),
      run("none.mjs"),
      run("empty.mjs"),
      run("throws.mjs"),
      run("throws.ts"),
      run("syntax.mjs"),
    ]);
    expect(missing).toEqual([3, `There is no workflow file ${join(folder, "missing.mjs")}.`]);
    expect(none[0]).toBe(2);
    expect(none[1]).toContain("none.mjs exports no workflow, only helper, triage. Write `export default new Workflow(");
    expect(empty[1]).toContain("empty.mjs exports no workflow. Write");
    expect(throws[0]).toBe(2);
    expect(throws[1]).toMatch(
      /^throws.mjs cannot be loaded: Error: no model key in the environment\n +at file:\/\/.*throws.mjs:3:7$/,
    );
    expect(typescript[1]).toMatch(/^throws.ts cannot be loaded: Error: key is undefined\n +at .*throws.ts:3:7/);
    expect(syntax).toEqual([2, "syntax.mjs cannot be loaded: SyntaxError: Unexpected token '='"]);
  });

  test("with an unknown node in connect, or with fallbacks in a cycle, makes no store (C5.1)", async () => {
    const folder = project({
      "connect.mjs": `
        import { Workflow } from "holdfast";
        export default new Workflow({ id: "triage" }).addNode("fetch", () => 1).connect("fetch", "clasify");
      `,
      "cycle.mjs": `
        import { Workflow } from "holdfast";
        export default new Workflow({ id: "loop" })
          .addNode("a", () => 1).addNode("b", () => 1).addNode("c", () => 1)
          .addFallback("a", "b").addFallback("b", "c").addFallback("c", "a");
      `,
    });
    const [connect, cycle] = await Promise.all([
      holdfast(folder, "run", "connect.mjs"),
      holdfast(folder, "run", "cycle.mjs"),
    ]);
    expect(complaint(connect)).toEqual([
      2,
      'Workflow "triage" cannot run: connect("fetch", "clasify") names "clasify", which is no node. There are: "fetch".',
    ]);
    expect(complaint(cycle)).toEqual([
      2,
      'Workflow "loop" cannot run: the fallbacks "a" -> "b" -> "c" -> "a" form a cycle: a node would end up standing in for itself.',
    ]);
    expect((await holdfast(folder, "runs", "list")).err).toContain("Nothing has been run on");
  });

  test("whose node returns what cannot be stored fails the run, and the path of the value is named (C6.6)", async () => {
    const folder = project({
      "code.mjs": `
        import { Workflow } from "holdfast";
        export default new Workflow({ id: "code" }).addNode("make", () => ({ list: [{ then: () => 1 }] }));
      `,
    });
    const { code, err } = await holdfast(folder, "run", "code.mjs");
    expect(code).toBe(1);
    expect(err).toContain('The output of node "make".list[0].then cannot be stored: it is a function (then)');
  });
});

describe("the input", () => {
  test("that is not JSON, or lies in a file that is not there, is refused before anything runs", async () => {
    const folder = project({ "one.mjs": ONE, "bad.json": "{id: 7}" });
    const run = async (...words: string[]): Promise<Complaint> =>
      complaint(await holdfast(folder, "run", "one.mjs", ...words));
    const [text, file, missing, folderAsFile] = await Promise.all([
      run("--input", "{id: 7}"),
      run("--input", "@bad.json"),
      run("--input", "@nope.json"),
      run("--input", "@."),
    ]);
    expect(text[0]).toBe(2);
    expect(text[1]).toMatch(/^--input is not JSON: .+ Quote it for the shell, as in --input '{"id": 7}'\.$/);
    expect(file[0]).toBe(2);
    expect(file[1]).toMatch(/^The input file bad.json is not JSON: /);
    expect(missing).toEqual([3, "There is no input file nope.json."]);
    expect(folderAsFile[0]).toBe(2);
    expect(folderAsFile[1]).toMatch(/^The input file \. cannot be read: EISDIR/);
  });
});

describe("a run id", () => {
  test("that another process is carrying out is refused, and names the process (C6.4)", async () => {
    const folder = project({
      "slow.mjs": `
        import { Workflow } from "holdfast";
        export default new Workflow({ id: "slow" }).addNode("wait", () => new Promise((done) => setTimeout(done, 60_000)));
      `,
    });
    const first = startHoldfast(folder, ["run", "slow.mjs", "--run-id", "s"]);
    await first.said("wait started");
    const second = await holdfast(folder, "run", "slow.mjs", "--run-id", "s");
    expect(complaint(second)[0]).toBe(2);
    expect(second.err).toMatch(
      new RegExp(
        `^error: Run "s" is being carried out by process ${first.child.pid} on .+\\. Wait for it to end, or choose another run id\\.\n$`,
      ),
    );
  });

  test("of another workflow, of another input or of another definition is refused (C5.10)", async () => {
    const folder = project({
      "one.mjs": ONE,
      "two.mjs": ONE.replace('"one"', '"two"'),
      "new.mjs": ONE.replace('"n"', '"m"'),
    });
    await holdfast(folder, "run", "one.mjs", "--run-id", "r", "--input", "1");
    const run = async (...words: string[]): Promise<Complaint> =>
      complaint(await holdfast(folder, "run", ...words, "--run-id", "r"));
    const [workflow, input, noInput, definition] = await Promise.all([
      run("two.mjs", "--input", "1"),
      run("one.mjs", "--input", "2"),
      run("one.mjs"),
      run("new.mjs", "--input", "1"),
    ]);
    expect(workflow).toEqual([2, 'Run "r" belongs to workflow "one", not "two". Choose another run id.']);
    const other =
      'Run "r" was started with another input. Give the same input to carry it on, or choose another run id.';
    expect(input).toEqual([2, other]);
    expect(noInput).toEqual([2, `${other} With --resume it goes on with the input that it has.`]);
    expect(definition[0]).toBe(2);
    expect(definition[1]).toContain('it had the node "n", it now has the node "m"');
  });

  test("that is not known cannot be resumed or shown, and --resume needs one", async () => {
    const folder = project({ "one.mjs": ONE });
    await holdfast(folder, "run", "one.mjs");
    const [unknown, none, shown, letter, long] = await Promise.all([
      holdfast(folder, "run", "one.mjs", "--run-id", "nope", "--resume"),
      holdfast(folder, "run", "one.mjs", "--resume"),
      holdfast(folder, "runs", "show", "nope"),
      holdfast(folder, "dlq", "redrive", "dl_nope", "--file", "one.mjs"),
      holdfast(folder, "run", "one.mjs", "--run-id", "x".repeat(513)),
    ]);
    const store = join(folder, ".holdfast/holdfast.db");
    expect(complaint(unknown)).toEqual([3, `There is no run "nope" in ${store}.`]);
    expect(complaint(none)).toEqual([2, "--resume needs --run-id: it says which run to go on with."]);
    expect(complaint(shown)).toEqual([3, `There is no run "nope" in ${store}.`]);
    expect(complaint(letter)).toEqual([3, `There is no dead letter "dl_nope" in ${store}.`]);
    expect(complaint(long)[0]).toBe(2);
    expect(long.err).toContain("--run-id must be a non-empty string of at most 512 characters");
  });
});

describe("a store", () => {
  test("that is no SQLite file, a folder, memory for a list, or of an unknown kind is refused (C4.5)", async () => {
    const folder = project({
      "one.mjs": ONE,
      "text.db": "This is a letter and no database, long enough to have a header.\n".repeat(20),
    });
    mkdirSync(join(folder, "folder.db"));
    const [text, list, doctor, directory, memory, unknown] = await Promise.all([
      holdfast(folder, "run", "one.mjs", "--store", "text.db"),
      holdfast(folder, "runs", "list", "--store", "sqlite:text.db"),
      holdfast(folder, "doctor", "--store", "text.db"),
      holdfast(folder, "run", "one.mjs", "--store", "folder.db"),
      holdfast(folder, "runs", "list", "--store", "memory:"),
      holdfast(folder, "runs", "list", "--store", "postgres://me:secret@host/db"),
    ]);
    const path = join(folder, "text.db");
    const notSqlite = `Holdfast cannot open the store ${path}: the file is not a SQLite database. Choose another file, or move this one away.`;
    expect(complaint(text)).toEqual([4, notSqlite]);
    expect(complaint(list)).toEqual([4, notSqlite]);
    expect(doctor.code).toBe(1);
    expect(doctor.out).toContain(`fail  store: ${path}\n      ${notSqlite}\n`);
    expect(complaint(directory)[0]).toBe(4);
    expect(complaint(memory)).toEqual([
      2,
      "--store is memory:, which ends with its process. Name a store that is kept.",
    ]);
    expect(complaint(unknown)[0]).toBe(2);
    expect(unknown.err).toContain('--store is "postgres://***@host/db", which names no store.');
  });

  test("that is read-only is refused with 4, and the doctor says so (C6.10)", async () => {
    const folder = project({ "one.mjs": ONE });
    const path = join(folder, "kept.db");
    await new SqliteStore(path).close();
    chmodSync(path, 0o444);
    chmodSync(folder, 0o555);
    // Root may write everything, until it gives that right away.
    const isRoot = process.getuid?.() === 0;
    const asUser = (...words: string[]): Promise<Ended> =>
      isRoot
        ? start(folder, "setpriv", ["--bounding-set=-all", "--inh-caps=-all", process.execPath, MAIN, ...words]).ended
        : holdfast(folder, ...words);
    const [run, doctor] = await Promise.all([
      asUser("run", "one.mjs", "--store", "kept.db"),
      asUser("doctor", "--store", "kept.db"),
    ]);
    chmodSync(folder, 0o755);
    expect(complaint(run)[0]).toBe(4);
    // One binding finds out when it opens the file, the other when it writes.
    expect(run.err.replace("open", "write to")).toBe(
      `error: Holdfast cannot write to the store ${path}: it is read-only. Check the permissions of the file and of its folder, and whether the disk is mounted read-only.\n`,
    );
    expect(doctor.code).toBe(1);
    expect(doctor.out).toContain(`fail  sync to disk: ${folder} cannot be written: `);
  });

  test("that another process has locked is refused with 4 (C6.10)", async () => {
    const folder = project({ "one.mjs": ONE });
    const path = join(folder, "kept.db");
    await new SqliteStore(path).close();
    const db = openDriver(path);
    db.exec("BEGIN IMMEDIATE");
    const { code, err } = await holdfast(folder, "run", "one.mjs", "--store", "kept.db");
    db.exec("ROLLBACK");
    db.close();
    expect(code).toBe(4);
    expect(err).toContain(`the store ${path}: another process has locked it for longer than the busy timeout.`);
  });

  test("with a damaged journal is reported by the doctor and by runs show (C6.7)", async () => {
    const folder = project({ "one.mjs": ONE });
    await holdfast(folder, "run", "one.mjs", "--run-id", "r", "--input", '"precious"');
    const path = join(folder, ".holdfast/holdfast.db");
    const db = openDriver(path);
    db.exec(
      "UPDATE holdfast_records SET body = CAST(replace(CAST(body AS TEXT), 'precious', 'spurious') AS BLOB) WHERE seq = 1",
    );
    db.close();
    const doctor = await holdfast(folder, "doctor");
    expect(doctor.code).toBe(1);
    expect(doctor.out).toContain("fail  journals: 1 run read, damaged: 1 (r)");
    const show = await holdfast(folder, "runs", "show", "r");
    expect(show.out).toMatch(
      /journal +\d+ events? in \d+ records?, record 1 of \d+ is damaged, and nothing after it can be trusted/,
    );
  });
});

describe("escape sequences", () => {
  // What clears a screen, sets a title, hides text, and feigns a line of its own; the last is one byte in some encodings.
  const EVIL = "\u001b[2J\u001b]0;owned\u0007\u001b[8mhidden\u001b[0m\nfeigned line\u009b31m\u202e";

  test("in ids, inputs, errors and outputs reach neither a terminal nor a text", async () => {
    const folder = project({
      "evil.mjs": `
        import { Workflow } from "holdfast";
        const EVIL = ${JSON.stringify(EVIL)};
        export default new Workflow({ id: "w" + EVIL })
          .addNode("n" + EVIL, ({ fail }) => { if (fail) throw new TypeError("bad " + EVIL, { cause: new Error("cause " + EVIL) }); return { [EVIL]: EVIL, map: new Map([[EVIL, new Error(EVIL)]]) }; });
      `,
    });
    const evil = (name: string): string => name + EVIL;
    const runs = [
      await holdfast(folder, "run", "evil.mjs", "--run-id", evil("a"), "--input", JSON.stringify({ fail: true, EVIL })),
      await holdfast(folder, "run", "evil.mjs", "--run-id", evil("b"), "--input", "{}"),
      await holdfast(folder, "run", "evil.mjs", "--run-id", evil("b"), "--input", "{}", "--json"),
    ];
    const looks = await Promise.all([
      holdfast(folder, "runs", "list"),
      holdfast(folder, "runs", "list", "--json"),
      holdfast(folder, "runs", "show", evil("a")),
      holdfast(folder, "runs", "show", evil("a"), "--json"),
      holdfast(folder, "runs", "show", evil("none")),
      holdfast(folder, "dlq", "list"),
      holdfast(folder, "dlq", "redrive", "--file", "evil.mjs"),
      holdfast(folder, "dlq", "redrive", "--file", "evil.mjs", "--yes"),
      holdfast(folder, "dlq", "export"),
      holdfast(folder, "dlq", "stats"),
      holdfast(folder, "dlq", "discard", "--reason", evil("why"), "--code", evil("code")),
      holdfast(folder, "doctor"),
    ]);
    expect([...runs, ...looks].map(({ code }) => code)).toEqual([1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 1, 0, 0, 0, 0]);
    for (const { out, err } of [...runs, ...looks]) {
      expect(out + err).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202e]/);
      expect(out + err).not.toMatch(/^feigned line/m);
    }
    expect(looks[0]?.out.split("\n")).toHaveLength(4);
    expect(JSON.parse(looks[1]!.out.split("\n")[0]!)).toMatchObject({ runId: evil("b") });
  });
});
