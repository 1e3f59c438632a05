import { closeSync, existsSync, fsyncSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import { isBuiltin } from "node:module";
import { dirname, join } from "node:path";
import { systemClock } from "../../core/clock.ts";
import { codeOf, messageOf } from "../../core/errors.ts";
import { uniqueId } from "../../core/random.ts";
import type { RunRow, Store } from "../../core/store.ts";
import { readHistory } from "../../engine/history.ts";
import { openDriver } from "../../stores/sqlite-driver.ts";
import { commandLine } from "../command-line.ts";
import { EXIT } from "../exit-codes.ts";
import { isInterrupted } from "../holder.ts";
import { ownPackage } from "../own-package.ts";
import { StoreChoice } from "../store-choice.ts";
import type { Terminal } from "../terminal.ts";
import { clean, counted, jsonLine } from "../text.ts";

export interface DoctorCommand {
  store?: string;
  json?: boolean;
}

/** What one look has found. `advice` says what to do where it is not well. */
interface Finding {
  check: string;
  status: "ok" | "warn" | "fail";
  found: string;
  advice?: string;
}

/** Above this a commit is slow: a durable step takes one. */
const SLOW_FSYNC_MS = 5;

/** How many runs are read to look for damage, newest first. */
const RUNS_READ = 1000;

/** `holdfast doctor`: looks at everything that durable runs depend upon here. Writes nothing that stays. */
export async function doctor(terminal: Terminal, options: DoctorCommand): Promise<number> {
  const paint = await terminal.paint();
  let failed = false;
  for await (const finding of findings(new StoreChoice(options.store), terminal)) {
    const { check, status, found, advice } = finding;
    failed ||= status === "fail";
    if (options.json) terminal.print(jsonLine(finding));
    else {
      terminal.print(`${paint(status)}${" ".repeat(6 - status.length)}${clean(`${check}: ${found}`)}`);
      if (advice !== undefined) terminal.print(`      ${clean(advice)}`);
    }
  }
  return failed ? EXIT.RUN_FAILED : EXIT.OK;
}

async function* findings(choice: StoreChoice, { nodeVersion, platform }: Terminal): AsyncGenerator<Finding> {
  yield nodeFinding(nodeVersion);
  const binding = bindingFinding();
  yield binding;
  const { path } = choice;
  if (path === undefined) {
    yield otherStoreFinding(choice);
    return;
  }
  const folder = existingFolder(dirname(path));
  yield fileSystemFinding(folder, platform);
  const fsync = fsyncFinding(folder);
  yield fsync;
  if (binding.status === "fail" || fsync.status === "fail") return;
  if (existsSync(path)) yield* storeFindings(choice);
  else yield { check: "store", status: "ok", found: `none yet at ${path}; the first run makes it` };
}

export function nodeFinding(version: string): Finding {
  const { node: wanted } = ownPackage().engines;
  const [least, found] = [wanted, version].map((text) => /(\d+)\.(\d+)/.exec(text)!.slice(1).map(Number));
  const [major, minor] = [0, 1].map((part) => found![part]! - least![part]!) as [number, number];
  if (major > 0 || (major === 0 && minor >= 0)) return { check: "Node", status: "ok", found: version };
  return { check: "Node", status: "fail", found: version, advice: `Holdfast needs Node ${wanted}.` };
}

function bindingFinding(): Finding {
  const check = "SQLite binding";
  try {
    const db = openDriver(":memory:");
    const { version } = db.prepare("SELECT sqlite_version() AS version").get() as { version: string };
    db.close();
    return { check, status: "ok", found: `${isBuiltin("node:sqlite") ? "node:sqlite" : "libsql"}, SQLite ${version}` };
  } catch (error) {
    return { check, status: "fail", found: "none", advice: messageOf(error) };
  }
}

function otherStoreFinding(choice: StoreChoice): Finding {
  try {
    const { durability } = choice.open();
    const advice = "Nothing is kept when the process ends. Name a file with --store or RESILIENCE_STORE_URL.";
    return { check: "store", status: "warn", found: durability, advice };
  } catch (error) {
    return { check: "store", status: "fail", found: "cannot be opened", advice: messageOf(error) };
  }
}

/** The folder, or the nearest one above it that is there: it would be made in that one. */
function existingFolder(folder: string): string {
  return existsSync(folder) ? folder : existingFolder(dirname(folder));
}

const NETWORK = "Locks are not reliable over a network. Put the store on a local disk.";
const MEMORY = "It lies in memory and is lost with the machine. Put the store on a disk.";
const UNKNOWN =
  "Whether it syncs and locks as a disk does depends on what is behind it. If in doubt, put the store on a local disk.";

/** The file systems that Linux tells by number (statfs(2)), and what is to be said of them. */
const FILE_SYSTEMS: Record<number, readonly [name: string, status?: "warn" | "fail", advice?: string]> = {
  0xef53: ["ext4"],
  0x58465342: ["XFS"],
  0x9123683e: ["Btrfs"],
  0x2fc12fc1: ["ZFS"],
  0x794c7630: ["overlayfs"],
  0x6969: ["NFS", "fail", NETWORK],
  0x517b: ["SMB", "fail", NETWORK],
  0xff534d42: ["CIFS", "fail", NETWORK],
  0xfe534d42: ["SMB2", "fail", NETWORK],
  0x01021994: ["tmpfs", "warn", MEMORY],
  0x858458f6: ["ramfs", "warn", MEMORY],
  0x65735546: ["FUSE", "warn", UNKNOWN],
};

function fileSystemFinding(folder: string, platform: string): Finding {
  const check = "file system";
  if (platform !== "linux") return { check, status: "ok", found: `${folder}; only Linux tells of which kind` };
  return fileSystemOf(folder, statfsSync(folder).type);
}

export function fileSystemOf(folder: string, type: number): Finding {
  const [name, status = "ok", advice] = FILE_SYSTEMS[type] ?? [`of the unknown type 0x${type.toString(16)}`];
  return { check: "file system", status, found: `${folder}, ${name}`, ...(advice !== undefined && { advice }) };
}

/** Whether the folder can be written, and how long a disk takes to say that it has: the middle of 21 times. */
function fsyncFinding(folder: string): Finding {
  const check = "sync to disk";
  const file = join(folder, `.holdfast-doctor-${uniqueId()}`);
  try {
    const handle = openSync(file, "wx", 0o600);
    try {
      const times = Array.from({ length: 21 }, () => {
        const before = systemClock.now();
        writeSync(handle, new Uint8Array(4096));
        fsyncSync(handle);
        return systemClock.now() - before;
      });
      return syncTime(times.sort((a, b) => a - b)[10]!);
    } finally {
      closeSync(handle);
      rmSync(file);
    }
  } catch (error) {
    return {
      check,
      status: "fail",
      found: `${folder} cannot be written: ${messageOf(error)}`,
      advice: "Give the user who runs workflows the right to write there, or name another place with --store.",
    };
  }
}

export function syncTime(ms: number): Finding {
  const check = "sync to disk";
  const found = `${ms.toFixed(2)} ms`;
  if (ms <= SLOW_FSYNC_MS) return { check, status: "ok", found };
  const advice = `A durable step takes at least one. Above ${SLOW_FSYNC_MS} ms steps are slow; a local SSD takes less than 1.`;
  return { check, status: "warn", found, advice };
}

async function* storeFindings(choice: StoreChoice): AsyncGenerator<Finding> {
  let store: Store;
  try {
    store = choice.open();
  } catch (error) {
    yield { check: "store", status: "fail", found: choice.path!, advice: messageOf(error) };
    return;
  }
  try {
    yield { check: "store", status: "ok", found: store.location };
    yield durabilityFinding(store);
    yield await interruptedFinding(store);
    yield await damageFinding(store);
  } finally {
    await store.close();
  }
}

/** The store sets this itself when it is opened, reads it back, and would not have opened otherwise. */
function durabilityFinding({ durability }: Store): Finding {
  const check = "durability";
  if (durability === "full") return { check, status: "ok", found: "full, every commit is synced (synchronous=FULL)" };
  return {
    check,
    status: "warn",
    found: `${durability}, no commit waits for the disk (synchronous=NORMAL)`,
    advice:
      "A loss of power takes what was acknowledged last. Leave durability=relaxed out of the store URL where that matters.",
  };
}

async function interruptedFinding(store: Store): Promise<Finding> {
  const check = "interrupted runs";
  const rows = (await store.list({ status: "running", limit: Infinity })).filter(isInterrupted);
  if (rows.length === 0) return { check, status: "ok", found: "none" };
  const advice = `Nobody carries them out. Resume each with: ${commandLine("run", "FILE", "--run-id")} ID --resume`;
  return { check, status: "warn", found: named(rows), advice };
}

async function damageFinding(store: Store): Promise<Finding> {
  const check = "journals";
  const rows = await store.list({ limit: RUNS_READ });
  const damaged: RunRow[] = [];
  for (const row of rows) if (await isDamaged(store, row)) damaged.push(row);
  const read = `${counted(rows.length, "run")} read`;
  if (damaged.length === 0) return { check, status: "ok", found: `${read}, all intact` };
  const advice = `Look at each with: ${commandLine("runs", "show")} ID. Resumed, it goes on from before the damage. Check the disk.`;
  return { check, status: "fail", found: `${read}, damaged: ${named(damaged)}`, advice };
}

async function isDamaged(store: Store, { runId }: RunRow): Promise<boolean> {
  try {
    return (await readHistory(store, runId))?.damage !== undefined;
  } catch (error) {
    if (codeOf(error) === "STORE_CORRUPT") return true;
    throw error;
  }
}

/** How many, and the first few by name. */
function named(rows: readonly RunRow[]): string {
  const ids = rows.slice(0, 3).map(({ runId }) => runId);
  return `${rows.length} (${ids.join(", ")}${rows.length > 3 ? ", ..." : ""})`;
}
