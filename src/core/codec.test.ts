import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { Codec, plainCodec } from "./codec.ts";
import { UnserializableValueError } from "./errors.ts";

function roundTrip(value: unknown, codec: Codec = plainCodec): unknown {
  return codec.decode(codec.encode(value, "value"));
}

const bytes = Uint8Array.of(0, 1, 127, 128, 255, 7, 8, 9);

describe("these come back exactly (C6.6)", () => {
  const shared = new Map<unknown, unknown>([
    [new Date(0), new Set([new Map([[{ a: 1 }, undefined]])])],
    [NaN, -0],
    [undefined, null],
  ]);
  const sparse = [1, , undefined, 4];
  sparse.length = 10;
  const bare = Object.assign(Object.create(null) as object, { a: 1, $: 2 });
  const own = JSON.parse('{"__proto__": {"admin": true}, "constructor": 1, "": 2}') as object;
  const regexp = /a(?<n>b)+\/"/giu;
  regexp.lastIndex = 3;
  test.each<[string, unknown]>([
    ["null", null],
    ["text", 'quotes " \\ \u2028 \0 🦑'],
    ["a lone surrogate", "\ud800 and \udfff"],
    ["undefined", undefined],
    ["NaN", NaN],
    ["-0", -0],
    ["Infinity", Infinity],
    ["-Infinity", -Infinity],
    ["the largest number", Number.MAX_VALUE],
    ["a bigint", -(2n ** 200n)],
    ["a Date", new Date(1_767_225_600_123)],
    ["an invalid Date", new Date(NaN)],
    ["a Date before 1970", new Date(-1)],
    ["a Map of many kinds", shared],
    ["a Set", new Set([1, "1", -5n, null, undefined])],
    ["a RegExp", regexp],
    ["a URL", new URL("https://user:pw@example.com:8080/p?q=1#h")],
    ["a Buffer", Buffer.from(bytes)],
    ["an ArrayBuffer", bytes.buffer],
    ["an empty array", []],
    ["a sparse array", sparse],
    ["an array that is nothing but holes", new Array(3)],
    ["an object without a prototype", bare],
    ["an object with dangerous keys", own],
    ["an object with the key of our kinds", { $: "Map", v: [[1, 2]] }],
    ["such an object deep inside", [{ $: { $: "undefined" } }, { a: { $: undefined } }]],
    ["truth beside undefined", [true, undefined, false]],
    ["undefined properties", { a: undefined, b: [undefined] }],
    ...[
      Int8Array,
      Uint8Array,
      Uint8ClampedArray,
      Int16Array,
      Uint16Array,
      Int32Array,
      Uint32Array,
      Float32Array,
      Float64Array,
      BigInt64Array,
      BigUint64Array,
    ].map((TypedArray): [string, unknown] => [TypedArray.name, new TypedArray(bytes.slice().buffer)]),
  ])("%s", (_, value) => {
    for (const whole of [value, [value], { deep: { er: value } }]) {
      const back = roundTrip(whole);
      expect(back).toStrictEqual(whole);
      // A second pass shows what equality may overlook.
      expect(plainCodec.encode(back, "")).toBe(plainCodec.encode(whole, ""));
    }
  });

  test("a RegExp with where it stopped, and a sparse array with its holes", () => {
    expect((roundTrip(regexp) as RegExp).lastIndex).toBe(3);
    const back = roundTrip(sparse) as unknown[];
    expect([back.length, 1 in back, 2 in back, 3 in back]).toEqual([10, false, true, true]);
  });

  test("a typed array that is a window on a larger buffer, without the rest of it", () => {
    const back = roundTrip(new Uint16Array(bytes.slice().buffer, 2, 2)) as Uint16Array;
    expect([...back]).toEqual([0x807f, 0x07ff]);
    expect(back.buffer.byteLength).toBe(4);
  });

  test("an object without a prototype still has none", () => {
    expect(Object.getPrototypeOf(roundTrip(bare))).toBeNull();
  });

  test("ordinary JSON takes its own form, so that the common case stays readable and fast", () => {
    const value = { a: [1, "x", null, true], b: {} };
    expect(plainCodec.encode(value, "")).toBe(JSON.stringify(value));
    expect(plainCodec.decode(' {"a": 1}')).toEqual({ a: 1 });
  });
});

// Runs outlive versions: what is stored today is read by every later one.
test.each<[string, unknown]>([
  ['[{"$":"undefined"},{"a":[1]}]', [undefined, { a: [1] }]],
  ['[{"$":"number","v":"-0"},{"$":"number","v":"NaN"}]', [-0, NaN]],
  ['{"$":"bigint","v":"12"}', 12n],
  ['[{"$":"Date","v":5},{"$":"Date","v":"invalid"}]', [new Date(5), new Date(NaN)]],
  ['{"$":"Map","v":[["k",{"$":"Set","v":[[],{}]}]]}', new Map([["k", new Set([[], {}])]])],
  ['{"$":"RegExp","v":["a+","gi",0]}', /a+/gi],
  ['{"$":"URL","v":"https://example.com/"}', new URL("https://example.com")],
  ['[{"$":"Buffer","v":"AQI="},{"$":"Uint16Array","v":"AQI="}]', [Buffer.of(1, 2), Uint16Array.of(513)]],
  ['{"$":"ArrayBuffer","v":"AQI="}', Uint8Array.of(1, 2).buffer],
  ['{"$":"object","v":[["$",1]]}', { $: 1 }],
  ['{"$":"object","bare":true,"v":[["a",1]]}', Object.assign(Object.create(null) as object, { a: 1 })],
  ['{"$":"sparse","v":[3,[[1,"x"]]]}', [, "x", ,]],
  [
    '{"$":"Error","v":{"class":"RangeError","name":"RangeError","message":"m","stack":"s","code":"C","status":5,"cause":1}}',
    Object.assign(new RangeError("m", { cause: 1 }), { stack: "s", code: "C", status: 5 }),
  ],
  [
    '{"$":"Error","v":{"class":"Error","name":"Own","message":"m"}}',
    Object.assign(new (class extends Error {})("m"), { name: "Own", stack: undefined }),
  ],
])("%s is how it is stored, and stays readable (C6.6)", (text, value) => {
  expect(plainCodec.encode(value, "")).toBe(text);
  expect(plainCodec.encode(plainCodec.decode(text), "")).toBe(text);
});

describe("errors come back with their causes (C6.6)", () => {
  test("name, message, stack, code, status, cause and errors, and no requests nor headers", () => {
    const cause = new AggregateError([new RangeError("a"), "b"], "all failed", { cause: { retry: 5n } });
    const error = Object.assign(new TypeError("outer", { cause }), {
      code: "E_OUTER",
      status: 503,
      request: { headers: { authorization: "secret" } },
    });
    const text = plainCodec.encode(error, "");
    const back = plainCodec.decode(text) as TypeError;
    expect(text).not.toContain("secret");
    expect(back).toBeInstanceOf(TypeError);
    expect(back).toMatchObject({ name: "TypeError", message: "outer", code: "E_OUTER", status: 503 });
    expect(back.stack).toBe(error.stack);
    const backCause = back.cause as AggregateError;
    expect(backCause).toBeInstanceOf(AggregateError);
    expect(backCause.stack).toBe(cause.stack);
    expect(backCause.cause).toEqual({ retry: 5n });
    expect(backCause.errors).toEqual([new RangeError("a"), "b"]);
    expect(backCause.errors[0]).toBeInstanceOf(RangeError);
  });

  test("an error of a class of the user's is a plain Error under its name", () => {
    class PaymentError extends TypeError {
      override name = "PaymentError";
      errors = [new Error("first")];
    }
    const back = roundTrip(new PaymentError("declined")) as PaymentError;
    expect(Object.getPrototypeOf(back)).toBe(Error.prototype);
    expect(back).toMatchObject({ name: "PaymentError", message: "declined", errors: [{ message: "first" }] });
  });

  test("its name and stack can be changed as those of any error, and show in no list of keys", () => {
    for (const error of [new TypeError("x"), Object.assign(new Error("x"), { name: "Own", stack: undefined })]) {
      const back = roundTrip(error) as Error;
      const own = error.name === "Own" ? ["message", "name", "stack"] : ["message", "stack"];
      expect(Reflect.ownKeys(back).toSorted()).toEqual(own);
      expect(Object.keys(back)).toEqual([]);
      Object.assign(back, { name: "Changed", stack: "changed" });
      expect([back.name, back.stack]).toEqual(["Changed", "changed"]);
      expect([Reflect.deleteProperty(back, "name"), Reflect.deleteProperty(back, "stack")]).toEqual([true, true]);
    }
  });

  test("what is no status stays behind, and an AggregateError without its errors has none", () => {
    expect(roundTrip(Object.assign(new Error("x"), { status: { large: 1 } }))).not.toHaveProperty("status");
    const aggregate = new AggregateError([new Error("first")]);
    Reflect.deleteProperty(aggregate, "errors");
    expect((roundTrip(aggregate) as AggregateError).errors).toEqual([]);
  });

  test("a cause that is undefined is told from none, and a stack that was taken off stays off", () => {
    expect("cause" in (roundTrip(new Error("x", { cause: undefined })) as Error)).toBe(true);
    expect("cause" in (roundTrip(new Error("x")) as Error)).toBe(false);
    const bareOfStack = new Error("x");
    Reflect.deleteProperty(bareOfStack, "stack");
    expect((roundTrip(bareOfStack) as Error).stack).toBeUndefined();
  });

  test("an error whose name and message are no texts is stored with what they print", () => {
    const odd = Object.assign(new Error(), { name: 5, message: { a: 1 } });
    expect(roundTrip(odd)).toMatchObject({ name: "5", message: "[object Object]" });
  });
});

describe("these are refused, with the path to the value (C6.6)", () => {
  class Customer {
    id = 1;
  }
  class OwnMap extends Map<number, number> {}
  class OwnArray extends Array<number> {}
  class OwnDate extends Date {}
  class OwnSet extends Set<number> {}
  class OwnRegExp extends RegExp {}
  class OwnURL extends URL {}
  const ring: { self?: unknown } = {};
  ring.self = { back: [ring] };
  const ringMap = new Map<string, unknown>();
  ringMap.set("m", ringMap);
  let deep: unknown = 1;
  for (let i = 0; i < 501; i++) deep = [deep];
  let deepMaps: unknown = 1;
  for (let i = 0; i < 501; i++) deepMaps = new Map([[1, deepMaps]]);
  test.each<[string, unknown, string, string]>([
    ["a function", { a: [1, function send() {}] }, "out.a[1]", "it is a function (send), and code is not stored."],
    ["a nameless function", [() => 1], "out[0]", "it is a function, and code"],
    ["a symbol", { "b c": Symbol("s") }, 'out["b c"]', "it is a symbol (s)."],
    ["a symbol as a key", { a: { [Symbol("k")]: 1 } }, "out.a", "it has a symbol as a key (k)."],
    ["a promise", { p: Promise.resolve(1) }, "out.p", "it is an instance of Promise. Await it first."],
    ["an instance of a class", [new Customer()], "out[0]", "it is an instance of Customer. Return plain data"],
    ["an instance of a nameless class", new (class {})() as object, "out", "it is an instance of "],
    ["an object over another", Object.create({ inherited: 1 }), "out", "it is an instance of Object."],
    ["a Map of a class of its own", new OwnMap([[1, 2]]), "out", "it is an instance of OwnMap."],
    ["an array of a class of its own", { list: OwnArray.of(1, 2) }, "out.list", "it is an instance of OwnArray."],
    ["a Date of a class of its own", new OwnDate(5), "out", "it is an instance of OwnDate."],
    ["a Set of a class of its own", new OwnSet([1]), "out", "it is an instance of OwnSet."],
    ["a RegExp of a class of its own", new OwnRegExp("a"), "out", "it is an instance of OwnRegExp."],
    ["a URL of a class of its own", new OwnURL("file:///"), "out", "it is an instance of OwnURL."],
    [
      "an object over nothing known",
      Object.create(Object.create(null)),
      "out",
      "it is an instance of an unknown class.",
    ],
    [
      "an object made to look like bytes",
      Object.create(Uint8Array.prototype),
      "out",
      "it is an instance of Uint8Array.",
    ],
    ["a WeakMap", new WeakMap(), "out", "it is an instance of WeakMap."],
    ["a boxed number", Object(5), "out", "it is an instance of Number."],
    ["a DataView", new DataView(new ArrayBuffer(8)), "out", "it is an instance of DataView."],
    ["a Response", new Response("body"), "out", "it is an instance of Response."],
    ["a value of another realm", runInNewContext("({})"), "out", "it is an instance of Object."],
    ["a cycle", ring, "out.self.back[0]", "it contains itself."],
    ["a cycle of Maps", ringMap, 'out.get("m")', "it contains itself."],
    ["a function in a Map", new Map([["k", () => 1]]), 'out.get("k")', "it is a function"],
    ["a function behind an object as a key", new Map([[{ a: 1 }, () => 1]]), "out.get(an object)", "it is a function"],
    ["a function beside holes", [, , () => 1], "out[2]", "it is a function"],
    ["a function among errors", new AggregateError([1, () => 1]), "out.errors[1]", "it is a function"],
    ["a function as a key", new Map([[() => 1, 1]]), "out.keys()[0]", "it is a function"],
    ["a symbol in a Set", new Set([1, Symbol()]), "out.values()[1]", "it is a symbol"],
    ["a function in a cause", new Error("x", { cause: { f: () => 1 } }), "out.cause.f", "it is a function"],
    ["an array with a name", { m: /b/.exec("abc") }, "out.m.index", "it is a named property of an array."],
    [
      "an array with a name and a hole",
      Object.assign([1, ,], { n: 1 }),
      "out.n",
      "it is a named property of an array.",
    ],
    ["too deep a value", deep, `out${"[0]".repeat(500)}`, "it is nested deeper than 500 levels."],
    ["too deep a Map", deepMaps, `out${".get(1)".repeat(500)}`, "it is nested deeper than 500 levels."],
  ])("%s", (_, value, path, why) => {
    let error: unknown;
    try {
      plainCodec.encode(value, "out");
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(UnserializableValueError);
    expect((error as UnserializableValueError).path).toBe(path);
    expect((error as Error).message).toContain(
      `${path.charAt(0).toUpperCase()}${path.slice(1)} cannot be stored: ${why}`,
    );
  });

  test("an array whose name looks like an index, which no index can be", () => {
    const array = Object.assign(new Array(2 ** 32 - 1), { [2 ** 32 - 1]: 1 });
    expect(() => plainCodec.encode(array, "out")).toThrow("Out.4294967295 cannot be stored: it is a named property");
  });

  test("the same object in two places is no cycle", () => {
    const twice = { a: 1 };
    expect(roundTrip({ x: twice, y: [twice, new Set([twice])] })).toEqual({ x: twice, y: [twice, new Set([twice])] });
  });

  test("the deepest value that is accepted comes back, plain or of kinds", () => {
    expect(roundTrip((deep as unknown[])[0])).toEqual((deep as unknown[])[0]);
    const maps = (deepMaps as Map<number, unknown>).get(1);
    let [depth, at] = [0, roundTrip(maps)];
    for (; at instanceof Map; at = at.get(1) as unknown) depth++;
    expect([depth, at]).toEqual([500, 1]);
  });

  test("a value of more characters than a text can have", () => {
    const stringify = vi.spyOn(JSON, "stringify").mockImplementation(() => {
      throw new RangeError("Invalid string length");
    });
    try {
      expect(() => plainCodec.encode("x", "the output")).toThrow(
        "The output cannot be stored: it is too large to be written as one text: Invalid string length.",
      );
    } finally {
      stringify.mockRestore();
    }
  });
});

describe("registered classes", () => {
  class Money {
    readonly amount: bigint;
    constructor(amount: bigint) {
      this.amount = amount;
    }
  }
  const money = {
    name: "Money",
    is: (value: unknown): value is Money => value instanceof Money,
    encode: (value: Money) => ({ amount: value.amount }),
    decode: (data: unknown) => new Money((data as { amount: bigint }).amount),
  };
  const other = {
    name: "Other",
    is: (value: unknown): value is never => value === other,
    encode: String,
    decode: (data: unknown) => ({ wrong: data }) as never,
  };
  const codec = new Codec([other, money]);

  test("come back as instances, through plain data that may itself be of any kind (C6.6)", () => {
    const value = { total: new Money(5n), parts: new Map([["a", new Money(2n)]]) };
    expect(roundTrip(value, codec)).toStrictEqual(value);
  });

  test("are refused by a codec that does not know them (C6.6)", () => {
    expect(() => plainCodec.encode(new Money(1n), "out")).toThrow("it is an instance of Money.");
    expect(() => plainCodec.decode(codec.encode(new Money(1n), "out"))).toThrow('kind "type" cannot be read');
  });

  test("are not looked for in ordinary JSON, which is the common case and must be fast", () => {
    const asked: unknown[] = [];
    const asking = new Codec([{ ...money, is: (value: unknown): value is Money => asked.push(value) < 0 }]);
    asking.encode({ a: [1, "x", null, true, [], {}], b: { c: -1.5 } }, "out");
    expect(asked).toEqual([]);
    asking.encode([undefined], "out");
    expect(asked).toEqual([[undefined]]);
  });

  test("that encode to themselves are a cycle, not an endless loop", () => {
    const endless = new Codec([{ ...money, encode: (value: Money) => value }]);
    expect(() => endless.encode(new Money(1n), "out")).toThrow("it contains itself");
  });
});

test("any value that is accepted comes back deep-equal, and encodes to the same text again (C6.6)", () => {
  const leaf = fc.oneof(
    fc.anything({
      withBigInt: true,
      withDate: true,
      withMap: true,
      withSet: true,
      withNullPrototype: true,
      withSparseArray: true,
      withTypedArray: true,
      withUnicodeString: true,
    }),
    fc.constantFrom(-0, NaN, Infinity, undefined, "\udc00", new Date(NaN)),
    fc.bigInt(),
    fc.string({ unit: "binary" }),
    fc.uint8Array().map((data) => Buffer.from(data)),
  );
  const value = fc.oneof(
    leaf,
    fc.array(fc.tuple(leaf, leaf)).map((entries) => new Map(entries)),
    fc.array(leaf).map((items) => new Set(items)),
    fc.dictionary(fc.constantFrom("$", "v", "__proto__", "a", "toString"), leaf),
    fc.sparseArray(leaf),
  );
  fc.assert(
    fc.property(value, (original) => {
      const text = plainCodec.encode(original, "value");
      const back = plainCodec.decode(text);
      expect(back).toStrictEqual(original);
      expect(plainCodec.encode(back, "value")).toBe(text);
    }),
    { numRuns: 500 },
  );
});
