import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { plainCodec } from "./codec.ts";
import { StoreCorruptError } from "./errors.ts";

afterEach(() => {
  expect(Object.keys(Object.prototype)).toEqual([]);
  expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
});

function thrownBy(fn: () => unknown): unknown {
  try {
    fn();
  } catch (error) {
    return error;
  }
  return expect.unreachable("nothing was thrown");
}

describe("a text that was not written by us (C6.6)", () => {
  test.each<[string, string]>([
    ["no JSON", "{"],
    ["nothing", ""],
    ["an unknown kind", '{"$":"Function","v":"return process"}'],
    ["a kind named like a property of every object", '{"$":"constructor","v":[]}'],
    ["a kind named __proto__", '{"$":"__proto__","v":[]}'],
    ["a kind that is no text", '{"$":{"a":1}}'],
    ["a kind that is null", '{"$":null}'],
    ["a class that is not registered", '{"$":"type","t":"Customer","v":{}}'],
    ["a Map of no entries", '{"$":"Map","v":5}'],
    ["a Map of what are no pairs", '{"$":"Map","v":[5]}'],
    ["a Set of nothing", '{"$":"Set"}'],
    ["a bigint that is none", '{"$":"bigint","v":"1.5"}'],
    ["a number that is none", '{"$":"number","v":"twelve"}'],
    ["a number by a name of every object", '{"$":"number","v":"toString"}'],
    ["a Date of no number", '{"$":"Date","v":"2026-01-01"}'],
    ["a Date of nothing", '{"$":"Date"}'],
    ["a RegExp that is none", '{"$":"RegExp","v":["(","",0]}'],
    ["flags that are none", '{"$":"RegExp","v":["a","xyz",0]}'],
    ["a URL that is none", '{"$":"URL","v":"not a url"}'],
    ["bytes that are no text", '{"$":"Uint8Array","v":5}'],
    ["bytes that do not fill their numbers", '{"$":"Int32Array","v":"AQID"}'],
    ["an error of nothing", '{"$":"Error","v":null}'],
    ["a sparse array of no length", '{"$":"sparse","v":[-1,[]]}'],
    ["a sparse array beyond what there can be", '{"$":"sparse","v":[4294967296,[]]}'],
    ["a sparse array with an entry beyond its end", '{"$":"sparse","v":[2,[[2,1]]]}'],
    ["a sparse array with an entry before its start", '{"$":"sparse","v":[2,[[-1,1]]]}'],
    ["a sparse array with the key __proto__", '{"$":"sparse","v":[2,[["__proto__",{"polluted":true}]]]}'],
    ["a sparse array with the key length", '{"$":"sparse","v":[2,[["length",5]]]}'],
    ["damage deep inside", '[{"a":{"$":"Map","v":[["k",{"$":"nothing"}]]}}]'],
  ])("%s is a StoreCorruptError", (_, text) => {
    expect(() => plainCodec.decode(text)).toThrow(StoreCorruptError);
  });

  test.each<[string, string, string]>([
    ["no JSON", "{", "JSON"],
    ["an unknown kind", '{"$":"Function"}', "the kind is unknown"],
    ["a class that is not registered", '{"$":"type","t":"Customer","v":{}}', 'no value type "Customer" is registered'],
    ["a number that is none", '{"$":"number","v":"twelve"}', "twelve is no such number"],
    ["a Date of no number", '{"$":"Date","v":"soon"}', "soon is no instant"],
    ["an entry beyond the end", '{"$":"sparse","v":[2,[[7,1]]]}', "7 is no index"],
  ])("%s is named by the cause", (_, text, why) => {
    const error = thrownBy(() => plainCodec.decode(text)) as StoreCorruptError;
    expect(error.message).toMatch(/stored value .*(JSON|cannot be read)/);
    expect((error.cause as Error).message).toContain(why);
  });

  test("nothing that is written is too deep to be read, and one level more is", () => {
    let errors: AggregateError = new AggregateError([]);
    for (let i = 1; i < 500; i++) errors = new AggregateError([errors]);
    const text = plainCodec.encode(errors, "out");
    expect(plainCodec.decode(text)).toBeInstanceOf(AggregateError);
    expect(() => plainCodec.decode(`[${text}]`)).toThrow("nested deeper than any that is written");
  });

  test("nested too deep is a StoreCorruptError and no overflow of the stack", () => {
    const kinds = `${'{"$":"Set","v":['.repeat(50_000)}${"]}".repeat(50_000)}`;
    expect(() => plainCodec.decode(kinds)).toThrow("nested deeper than any that is written");
  });

  test("leaves every prototype alone", () => {
    const attacks = [
      '{"$":"object","v":[["__proto__",{"polluted":true}]]}',
      '{"$":"object","v":[["constructor",{"prototype":{"polluted":true}}]],"bare":true}',
      '{"__proto__":{"polluted":true},"x":{"$":"undefined"}}',
      '{"$":"Map","v":[["__proto__",{"polluted":true}]]}',
      '{"$":"Error","v":{"class":"__proto__","name":"__proto__","message":"m","__proto__":{"polluted":true}}}',
      '{"$":"Error","v":{"class":"constructor","name":"n","message":"m","code":{"__proto__":{"polluted":true}}}}',
    ];
    for (const text of attacks) {
      const back = plainCodec.decode(text) as object;
      expect((back as Record<string, unknown>)["polluted"]).toBeUndefined();
      const ours = [Object.prototype, null, Map.prototype, Error.prototype];
      expect(ours.includes(Object.getPrototypeOf(back) as object | null)).toBe(true);
    }
  });

  test("the key __proto__ becomes an ordinary property", () => {
    const back = plainCodec.decode('{"$":"object","v":[["__proto__",{"polluted":true}]]}') as object;
    expect(Object.keys(back)).toEqual(["__proto__"]);
    expect(Object.getOwnPropertyDescriptor(back, "__proto__")).toEqual({
      value: { polluted: true },
      writable: true,
      enumerable: true,
      configurable: true,
    });
  });

  test("of two equal keys the last one counts, as in JSON", () => {
    expect(plainCodec.decode('{"$":"Map","v":[],"$":"undefined"}')).toBeUndefined();
    expect(plainCodec.decode('{"$":"object","v":[["a",1],["a",2]]}')).toEqual({ a: 2 });
  });

  test("a kind is not looked up by what a key hides behind an escape", () => {
    expect(plainCodec.decode('{"\\u0024":"undefined"}')).toEqual({ $: "undefined" });
  });

  test("an array of a hundred million holes costs neither time nor memory, in either direction", () => {
    const before = process.memoryUsage().heapUsed;
    const back = plainCodec.decode('{"$":"sparse","v":[100000000,[[99999999,"last"]]]}') as unknown[];
    expect(back.length).toBe(100_000_000);
    expect(back[99_999_999]).toBe("last");
    expect(plainCodec.encode(back, "")).toBe('{"$":"sparse","v":[100000000,[[99999999,"last"]]]}');
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(50 * 1024 * 1024);
  });

  test("whatever JSON it is, it decodes or is a StoreCorruptError, and never anything else", () => {
    const json = fc.letrec((tie) => ({
      node: fc.oneof(
        { maxDepth: 4 },
        fc.jsonValue(),
        fc.array(tie("node")),
        fc.dictionary(fc.constantFrom("$", "v", "t", "class", "errors", "bare", "name"), tie("node")),
        fc.record({
          $: fc.constantFrom(
            ...["undefined", "number", "bigint", "Date", "Map", "Set", "RegExp", "URL", "Error", "object", "sparse"],
            ...["Buffer", "ArrayBuffer", "Uint16Array", "BigInt64Array", "type"],
          ),
          v: tie("node"),
        }),
      ),
    })).node;
    fc.assert(
      fc.property(json, (value) => {
        try {
          plainCodec.decode(JSON.stringify(value));
        } catch (error) {
          expect(error).toBeInstanceOf(StoreCorruptError);
        }
      }),
      { numRuns: 500 },
    );
  });
});
