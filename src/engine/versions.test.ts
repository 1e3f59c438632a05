import { describe, expect, it, vi } from "vitest";
import { createEngine, MemoryStore, VersionMismatchError, Workflow } from "../index.ts";
import { FaultyStore } from "../testing/faulty-store.ts";
import type { Migration } from "../workflow/definition.ts";

/** A store with a run that has done `fetch` and failed at `send`, by the first version of its code. */
async function failedRun(): Promise<MemoryStore> {
  const store = new MemoryStore();
  const first = new Workflow({ id: "mail" })
    .addNode("fetch", (n: number) => ({ text: `mail ${n}` }))
    .addNode("send", (_: { text: string }): string => {
      throw new Error("a bug in the first version");
    })
    .connect("fetch", "send");
  const engine = createEngine({ store });
  const { status } = await engine.run(first, 7, { runId: "r" });
  expect(status).toBe("failed");
  return store;
}

/** Redrives what failed with other code; gives the output and the letters. */
async function redriven(store: MemoryStore, workflow: object): Promise<unknown[]> {
  const engine = createEngine({ store, workflows: [workflow as never] });
  const [letter] = await engine.deadLetters.list();
  const { output } = await engine.deadLetters.redrive(letter!.id);
  return [output, (await engine.deadLetters.list()).map(({ nodeId, status }) => `${nodeId} ${status}`)];
}

const calls: string[] = [];

describe("a run goes on with changed code (C5.10)", () => {
  it("where the change touches nothing that it has begun", async () => {
    const store = await failedRun();
    const mended = new Workflow({ id: "mail" })
      .addNode("fetch", (_: number) => (calls.push("fetch"), { text: "" }))
      .addNode("send", ({ text }: { text: string }) => `sent ${text}`)
      .addNode("log", (line: string) => `logged ${line}`)
      .addNode("rules", (_: string) => "never")
      .connect("fetch", "send")
      .connect("send", "log")
      .addFallback("log", "rules");
    expect(await redriven(store, mended)).toEqual(["logged sent mail 7", ["send succeeded"]]);
    expect(calls).toEqual([]);
    // From then on it is a run of that definition.
    const again = await createEngine({ store }).run(mended, 7, { runId: "r" });
    expect(again.output).toBe("logged sent mail 7");
  });

  const send = ({ text }: { text: string }): string => `sent ${text}`;
  const incompatible: [why: string, workflow: object, message: RegExp][] = [
    [
      "another version",
      new Workflow({ id: "mail", version: "2" })
        .addNode("fetch", (_: number) => ({ text: "" }))
        .addNode("send", send)
        .connect("fetch", "send"),
      /it had the version "1", and has "2" now/,
    ],
    ["a node that is gone", new Workflow({ id: "mail" }).addNode("send", send), /its node "fetch", which is gone/],
    [
      "another way in",
      new Workflow({ id: "mail" })
        .addNode("fetch", (_: number) => ({ body: "" }))
        .addNode("send", send)
        .connect("fetch", "send", { body: "text" }),
      /its node "send", which other edges lead to now/,
    ],
    [
      "another fallback",
      new Workflow({ id: "mail" })
        .addNode("fetch", (_: number) => ({ text: "" }))
        .addNode("send", send)
        .addNode("carrier", send)
        .connect("fetch", "send")
        .addFallback("send", "carrier"),
      /its node "send", which has other fallbacks now/,
    ],
  ];
  it.each(incompatible)("but not with %s, and is left as it was", async (_why, workflow, message) => {
    const store = await failedRun();
    const engine = createEngine({ store, workflows: [workflow as never] });
    const [letter] = await engine.deadLetters.list();
    const refused = engine.deadLetters.redrive(letter!.id);
    await expect(refused).rejects.toThrow(VersionMismatchError);
    await expect(refused).rejects.toThrow(message);
    expect((await engine.deadLetters.get(letter!.id))!.status).toBe("pending");
    expect((await engine.get("r"))!.status).toBe("failed");
  });
});

describe("a migration carries runs of an older version on (C5.10)", () => {
  function second(migration: Omit<Migration, "from">, from = "1"): object {
    return new Workflow({ id: "mail", version: "2", migrations: [{ from, ...migration }] })
      .addNode("load", (_: number) => (calls.push("load"), { body: "loaded anew" }))
      .addNode("deliver", ({ body }: { body: string }) => `delivered ${body}`)
      .connect("load", "deliver");
  }

  it("under new ids, with results made anew", async () => {
    const store = await failedRun();
    const workflow = second({
      rename: { fetch: "load", send: "deliver" },
      outputs: { load: ({ text }: { text: string }) => ({ body: text.toUpperCase() }) },
    });
    expect(await redriven(store, workflow)).toEqual(["delivered MAIL 7", ["deliver succeeded"]]);
    expect(calls).toEqual([]);
  });

  it("and does again what it forgets", async () => {
    const store = new MemoryStore();
    const first = new Workflow({ id: "mail" })
      .addNode("fetch", (n: number) => n)
      .addNode("send", (_: number) => new Promise<string>(() => {}))
      .connect("fetch", "send");
    const engine = createEngine({ store: new FaultyStore(store) });
    engine.run(first, 7, { runId: "r" }).catch(() => {});
    await vi.waitFor(async () => expect((await store.read("r")).length).toBeGreaterThan(1));
    await engine.close();
    const workflow = second({ forget: ["fetch", "send"] }) as typeof first;
    const { output } = await createEngine({ store }).run(workflow, 7, { runId: "r" });
    expect([output, calls.splice(0)]).toEqual(["delivered loaded anew", ["load"]]);
  });

  it("but a node that it forgets to mention stops it, and so does one that fails", async () => {
    const store = await failedRun();
    await expect(redriven(store, second({ rename: { fetch: "load" } }))).rejects.toThrow(
      /has begun its node "send", .* neither renames nor forgets it/,
    );
    const failing = second({
      rename: { fetch: "load", send: "deliver" },
      outputs: {
        load: () => {
          throw new Error("cannot be read");
        },
      },
    });
    await expect(redriven(store, failing)).rejects.toThrow(/migration from version "1" failed .* cannot be read/);
    await expect(redriven(store, second({}, "0"))).rejects.toThrow(/it had the version "1", and has "2" now/);
    expect((await createEngine({ store }).get("r"))!.status).toBe("failed");
  });
});
