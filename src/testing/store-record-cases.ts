import { deepEqual, equal, ok } from "node:assert/strict";
import { crc32c } from "../core/bytes.ts";
import { rejection } from "./contract-case.ts";
import { appendOf, bytes, claimOf, everything, LEASE_MS, letterOf, signalOf, type StoreCases } from "./store-bench.ts";

/** Any ids: none is a path, a key that means something, or the same as another (C0.7). */
const STRANGE_IDS = [
  "__proto__",
  "constructor",
  "../x",
  "a\0b",
  "a",
  "A",
  "🪸",
  "\ud83e",
  "\ud83f",
  "%_'\"\\u0041",
  "\\",
  " ",
  "x".repeat(512),
];

/** What a journal keeps, and under which id. */
export const RECORDS: StoreCases = {
  "records come back in order, with their bytes and checksums (C6.1)": async ({ store }) => {
    const all = Uint8Array.from({ length: 256 }, (_, byte) => byte);
    const bodies = [bytes("first"), new Uint8Array(0), all, new Uint8Array(1 << 20).fill(7)];
    await store.claim(claimOf("r"));
    for (const [i, body] of bodies.entries())
      await store.append(appendOf("r", 1, i, { body, checksum: 2 ** 32 - 1 - i }));
    // Bytes are compared by what they add up to: to tell how two megabytes differ takes Node 22 all the memory there is.
    const shown = (seq: number, body: Uint8Array, checksum: number): string =>
      `${seq}: ${body.length} bytes that add up to ${crc32c(body)}, checksum ${checksum}`;
    const read = await store.read("r");
    deepEqual(
      read.map(({ seq, body, checksum }) => shown(seq, body, checksum)),
      bodies.map((body, seq) => shown(seq, body, 2 ** 32 - 1 - seq)),
    );
    ok(read.every(({ body }) => body instanceof Uint8Array));
    equal((await store.get("r"))?.version, 4);
    deepEqual(await store.read("no such run"), []);
  },

  "a write at another version than the journal has stores nothing (C6.1)": async ({ store }) => {
    await store.claim(claimOf("r"));
    await store.append(appendOf("r", 1, 0));
    const before = await everything(store, "r");
    for (const version of [0, 2]) {
      const wrong = appendOf("r", 1, version, { status: "completed", deadLetters: [letterOf("dl")] });
      await rejection(store.append(wrong), "STORE_UNAVAILABLE");
    }
    deepEqual(await everything(store, "r"), before);
    await store.append(appendOf("r", 1, 1));
  },

  "a status is stored with its record, as is the checksum that the journal then ends with (C6.7)": async ({
    store,
    clock,
  }) => {
    await store.claim(claimOf("r"));
    await store.append(appendOf("r", 1, 0, { status: "running" }));
    await clock.advance(10);
    await store.append(appendOf("r", 1, 1));
    deepEqual((await store.get("r"))?.head, { version: 1, checksum: 1 });
    await store.append(appendOf("r", 1, 2, { status: "waiting", checksum: 4_000_000_000 }));
    const row = await store.get("r");
    deepEqual(row?.head, { version: 3, checksum: 4_000_000_000 });
    deepEqual([row?.status, row?.updatedAt], ["waiting", clock.wallNow()]);
    // A status that is the same as before is written no less.
    await store.claim(claimOf("r"));
    await store.append(appendOf("r", 2, 3, { status: "running" }));
    await clock.advance(10);
    await store.append(appendOf("r", 2, 4, { status: "running", checksum: 77 }));
    const again = await store.get("r");
    deepEqual([again?.updatedAt, again?.head], [clock.wallNow(), { version: 5, checksum: 77 }]);
  },

  "the records of a run are read from any of them on, and up to any (C6.9)": async ({ store }) => {
    await store.claim(claimOf("r"));
    for (let i = 0; i < 4; i++) await store.append(appendOf("r", 1, i));
    for (const from of [0, 1, 3, 4, 9]) {
      const read = await store.read("r", from);
      deepEqual(
        read.map(({ seq, checksum }) => [seq, checksum]),
        [0, 1, 2, 3].slice(from).map((seq) => [seq, seq + 1]),
      );
      for (const to of [0, 1, 2, 4, 9]) {
        const part = await store.read("r", from, to);
        deepEqual(
          part.map(({ seq }) => seq),
          [0, 1, 2, 3].slice(from, to),
        );
      }
    }
    deepEqual(await store.read("no such run", 2), []);
  },

  "the newest record with the whole state is remembered, until it is found to be damaged (C6.7)": async ({ store }) => {
    const snapshot = async (): Promise<unknown> => (await store.get("r"))?.snapshot;
    await store.claim(claimOf("r"));
    await store.append(appendOf("r", 1, 0));
    equal(await snapshot(), null);
    // A checksum may be any, also 0.
    await store.append(appendOf("r", 1, 1, { snapshotAfter: 0 }));
    deepEqual(await snapshot(), { seq: 1, previous: 0 });
    for (let i = 2; i < 6; i++) await store.append(appendOf("r", 1, i));
    await store.append(appendOf("r", 1, 6, { snapshotAfter: 4_000_000_000, status: "running" }));
    await store.append(appendOf("r", 1, 7));
    const newest = { seq: 6, previous: 4_000_000_000 };
    deepEqual((await store.claim(claimOf("r"))).snapshot, newest);
    deepEqual((await store.list())[0]?.snapshot, newest);
    await store.setAside("r", 2, 7);
    deepEqual(await snapshot(), newest);
    await store.setAside("r", 2, 6);
    equal(await snapshot(), null);
    await store.append(appendOf("r", 2, 6, { snapshotAfter: 5 }));
    await store.setAside("r", 2, 3);
    equal(await snapshot(), null);
    equal((await store.claim(claimOf("r"))).snapshot, null);
    deepEqual((await store.read("r")).length, 3);
  },

  "damaged records are moved out of the journal, which goes on before them (C6.7)": async ({ store }) => {
    await store.claim(claimOf("r"));
    for (let i = 0; i < 4; i++) await store.append(appendOf("r", 1, i));
    await store.setAside("r", 1, 2);
    deepEqual(
      (await store.read("r")).map(({ seq }) => seq),
      [0, 1],
    );
    equal((await store.get("r"))?.version, 2);
    await rejection(store.append(appendOf("r", 1, 4)), "STORE_UNAVAILABLE");
    await store.append(appendOf("r", 1, 2, { body: bytes("anew") }));
    deepEqual(Uint8Array.from((await store.read("r"))[2]!.body), bytes("anew"));
  },

  "any text is an id, and each is another run, workflow and node (C0.7)": async ({ store }) => {
    for (const [i, id] of STRANGE_IDS.entries()) {
      const row = await store.claim(claimOf(id, { workflowId: id, owner: `owner ${i}` }));
      deepEqual([row.runId, row.workflowId, row.token], [id, id, 1]);
      const letter = letterOf(`dl-${i}`, { runId: id, workflowId: id, nodeId: id });
      await store.append(appendOf(id, 1, 0, { body: bytes(String(i)), deadLetters: [letter] }));
    }
    deepEqual(
      (await store.list()).map(({ runId }) => runId),
      STRANGE_IDS.toReversed(),
    );
    for (const [i, id] of STRANGE_IDS.entries()) {
      const row = await store.get(id);
      deepEqual([row?.runId, row?.workflowId, row?.owner, row?.version], [id, id, `owner ${i}`, 1]);
      deepEqual(
        (await store.read(id)).map(({ body }) => Uint8Array.from(body)),
        [bytes(String(i))],
      );
      deepEqual(
        (await store.list({ workflowId: id })).map(({ runId }) => runId),
        [id],
      );
      const found = await store.deadLetters({ runId: id, workflowId: id, nodeId: id });
      deepEqual(
        found.map((letter) => [letter.id, letter.nodeId]),
        [[`dl-${i}`, id]],
      );
      deepEqual(await store.renew(`owner ${i}`, [id], LEASE_MS), []);
    }
  },

  "what is handed out or handed in later changes nothing that is stored (C6.1)": async ({ store }) => {
    const body = bytes("kept");
    const letter = letterOf("dl");
    await store.claim(claimOf("r"));
    await store.append(appendOf("r", 1, 0, { body, deadLetters: [letter], status: "running" }));
    const before = structuredClone(await everything(store, "r"));
    body.fill(0);
    letter.errorDetail.message = "changed";
    const [record] = await store.read("r");
    record!.body.fill(0);
    (await store.get("r"))!.head.checksum = 99;
    (await store.list())[0]!.token = 99;
    (await store.deadLetters())[0]!.errorDetail.message = "changed";
    (await store.deadLetter("dl"))!.status = "succeeded";
    deepEqual(structuredClone(await everything(store, "r")), before);
  },

  "of many writes at once those that are refused leave the others alone (C6.4)": async ({ store }) => {
    const runs = Array.from({ length: 40 }, (_, i) => `r-${i}`);
    await Promise.all(runs.map((runId) => store.claim(claimOf(runId))));
    const outcomes = await Promise.allSettled(
      runs.flatMap((runId, i) => [
        store.append(appendOf(runId, i % 3 === 0 ? 9 : 1, 0, { deadLetters: [letterOf(`dl-${runId}`, { runId })] })),
        store.append(appendOf(runId, 1, 1)),
      ]),
    );
    for (const [i, runId] of runs.entries()) {
      const refused = i % 3 === 0;
      deepEqual(
        outcomes.slice(2 * i, 2 * i + 2).map(({ status }) => status === "rejected"),
        [refused, refused],
      );
      deepEqual(
        (await store.read(runId)).map(({ seq }) => seq),
        refused ? [] : [0, 1],
      );
      equal((await store.deadLetter(`dl-${runId}`)) === undefined, refused);
    }
  },

  "appends of one run that are on their way together are stored in order (C6.1)": async ({ store }) => {
    await store.claim(claimOf("r"));
    await Promise.all(Array.from({ length: 100 }, (_, i) => store.append(appendOf("r", 1, i))));
    const read = await store.read("r");
    deepEqual(
      read.map(({ seq, checksum }) => [seq, checksum]),
      Array.from({ length: 100 }, (_, i) => [i, i + 1]),
    );
  },

  "a write finds those that were asked for before it, also where they are still on their way (C6.1)": async ({
    store,
  }) => {
    for (const runId of ["claimed", "damaged", "pruned"]) await store.claim(claimOf(runId));
    const [, claimed] = await Promise.all([
      store.append(appendOf("claimed", 1, 0)),
      store.claim(claimOf("claimed", { owner: "two", isDead: () => true })),
      store.append(appendOf("damaged", 1, 0)),
      store.append(appendOf("damaged", 1, 1)),
      store.setAside("damaged", 1, 1),
      store.append(appendOf("pruned", 1, 0, { status: "completed" })),
      store.prune({ keep: 0 }),
    ]);
    equal(claimed.version, 1);
    deepEqual(
      (await store.read("damaged")).map(({ seq }) => seq),
      [0],
    );
    equal((await store.get("damaged"))?.version, 1);
    equal(await store.get("pruned"), undefined);
    // Nothing is left that a run could take for its own which gets the place of the old one.
    for (const runId of ["pruned", "new"]) {
      equal((await store.claim(claimOf(runId))).version, 0);
      deepEqual(await store.read(runId), []);
      await store.append(appendOf(runId, 1, 0));
    }
  },

  "a store that is closed refuses everything, and closing it again does nothing (C6.10)": async ({ store }) => {
    await store.claim(claimOf("r"));
    await store.close();
    await store.close();
    const calls: (() => Promise<unknown>)[] = [
      () => store.claim(claimOf("r")),
      () => store.append(appendOf("r", 1, 0)),
      () => store.renew("one", ["r"], LEASE_MS),
      () => store.release("r", 1),
      () => store.setAside("r", 1, 0),
      () => store.get("r"),
      () => store.read("r"),
      () => store.list(),
      () => store.deadLetters(),
      () => store.deadLetter("dl"),
      () => store.deadLetterCounts(),
      () => store.pruneDeadLetters(1),
      () => store.signal(signalOf("r", "s")),
      () => store.signals({ runId: "r" }),
      () => store.prune({ keep: 0 }),
    ];
    for (const call of calls) await rejection(call(), "STORE_UNAVAILABLE");
  },

  "writes that were on their way when the store is closed are stored (C6.1)": async ({ store }) => {
    await store.claim(claimOf("r"));
    const appended = store.append(appendOf("r", 1, 0));
    await store.close();
    await appended;
  },
};
