import { deepEqual, equal, notEqual, ok } from "node:assert/strict";
import { type BlobRow, type Blobs, isBlobName } from "../core/blobs.ts";
import { crc32c } from "../core/bytes.ts";
import { type ContractCase, observed, rejection } from "./contract-case.ts";
import { FakeClock } from "./fake-clock.ts";
import { bytes } from "./store-bench.ts";

/** A place for blobs that a test may fill and throw away. */
export interface BlobsPlace {
  /** A handle on the place. Each further one sees the same blobs, as another process would. */
  open(clock: FakeClock): Blobs | Promise<Blobs>;
  /** Called when the case is over and its handles are closed. */
  remove?(): void | Promise<void>;
}

interface Bench {
  blobs: Blobs;
  /** Another handle on the same place. */
  open: () => Promise<Blobs>;
  clock: FakeClock;
}

/** The SHA-256 of no bytes, and of `abc` (FIPS 180-4). */
const OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

const CASES: Readonly<Record<string, (bench: Bench) => Promise<void>>> = {
  "bytes are named after their SHA-256, and come back as they were (C6.6)": async ({ blobs, open }) => {
    equal(await blobs.put(new Uint8Array(0)), OF_NOTHING);
    equal(await blobs.put(bytes("abc")), OF_ABC);
    const all = Uint8Array.from({ length: 256 }, (_, byte) => byte);
    const large = Uint8Array.from({ length: (1 << 20) + 1 }, (_, i) => (i * 2654435761) >>> 24);
    const names = [await blobs.put(all), await blobs.put(large)];
    ok(names.every(isBlobName), `${names.join()} are no SHA-256`);
    const other = await open();
    deepEqual(shown(await other.get(OF_NOTHING)), shown(new Uint8Array(0)));
    deepEqual(shown(await other.get(OF_ABC)), shown(bytes("abc")));
    deepEqual(shown(await other.get(names[0]!)), shown(all));
    deepEqual(shown(await other.get(names[1]!)), shown(large));
  },

  "of a view on a larger buffer only its own bytes are kept (C6.6)": async ({ blobs }) => {
    const view = bytes("..abc..").subarray(2, 5);
    equal(await blobs.put(view), OF_ABC);
    const found = await blobs.get(OF_ABC);
    deepEqual([found?.length, found === undefined ? 0 : crc32c(found)], [3, crc32c(bytes("abc"))]);
  },

  "the same bytes are kept once, and putting them again makes them new (C6.6)": async ({ blobs, open, clock }) => {
    const other = await open();
    const name = await blobs.put(bytes("abc"));
    const first = clock.wallNow();
    deepEqual(await listed(blobs), [{ name, bytes: 3, at: first }]);
    await clock.advance(5000);
    equal(await other.put(bytes("abc")), name);
    deepEqual(await listed(blobs), [{ name, bytes: 3, at: first + 5000 }]);
    notEqual(await other.put(bytes("abd")), name);
    equal((await listed(blobs)).length, 2);
  },

  "a blob that was deleted is gone, and deleting it again is no error (C6.6)": async ({ blobs, open }) => {
    const other = await open();
    const kept = await blobs.put(bytes("kept"));
    const name = await blobs.put(bytes("abc"));
    await other.delete(name);
    await other.delete(name);
    equal(await blobs.get(name), undefined);
    deepEqual(
      (await listed(blobs)).map((row) => row.name),
      [kept],
    );
    equal(await blobs.put(bytes("abc")), name);
    deepEqual(shown(await other.get(name)), shown(bytes("abc")));
  },

  "a blob that was put again meanwhile is not deleted for its age (C6.6)": async ({ blobs, open, clock }) => {
    const name = await blobs.put(bytes("abc"));
    await clock.advance(5000);
    const before = clock.wallNow();
    await (await open()).put(bytes("abc"));
    await blobs.delete(name, before);
    deepEqual(shown(await blobs.get(name)), shown(bytes("abc")));
    await blobs.delete(name, before + 1);
    equal(await blobs.get(name), undefined);
  },

  "a name that nobody was given names nothing, whatever it looks like (C0.7)": async ({ blobs }) => {
    await blobs.put(bytes("abc"));
    const strange = [OF_ABC.toUpperCase(), ` ${OF_ABC}`, `${OF_ABC}\n`, OF_ABC.slice(1), `${OF_ABC}0`, `${OF_ABC}\0`];
    strange.push("", ".", "..", "../x", `../${OF_ABC}`, `/etc/${OF_ABC}`, "/etc/hostname", "ba", "a\0b", "__proto__");
    strange.push("constructor", "💥", "x".repeat(5000), "0".repeat(64), `ba/78/${OF_ABC}`);
    for (const name of strange) {
      equal(await blobs.get(name), undefined, JSON.stringify(name));
      await blobs.delete(name);
    }
    deepEqual(
      (await listed(blobs)).map((row) => row.name),
      [OF_ABC],
    );
  },

  "nobody shares bytes with the place (C6.6)": async ({ blobs }) => {
    const given = bytes("abc");
    const putting = blobs.put(given);
    given.fill(0);
    equal(await putting, OF_ABC);
    given.fill(1);
    const got = await blobs.get(OF_ABC);
    deepEqual(shown(got), shown(bytes("abc")));
    got?.fill(2);
    deepEqual(shown(await blobs.get(OF_ABC)), shown(bytes("abc")));
  },

  "many come at the same time over several handles, the same and others (C6.6)": async ({ blobs, open }) => {
    const handles = [blobs, await open(), await open()];
    const texts = Array.from({ length: 60 }, (_, i) => `blob ${i % 20}`);
    const names = await Promise.all(texts.map((text, i) => handles[i % 3]!.put(bytes(text))));
    equal(new Set(names).size, 20);
    for (const [i, name] of names.entries())
      deepEqual(shown(await handles[(i + 1) % 3]!.get(name)), shown(bytes(texts[i]!)));
    const rows = await listed(blobs);
    deepEqual(rows.map((row) => row.name).sort(), [...new Set(names)].sort());
  },

  "a list that is not read to its end is given up (C6.6)": async ({ blobs }) => {
    for (const text of ["a", "b", "c"]) await blobs.put(bytes(text));
    let seen = 0;
    for await (const { name } of blobs.list()) {
      seen++;
      ok(isBlobName(name));
      break;
    }
    equal(seen, 1);
    equal((await listed(blobs)).length, 3);
  },

  "every call on a closed handle is StoreUnavailableError, and closing twice is no error (C6.10)": async ({
    blobs,
  }) => {
    await blobs.put(bytes("abc"));
    await blobs.close();
    await blobs.close();
    const calls: (() => Promise<unknown>)[] = [
      () => blobs.put(bytes("x")),
      () => blobs.get(OF_ABC),
      () => blobs.delete(OF_ABC),
      () => listed(blobs),
    ];
    for (const call of calls) await rejection(observed(call()), "STORE_UNAVAILABLE");
  },
};

/**
 * What every place for blobs must do, as cases for any test runner; `newPlace` gives each of them an empty one.
 *
 * @example
 * ```ts no-run
 * import { MemoryBlobs } from "holdfast";
 * import { blobsContract, type BlobsPlace } from "holdfast/testing";
 * import { it } from "vitest";
 *
 * const newPlace = (): BlobsPlace => {
 *   let blobs: MemoryBlobs | undefined;
 *   return { open: (clock) => (blobs ??= new MemoryBlobs({ clock })) };
 * };
 * for (const { title, run } of blobsContract(newPlace)) it(title, run);
 * ```
 */
export function blobsContract(newPlace: () => BlobsPlace | Promise<BlobsPlace>): ContractCase[] {
  return Object.entries(CASES).map(([title, check]) => ({
    title,
    run: async () => {
      const place = await newPlace();
      const clock = new FakeClock();
      const opened: Blobs[] = [];
      const open = async (): Promise<Blobs> => {
        const blobs = await place.open(clock);
        opened.push(blobs);
        return blobs;
      };
      try {
        await check({ blobs: await open(), open, clock });
      } finally {
        for (const blobs of opened) await blobs.close();
        await place.remove?.();
      }
    },
  }));
}

async function listed(blobs: Blobs): Promise<BlobRow[]> {
  const rows: BlobRow[] = [];
  for await (const { name, bytes: length, at } of blobs.list()) rows.push({ name, bytes: length, at });
  return rows;
}

/** What some bytes come to, in a form that tells quickly where two differ. */
function shown(found: Uint8Array | undefined): unknown {
  if (found === undefined) return undefined;
  return { isBytes: found instanceof Uint8Array, length: found.length, checksum: crc32c(found) };
}
