import { deepEqual, equal, match, notEqual } from "node:assert/strict";
import { type EngineCases, fail, gate } from "./engine-world.ts";

/** One of each kind of value that comes back exactly. */
function allKinds(): Record<string, unknown> {
  const cause = Object.assign(new RangeError("deeper"), { code: "E_DEEP" });
  return {
    date: new Date(1_700_000_000_123),
    map: new Map<unknown, unknown>([[{ key: 1 }, new Set(["a", undefined])]]),
    bigint: 2n ** 70n,
    undefined: undefined,
    numbers: [NaN, -0, 0, Infinity, -Infinity, 1e-320],
    text: "\ud800 lone, \0 and 🪸",
    bytes: Uint8Array.of(0, 255),
    floats: Float64Array.of(-0, NaN),
    buffer: Buffer.from("abc"),
    error: Object.assign(new TypeError("no", { cause }), { status: 503 }),
    url: new URL("https://example.com/a?b#c"),
    regexp: /a(b)/giu,
    bare: Object.assign(Object.create(null) as object, { x: 1 }),
    sparse: Object.assign(Array(5) as number[], { 2: 7 }),
    ["__proto__x"]: 1,
    $: "a key that the codec uses itself",
  };
}

/** What values are like when they have passed through a run. */
export const VALUES: EngineCases = {
  "a successor sees what the node returned, and sees the same after a crash (C6.6)": async (world) => {
    const returned = allKinds();
    const seen: unknown[] = [];
    const door = gate();
    let isFirstLife = true;
    const workflow = world.workflow({
      nodes: {
        make: () => returned,
        look: async (value: unknown) => {
          seen.push(value);
          if (isFirstLife) await door.promise;
          return value;
        },
      },
      edges: [["make", "look"]],
    });
    const handle = world.handle();
    const first = world.engine({ store: handle }).run(workflow, null, { runId: "r" });
    await world.settle();
    handle.down = true;
    door.open();
    await first.catch(() => {});
    isFirstLife = false;
    await world.leasesRunOut();
    const { output } = await world.engine().run(workflow, null, { runId: "r" });
    deepEqual(seen, [returned, returned]);
    deepEqual(output, returned);
    notEqual(seen[0], returned);
    // Also when the finished run is asked for once more.
    deepEqual((await world.engine().run(workflow, null, { runId: "r" })).output, returned);
  },

  "the input of a run comes to its nodes as it was given, also after a crash (C6.6)": async (world) => {
    const seen: unknown[] = [];
    const input = allKinds();
    const workflow = world.workflow({
      nodes: { look: (value: unknown) => void seen.push(value), b: () => 1 },
      edges: [["look", "b"]],
    });
    const handle = world.handle();
    handle.dieAt(2, "asked");
    await world
      .engine({ store: handle })
      .run(workflow, input, { runId: "r" })
      .catch(() => {});
    await world.leasesRunOut();
    await world.engine().run(workflow, input, { runId: "r" });
    deepEqual(seen, [input, input]);
  },

  "an output that cannot be stored fails its node with the path to it, and no retry repeats it (C6.6)": async (
    world,
  ) => {
    class Session {}
    const cyclic: { self?: unknown } = {};
    cyclic.self = cyclic;
    const bad: [unknown, RegExp][] = [
      [
        { list: [1, { callback: () => 1 }] },
        /The output of node "n"\.list\[1\]\.callback cannot be stored: it is a function/,
      ],
      [{ session: new Session() }, /The output of node "n"\.session cannot be stored: it is an instance of Session/],
      [[Symbol("s")], /The output of node "n"\[0\] cannot be stored: it is a symbol/],
      [{ late: Promise.resolve(1) }, /\.late cannot be stored: it is an instance of Promise\. Await it first/],
      [cyclic, /The output of node "n"\.self cannot be stored: it contains itself/],
      [new Map([["k", () => 1]]), /The output of node "n"\.get\("k"\) cannot be stored/],
    ];
    for (const [i, [value, message]] of bad.entries()) {
      const workflow = world.workflow({
        nodes: { n: world.node(() => value) },
        policies: { n: { retry: { maxAttempts: 5, initialDelayMs: 1 } } },
      });
      const { status, error, deadLetters } = await world.finish(world.engine().run(workflow, null));
      equal(status, "failed");
      match(String(error), message);
      equal((error?.cause as { code?: string }).code, "UNSERIALIZABLE_VALUE");
      equal(deadLetters.length, 1);
      equal(world.log.callsOf("n#0"), i + 1);
    }
  },

  "an output that cannot be stored may be replaced by that of a backup (C5.4, C6.6)": async (world) => {
    const workflow = world.workflow({ nodes: { n: () => () => 1, spare: () => 2 }, fallbacks: [["n", "spare"]] });
    equal((await world.engine().run(workflow, null)).output, 2);
  },

  "an input that cannot be stored is refused with the path to it, and nothing is begun (C6.6)": async (world) => {
    const workflow = world.workflow({ nodes: { n: world.node(() => 1) } });
    const refused = world.engine().run(workflow, { a: { b: () => 1 } }, { runId: "r" });
    await refused.then(fail("it ran"), (error: Error) => match(error.message, /^The input\.a\.b cannot/));
    deepEqual([await world.store.get("r"), world.log.callsOf("n#0")], [undefined, 0]);
  },

  "an output above 1 MB raises a warning, and one above 16 MB is refused (C6.6)": async (world) => {
    const workflow = world.workflow({ id: "w", nodes: { n: (length: number) => "x".repeat(length) } });
    const engine = world.engine();
    equal((await engine.run(workflow, 1024 * 1024 - 2)).status, "completed");
    deepEqual(world.eventsOf("value.large"), []);
    equal((await engine.run(workflow, 1024 * 1024 + 2, { runId: "r" })).status, "completed");
    const [{ runId, workflowId, nodeId, bytes } = {} as never] = world.eventsOf("value.large");
    deepEqual(
      { runId, workflowId, nodeId, bytes },
      { runId: "r", workflowId: "w", nodeId: "n", bytes: 1024 * 1024 + 4 },
    );
    equal((await engine.run(workflow, 16 * 1024 * 1024 - 2)).status, "completed");
    // Bytes count, not characters.
    const euros = world.workflow({ id: "e", nodes: { n: (length: number) => "\u20ac".repeat(length) } });
    equal((await engine.run(euros, 400_000)).status, "completed");
    equal(world.eventsOf("value.large").at(-1)?.bytes, 3 * 400_000 + 2);
    const { status, error } = await engine.run(workflow, 16 * 1024 * 1024 - 1);
    equal(status, "failed");
    match(
      String(error),
      /The output of node "n" cannot be stored: it takes 16\.00 MB, .*store it elsewhere and return a reference/,
    );
  },
};
