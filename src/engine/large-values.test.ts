import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { plainCodec } from "../core/codec.ts";
import { LargeValues } from "./large-values.ts";
import type { Blobs } from "../core/blobs.ts";

const NAME = "a".repeat(64);

/** A blob store that keeps the newest blob, whatever it is called. */
function oneBlob(faults: Partial<Blobs> = {}): Blobs & { kept: Uint8Array | undefined } {
  const blobs: Blobs & { kept: Uint8Array | undefined } = {
    kept: undefined,
    location: "a test",
    async put(bytes: Uint8Array) {
      blobs.kept = bytes;
      return NAME;
    },
    get: async () => blobs.kept,
    delete: async () => {},
    async *list() {},
    close: async () => {},
    ...faults,
  };
  return blobs;
}

const encoded = (value: unknown): string => plainCodec.encode(value, "the value");

describe("a value", () => {
  it("that is not too large passes as it is, and nobody has to await it (C6.6)", () => {
    const values = new LargeValues(oneBlob(), 10);
    for (const text of [encoded("12345678"), encoded("éé123"), encoded(["ab"]), encoded(undefined).slice(0, 10)]) {
      expect(values.keep(text, "the value")).toBe(text);
      expect(values.load(text)).toBe(text);
      expect(values.loadAll([text, text])).toEqual([text, text]);
    }
  });

  it("that is too large is a short reference in the journal, and comes back from the blob store (C6.6)", async () => {
    const blobs = oneBlob();
    const values = new LargeValues(blobs, 10);
    for (const value of ["123456789", "éé123456", "💥💥💥", { $: 1 }, new Map([[1, { deep: ["\ud800"] }]])]) {
      const text = encoded(value);
      const reference = await values.keep(text, "the value");
      expect(reference).toBe(`blob:${NAME}`);
      expect(new TextDecoder().decode(blobs.kept)).toBe(text);
      expect(await values.load(reference)).toBe(text);
      expect(await values.loadAll(["1", reference])).toEqual(["1", text]);
    }
  });

  it("of exactly 16 MB is the largest that a journal keeps, in bytes and not in characters (C6.6)", async () => {
    const values = new LargeValues(oneBlob());
    const most = 16 * 1024 * 1024;
    const ascii = `"${"x".repeat(most - 2)}"`;
    expect(values.keep(ascii, "the value")).toBe(ascii);
    expect(await values.keep(`${ascii} `, "the value")).toBe(`blob:${NAME}`);
    const wide = `"${"é".repeat(most / 2 - 1)}"`;
    expect(values.keep(wide, "the value")).toBe(wide);
    expect(await values.keep(`${wide} `, "the value")).toBe(`blob:${NAME}`);
  });

  it("that is too large for an engine without a blob store is refused, with what to do about it (C6.6)", () => {
    const values = new LargeValues(null);
    const keep = (): unknown => values.keep("x".repeat(18_000_000), 'the output of node "n"');
    expect(keep).toThrow(
      expect.objectContaining({ code: "UNSERIALIZABLE_VALUE", path: 'the output of node "n"' }) as Error,
    );
    expect(keep).toThrow(/^The output of node "n" cannot be stored: it takes 17\.17 MB, and at most 16\.00 MB/);
    expect(keep).toThrow(/createEngine\(\{ blobs: new FileBlobs\("\.holdfast\/blobs"\) \}\)/);
  });

  it("never looks like a reference, whatever it is (C6.6)", () => {
    const values = new LargeValues(null);
    const any = fc.oneof(fc.anything({ withBigInt: true, withDate: true, withMap: true }), fc.string(), fc.double());
    fc.assert(
      fc.property(any, (value) => {
        let text: string;
        try {
          text = encoded(value);
        } catch {
          return;
        }
        expect(values.load(text)).toBe(text);
      }),
    );
    for (const value of [`blob:${NAME}`, [`blob:${NAME}`], { [`blob:${NAME}`]: 1 }, NaN, false, null, -1, undefined])
      expect(values.load(encoded(value))).toBe(encoded(value));
  });

  it("that an older version would read as a value is refused by it (C6.7)", () => {
    expect(() => plainCodec.decode(`blob:${NAME}`)).toThrow(
      expect.objectContaining({ code: "STORE_CORRUPT" }) as Error,
    );
  });
});

describe("a blob store in trouble", () => {
  const large = encoded("123456789");

  it("is a store in trouble, whatever it throws, and says why (C6.10)", async () => {
    const cause = new Error("503 slow down");
    const faulty = new LargeValues(oneBlob({ put: () => Promise.reject(cause), get: () => Promise.reject(cause) }), 10);
    const putting = Promise.resolve(faulty.keep(large, "the output"));
    await expect(putting).rejects.toMatchObject({ code: "STORE_UNAVAILABLE", cause });
    await expect(putting).rejects.toThrow("Holdfast cannot put the output among the blobs at a test.");
    const getting = Promise.resolve(faulty.load(`blob:${NAME}`));
    await expect(getting).rejects.toMatchObject({ code: "STORE_UNAVAILABLE", cause });
    await expect(getting).rejects.toThrow(`Holdfast cannot read the blob ${NAME} at a test.`);
  });

  it("that throws an error of ours passes it on (C6.10)", async () => {
    const error = await Promise.resolve(new LargeValues(null).load(`blob:${NAME}`)).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect((error as Error).message).toContain("createEngine({ blobs })");
    const faulty = new LargeValues(oneBlob({ put: () => Promise.reject(error), get: () => Promise.reject(error) }), 10);
    await expect(Promise.resolve(faulty.keep(large, "x"))).rejects.toBe(error);
    await expect(Promise.resolve(faulty.load(`blob:${NAME}`))).rejects.toBe(error);
  });

  it("without the blob, or a reference that is damaged, is a damaged store (C6.7)", async () => {
    const values = new LargeValues(oneBlob(), 10);
    await expect(Promise.resolve(values.load(`blob:${NAME}`))).rejects.toMatchObject({ code: "STORE_CORRUPT" });
    await expect(Promise.resolve(values.load(`blob:${NAME}`))).rejects.toThrow(`there is no blob ${NAME} at a test`);
    for (const reference of ["blob:", "blob:../x", `blob:${NAME}0`])
      await expect(Promise.resolve(values.load(reference))).rejects.toMatchObject({ code: "STORE_CORRUPT" });
  });
});
