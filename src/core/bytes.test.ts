import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { crc32c, fromBase64, isBuffer, toBase64, toBuffer, utf8Bytes, utf8Text } from "./bytes.ts";

const bytes = fc.uint8Array({ maxLength: 200 });

describe("CRC-32C", () => {
  test("gives the published check values", () => {
    expect(crc32c(utf8Bytes("123456789"))).toBe(0xe3069283);
    // RFC 3720, appendix B.4.
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e);
    expect(crc32c(new Uint8Array(0))).toBe(0);
  });

  test("continued from the checksum of a first part, it is that of the whole", () => {
    fc.assert(
      fc.property(bytes, bytes, (a, b) => {
        expect(crc32c(b, crc32c(a))).toBe(crc32c(Uint8Array.from([...a, ...b])));
      }),
    );
  });

  test("sees every flipped bit", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 100 }), fc.nat(), (original, at) => {
        const flipped = original.slice();
        const bit = at % (original.length * 8);
        flipped[bit >> 3]! ^= 1 << (bit & 7);
        expect(crc32c(flipped)).not.toBe(crc32c(original));
      }),
    );
  });
});

/** What `fn` gives where the runtime has no `Buffer`, as in a browser. */
function withoutBuffer<T>(fn: () => T): T {
  vi.stubGlobal("Buffer", undefined);
  try {
    return fn();
  } finally {
    vi.unstubAllGlobals();
  }
}

describe("base64 and UTF-8", () => {
  test("bytes come back from base64 as they were, in a buffer of their own", () => {
    fc.assert(
      fc.property(bytes, (original) => {
        const back = fromBase64(toBase64(original));
        expect(back).toEqual(original);
        expect(back.buffer.byteLength).toBe(original.length);
      }),
    );
  });

  test("a part of a larger buffer is written without its surroundings", () => {
    expect(toBase64(new Uint8Array([9, 1, 2, 3, 9]).subarray(1, 4))).toBe("AQID");
    expect(withoutBuffer(() => toBase64(new Uint8Array([9, 1, 2, 3, 9]).subarray(1, 4)))).toBe("AQID");
    expect(toBuffer(new Uint8Array([9, 1, 9]).subarray(1, 2))).toEqual(Buffer.from([1]));
  });

  test("with and without a Buffer, the texts and bytes are the same", () => {
    fc.assert(
      fc.property(bytes, fc.string({ unit: "grapheme" }), (original, text) => {
        const [base64, utf8] = [toBase64(original), [...utf8Bytes(text)]];
        const plain = withoutBuffer(() => [toBase64(original), [...fromBase64(base64)], [...utf8Bytes(text)]]);
        expect(plain).toEqual([base64, [...original], utf8]);
      }),
    );
    const lone = [...utf8Bytes("\ud800 alone")];
    expect([...withoutBuffer(() => utf8Bytes("\ud800 alone"))]).toEqual(lone);
    const original = Uint8Array.of(1);
    expect(withoutBuffer(() => toBuffer(original))).toBe(original);
    expect(withoutBuffer(() => isBuffer(original))).toBe(false);
  });

  test("only a Buffer is a Buffer", () => {
    expect(isBuffer(Buffer.from([1]))).toBe(true);
    expect(isBuffer(new Uint8Array(1))).toBe(false);
    expect(isBuffer("text")).toBe(false);
  });

  test("text comes back from its bytes, a byte order mark included, and bytes that are no text are refused", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        expect(utf8Text(utf8Bytes(text))).toBe(text);
      }),
    );
    expect(utf8Text(utf8Bytes("\ufeffmark"))).toBe("\ufeffmark");
    expect(() => utf8Text(Uint8Array.of(0xc3, 0x28))).toThrow(TypeError);
  });
});
