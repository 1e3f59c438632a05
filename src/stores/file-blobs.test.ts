import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ConfigError, StoreUnavailableError } from "../core/errors.ts";
import { FakeClock } from "../testing/fake-clock.ts";
import { FileBlobs } from "./file-blobs.ts";
import { blobName } from "./memory-blobs.ts";

/** What the file system is asked, in short: `open incoming`, `sync ab/cd`. A step that is in `failing` fails. */
const { steps, failing } = vi.hoisted(() => ({ steps: [] as string[], failing: new Map<string, string>() }));
vi.mock("node:fs/promises", async (original) => {
  const fs = await original<typeof import("node:fs/promises")>();
  const kindOf = (path: string): string => {
    if (path.includes("/incoming/")) return "incoming";
    if (/\/[0-9a-f]{64}$/.test(path)) return "blob";
    return /(\/[0-9a-f]{2}){2}$/.test(path) ? "leaf" : "folder";
  };
  const step = (what: string): void => {
    steps.push(what);
    const code = failing.get(what);
    if (code !== undefined) throw Object.assign(new Error(`${code}: it failed, ${what}`), { code });
  };
  const open = async (path: string, flags: string, mode?: number): Promise<unknown> => {
    const kind = kindOf(path);
    step(`open ${kind}`);
    const file = await fs.open(path, flags, mode);
    const { sync, writeFile } = file;
    return Object.assign(file, {
      sync: async () => (step(`sync ${kind}`), sync.call(file)),
      writeFile: async (bytes: Uint8Array) => {
        // Half of it is there when it fails.
        if (failing.has(`write ${kind}`)) await writeFile.call(file, bytes.subarray(0, bytes.length >> 1));
        step(`write ${kind}`);
        return writeFile.call(file, bytes);
      },
    });
  };
  const rename = async (from: string, to: string): Promise<void> => (step("rename"), fs.rename(from, to));
  return { ...fs, open, rename };
});

const BYTES = new TextEncoder().encode("some bytes");
const DAY_MS = 86_400_000;

let folder: string;
let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "holdfast-blobs-"));
  folder = join(root, "deep", "blobs");
  steps.length = 0;
  failing.clear();
});
afterEach(() => rmSync(root, { recursive: true }));

const pathOf = (name: string): string => join(folder, name.slice(0, 2), name.slice(2, 4), name);
const incoming = (): string[] => readdirSync(join(folder, "incoming"));

describe("files", () => {
  const umask = process.umask();
  afterAll(() => void process.umask(umask));

  it("may be read by their owner only, whatever the umask says, and so their folders (C6.6)", async () => {
    process.umask(0);
    const name = await new FileBlobs(folder).put(BYTES);
    const modes = [folder, join(folder, "incoming"), join(pathOf(name), ".."), pathOf(name)].map(
      (path) => statSync(path).mode & 0o777,
    );
    expect(modes).toEqual([0o700, 0o700, 0o700, 0o600]);
    expect(statSync(join(folder, "..")).mode & 0o777).toBe(0o700);
  });

  it("are whole and synced before they have their names, and their names are synced before that is said (C6.5)", async () => {
    const blobs = new FileBlobs(folder);
    await blobs.put(BYTES);
    // The folders that the blobs' own is in, its parts, and the two levels below it; then the file.
    const names = steps.filter((step) => !step.startsWith("open"));
    expect(names.slice(-4)).toEqual(["sync folder", "sync folder", "rename", "sync leaf"]);
    expect(names.slice(0, names.indexOf("sync incoming"))).toEqual([
      ...Array<string>(3).fill("sync folder"),
      "write incoming",
    ]);
    steps.length = 0;
    await blobs.put(BYTES);
    expect(steps.filter((step) => !step.startsWith("open"))).toEqual([
      "write incoming",
      "sync incoming",
      "rename",
      "sync leaf",
    ]);
  });

  it("whose folders somebody has removed meanwhile get new ones, which are synced anew (C6.5)", async () => {
    const blobs = new FileBlobs(folder);
    const name = await blobs.put(BYTES);
    rmSync(join(folder, name.slice(0, 2)), { recursive: true });
    steps.length = 0;
    expect(await blobs.put(BYTES)).toBe(name);
    expect(steps.filter((step) => step === "sync folder").length).toBeGreaterThanOrEqual(2);
    expect(await blobs.get(name)).toEqual(BYTES);
  });
});

describe("a blob that is damaged", () => {
  const damages: Record<string, (bytes: Buffer) => Uint8Array> = {
    "with a bit that has flipped": (bytes) => ((bytes[3]! ^= 1), bytes),
    "that is cut short": (bytes) => bytes.subarray(0, -1),
    "that is empty": (bytes) => bytes.subarray(0, 0),
    "that has grown": (bytes) => Buffer.concat([bytes, bytes]),
  };
  for (const [how, damage] of Object.entries(damages)) {
    it(`${how} is never given, and is mended by putting it again (C6.7)`, async () => {
      const blobs = new FileBlobs(folder);
      const name = await blobs.put(BYTES);
      writeFileSync(pathOf(name), damage(readFileSync(pathOf(name))));
      await expect(blobs.get(name)).rejects.toMatchObject({ code: "STORE_CORRUPT" });
      await expect(blobs.get(name)).rejects.toThrow(`The blob ${pathOf(name)} is damaged: its `);
      await blobs.put(BYTES);
      expect(await blobs.get(name)).toEqual(BYTES);
    });
  }

  it("in the place of another is found (C6.7)", async () => {
    const blobs = new FileBlobs(folder);
    const [one, other] = [await blobs.put(BYTES), await blobs.put(BYTES.subarray(1))];
    writeFileSync(pathOf(one), readFileSync(pathOf(other)));
    await expect(blobs.get(one)).rejects.toMatchObject({ code: "STORE_CORRUPT" });
  });
});

describe("trouble with the disk", () => {
  const name = blobName(BYTES);
  const codes: Record<string, RegExp> = {
    ENOSPC: /cannot write to the blobs in .*: the disk is full\. What was acknowledged is safe/,
    EDQUOT: /the quota is used up/,
    EIO: /the disk reports an error/,
    EROFS: /mounted read-only/,
    EACCES: /not permitted/,
    EMFILE: /too many files open/,
    EWEIRD: /EWEIRD: it failed/,
  };
  for (const step of ["open incoming", "write incoming", "sync incoming", "rename", "sync leaf"]) {
    it(`at "${step}" rejects with a typed error, leaves nothing half done, and is over when it is over (C6.10)`, async () => {
      const blobs = new FileBlobs(folder);
      const other = await blobs.put(BYTES.subarray(1));
      for (const [code, said] of Object.entries(codes)) {
        failing.set(step, code);
        const error: unknown = await blobs.put(BYTES).catch((reason: unknown) => reason);
        expect(error).toBeInstanceOf(StoreUnavailableError);
        expect((error as Error).message).toMatch(said);
        expect((error as Error).cause).toMatchObject({ code });
        expect(incoming()).toEqual([]);
        // It is whole or not there; after the rename it is there and nobody was told.
        expect(existsSync(pathOf(name))).toBe(step === "sync leaf");
        expect(await blobs.get(other)).toEqual(BYTES.subarray(1));
      }
      failing.clear();
      expect(await blobs.put(BYTES)).toBe(name);
      expect(await blobs.get(name)).toEqual(BYTES);
    });
  }

  it("at the start is tried again by the next put (C6.10)", async () => {
    const blobs = new FileBlobs(folder);
    failing.set("sync folder", "EIO");
    await expect(blobs.put(BYTES)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    failing.clear();
    steps.length = 0;
    await blobs.put(BYTES);
    expect(steps.filter((step) => step === "sync folder").length).toBeGreaterThanOrEqual(4);
  });

  it("while reading is not taken for a blob that is missing (C6.10)", async () => {
    const blobs = new FileBlobs(folder);
    await blobs.put(BYTES);
    failing.set("open blob", "EIO");
    await expect(blobs.get(name)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  });

  it("such as a file where the folder should be says so (C6.10)", async () => {
    writeFileSync(join(root, "file"), "");
    for (const path of [join(root, "file"), join(root, "file", "below")])
      await expect(new FileBlobs(path).put(BYTES)).rejects.toThrow(/something on the path is no folder/);
  });
});

describe("what a crash has left", () => {
  it("is removed a day later, by the first put or by a list, and no earlier (C6.6)", async () => {
    const clock = new FakeClock();
    await new FileBlobs(folder, { clock }).put(BYTES);
    const left = join(folder, "incoming", "left");
    const leave = (): void => {
      writeFileSync(left, "half of a bl");
      utimesSync(left, clock.wallNow() / 1000, clock.wallNow() / 1000);
    };
    const list = async (): Promise<number> => {
      let count = 0;
      for await (const _ of new FileBlobs(folder, { clock }).list()) count++;
      return count;
    };
    for (const look of [() => new FileBlobs(folder, { clock }).put(BYTES), list]) {
      leave();
      await clock.advance(DAY_MS);
      await look();
      expect(incoming()).toEqual(["left"]);
      await clock.advance(1000);
      await look();
      expect(incoming()).toEqual([]);
    }
    expect(await list()).toBe(1);
  });

  it("and whatever else lies in the folder is not taken for a blob (C6.6)", async () => {
    const blobs = new FileBlobs(folder);
    const name = await blobs.put(BYTES);
    writeFileSync(join(folder, "README"), "");
    writeFileSync(join(folder, "incoming", `${name}-x`), "");
    writeFileSync(`${pathOf(name)}.bak`, "");
    mkdirSync(pathOf(`${name.slice(0, 4)}${"0".repeat(60)}`));
    const listed: string[] = [];
    for await (const row of blobs.list()) listed.push(row.name);
    expect(listed).toEqual([name]);
  });
});

it("a folder that everybody may write is refused (C6.6)", async () => {
  mkdirSync(folder, { recursive: true });
  chmodSync(folder, 0o777);
  const blobs = new FileBlobs(folder);
  await expect(blobs.put(BYTES)).rejects.toThrow(/may be written by everybody/);
  chmodSync(folder, 0o755);
  expect(await blobs.put(BYTES)).toBe(blobName(BYTES));
});

it("a folder that is a link is followed, and one that is not there has no blobs (C6.6)", async () => {
  mkdirSync(folder, { recursive: true });
  symlinkSync(folder, join(root, "link"));
  const name = await new FileBlobs(join(root, "link")).put(BYTES);
  expect(await new FileBlobs(folder).get(name)).toEqual(BYTES);
  const nowhere = new FileBlobs(join(root, "nowhere"));
  expect(await nowhere.get(name)).toBeUndefined();
  await nowhere.delete(name);
  for await (const row of nowhere.list()) expect(row).toBeUndefined();
  expect(existsSync(join(root, "nowhere"))).toBe(false);
});

it("a path that is none, and an option that does not exist, are refused (C0.3)", () => {
  expect(() => new FileBlobs("")).toThrow(ConfigError);
  expect(() => new FileBlobs("x", { sync: false } as object)).toThrow('FileBlobs has no option "sync"');
});
