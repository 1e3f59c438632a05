import type { BlobRow, Blobs } from "../src/core/blobs.ts";
import { MemoryBlobs } from "../src/stores/memory-blobs.ts";
import type { FakeClock } from "../src/testing/fake-clock.ts";

// Places for blobs with one fault each. The contract must find every one of them.

/** How a faulty place is opened, and a part of the title of the case that must find it. */
interface Fault {
  open: () => (clock: FakeClock) => Blobs;
  found: string;
}

/** A place with other methods than the sound one that they are made from. All handles of it are the same one. */
function broken(found: string, faulty: (sound: MemoryBlobs) => Blobs): Fault {
  return {
    found,
    open: () => {
      let blobs: Blobs | undefined;
      return (clock) => (blobs ??= faulty(new MemoryBlobs({ clock })));
    },
  };
}

async function* listed(blobs: Blobs, as: (row: BlobRow) => BlobRow[]): AsyncIterable<BlobRow> {
  for await (const row of blobs.list()) yield* as(row);
}

/** All the methods of a sound place, to change some of them. */
function all(sound: MemoryBlobs): Blobs {
  return {
    location: sound.location,
    put: (bytes) => sound.put(bytes),
    get: (name) => sound.get(name),
    delete: (name, putBefore) => sound.delete(name, putBefore),
    list: () => sound.list(),
    close: () => sound.close(),
  };
}

export const BROKEN_BLOBS: Readonly<Record<string, Fault>> = {
  "that name them after something else": broken("named after their SHA-256", (sound) => ({
    ...all(sound),
    put: async (bytes) => [...(await sound.put(bytes))].reverse().join(""),
  })),
  "that give back one byte less": broken("come back as they were", (sound) => ({
    ...all(sound),
    get: async (name) => (await sound.get(name))?.subarray(1),
  })),
  "that keep the whole buffer of a view": broken("only its own bytes are kept", (sound) => ({
    ...all(sound),
    put: (bytes) => sound.put(new Uint8Array(bytes.buffer)),
  })),
  "that look at their names in any case": broken("names nothing", (sound) => ({
    ...all(sound),
    get: (name) => sound.get(name.toLowerCase()),
  })),
  "that delete what is named nearly so": broken("names nothing", (sound) => ({
    ...all(sound),
    delete: (name, putBefore) => sound.delete(name.trim(), putBefore),
  })),
  "that keep the first instant": broken("makes them new", (sound) => {
    const first = new Map<string, number>();
    return {
      ...all(sound),
      list: () =>
        listed(sound, (row) => [{ ...row, at: first.get(row.name) ?? (first.set(row.name, row.at), row.at) }]),
    };
  }),
  "that list what was put twice twice": broken("kept once", (sound) => {
    const times = new Map<string, number>();
    return {
      ...all(sound),
      put: async (bytes) => {
        const name = await sound.put(bytes);
        times.set(name, (times.get(name) ?? 0) + 1);
        return name;
      },
      list: () => listed(sound, (row) => Array<BlobRow>(times.get(row.name)!).fill(row)),
    };
  }),
  "that delete whatever they are told to": broken("put again meanwhile", (sound) => ({
    ...all(sound),
    delete: (name) => sound.delete(name),
  })),
  "that delete nothing": broken("deleted is gone", (sound) => ({ ...all(sound), delete: async () => {} })),
  "that cannot delete what is not there": broken("no error", (sound) => ({
    ...all(sound),
    delete: async (name, putBefore) => {
      if ((await sound.get(name)) === undefined) throw new Error("no such blob");
      return sound.delete(name, putBefore);
    },
  })),
  "that read what they were given too late": broken("nobody shares bytes", (sound) => ({
    ...all(sound),
    put: async (bytes) => {
      await Promise.resolve();
      return sound.put(bytes);
    },
  })),
  "that give out their own bytes": broken("nobody shares bytes", (sound) => {
    const own = new Map<string, Uint8Array>();
    return {
      ...all(sound),
      get: async (name) => {
        const found = own.get(name) ?? (await sound.get(name));
        if (found !== undefined) own.set(name, found);
        return found;
      },
    };
  }),
  "whose handles do not see each other": {
    open: () => (clock) => new MemoryBlobs({ clock }),
    found: "come back as they were",
  },
  "that go on after they were closed": broken("on a closed handle", (sound) => ({
    ...all(sound),
    close: async () => {},
  })),
};
