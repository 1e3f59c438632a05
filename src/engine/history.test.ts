import { expect, test } from "vitest";
import { NotFoundError, RunInUseError, StoreCorruptError } from "../core/errors.ts";
import { MemoryStore } from "../stores/memory.ts";
import { Workflow } from "../workflow.ts";
import { Engine } from "./engine.ts";
import { readHistory } from "./history.ts";

const double = new Workflow({ id: "double" })
  .addNode("parse", (text: string) => Number(text))
  .addNode("double", (n: number) => n * 2)
  .connect("parse", "double");

/** A store in memory whose records a test can spoil. */
class SpoiltStore extends MemoryStore {
  spoil: (records: Awaited<ReturnType<MemoryStore["read"]>>) => typeof records = (records) => records;

  override async read(runId: string): ReturnType<MemoryStore["read"]> {
    return this.spoil(await super.read(runId));
  }
}

test("a history tells every event with its record, and where they have brought the run", async () => {
  const store = new MemoryStore();
  await new Engine({ store }).run(double, "21", { runId: "r" });
  const history = await readHistory(store, "r");
  expect(history?.damage).toBeUndefined();
  expect(history?.state.status).toBe("completed");
  expect(history?.state.invocations.get("double#0")).toMatchObject({ status: "completed", output: "42" });
  const told = history!.events.map(({ record, event }) => [record, event.kind]);
  expect(told[0]).toEqual([0, "run_started"]);
  expect(told.at(-1)).toEqual([history!.row.version - 1, "run_completed"]);
  expect(await readHistory(store, "other")).toBeUndefined();
});

test("a history can be read while somebody carries the run out, who keeps the lease (C6.4)", async () => {
  const store = new MemoryStore();
  let go = (): void => {};
  const held = new Workflow({ id: "held" }).addNode("wait", () => new Promise<void>((resolve) => (go = resolve)));
  const begun = deferred();
  const engine = new Engine({ store, onEvent: ({ type }) => type === "node.started" && setImmediate(begun.resolve) });
  const result = engine.run(held, undefined, { runId: "r" });
  await begun.promise;
  const before = await store.get("r");
  expect((await readHistory(store, "r"))?.state.invocations.get("wait#0")?.status).toBe("running");
  expect(await store.get("r")).toEqual(before);
  go();
  expect((await result).status).toBe("completed");
});

test("damage is told, left where it is, and nothing behind it is believed (C6.7)", async () => {
  const store = new SpoiltStore();
  await new Engine({ store }).run(double, "21", { runId: "r" });
  const { version } = (await store.get("r"))!;
  store.spoil = (records) =>
    records.map((record) => (record.seq === 1 ? { ...record, checksum: record.checksum ^ 1 } : record));
  const flipped = await readHistory(store, "r");
  expect(flipped?.damage).toBe(`record 1 of ${version} is damaged, and nothing after it can be trusted`);
  expect(flipped?.state.status).toBe("running");
  expect(flipped?.events.every(({ record }) => record === 0)).toBe(true);

  store.spoil = (records) => records.slice(0, -1);
  expect((await readHistory(store, "r"))?.damage).toBe(
    `the newest 1 of ${version} records known to have been written are gone`,
  );
  store.spoil = (records) => records;
  expect((await readHistory(store, "r"))?.damage).toBeUndefined();
});

test("resume takes the input that the run was started with, and gives the stored result of one that has ended (C6.9)", async () => {
  const store = new MemoryStore();
  const flaky = new Workflow({ id: "flaky" }).addNode("shout", (input: { text: string; at: Date }) => {
    return `${input.text.toUpperCase()} ${input.at.getTime()}`;
  });
  const first = new Engine({
    store: unclosable(store),
    onEvent: ({ type }) => type === "node.started" && void first.close(),
  });
  await expect(first.run(flaky, { text: "hello", at: new Date(7) }, { runId: "r" })).rejects.toThrow("closed");
  const second = new Engine({ store });
  expect(await second.resume(flaky, "r")).toMatchObject({ output: "HELLO 7", resumed: true });
  expect(await second.resume(flaky, "r")).toMatchObject({ output: "HELLO 7" });
});

test("resume refuses a run that is not there, was never recorded, is another workflow's, or is damaged from its start", async () => {
  const store = new SpoiltStore();
  const engine = new Engine({ store });
  await expect(engine.resume(double, "none")).rejects.toThrow(new NotFoundError('There is no run "none" in memory.'));
  await store.claim({
    runId: "claimed",
    workflowId: "double",
    owner: "o",
    leaseMs: 0,
    isDead: () => true,
    reopen: false,
  });
  await expect(engine.resume(double, "claimed")).rejects.toThrow(
    'The start of run "claimed" was never recorded. Run it with its input.',
  );
  await engine.run(double, "21", { runId: "r" });
  const other = new Workflow({ id: "other" }).addNode("n", () => 1);
  await expect(engine.resume(other, "r")).rejects.toThrow(RunInUseError);
  store.spoil = (records) => records.map((record) => ({ ...record, checksum: record.checksum ^ 1 }));
  await expect(engine.resume(double, "r")).rejects.toThrow(StoreCorruptError);
});

/** The same store, kept open when an engine on it is closed. */
function unclosable(store: MemoryStore): MemoryStore {
  return new Proxy(store, {
    get(target, key) {
      if (key === "close") return async () => {};
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => {};
  const promise = new Promise<void>((done) => (resolve = done));
  return { promise, resolve };
}
