import fc from "fast-check";
import { expect, test } from "vitest";
import { utf8Bytes } from "./bytes.ts";
import { firstLink, link } from "./record.ts";

/** The checksums of a journal, each over the one before it. */
function chain(runId: string, bodies: readonly Uint8Array[]): number[] {
  const links: number[] = [];
  for (const [i, body] of bodies.entries()) links.push(link(links.at(-1) ?? firstLink(runId), i + 1, body));
  return links;
}

const bodies = fc.array(fc.uint8Array({ minLength: 1, maxLength: 20 }), { minLength: 2, maxLength: 6 });

test("a record does not fit another run (C6.7)", () => {
  const body = utf8Bytes("completed");
  expect(link(firstLink("a"), 1, body)).not.toBe(link(firstLink("b"), 1, body));
});

test("a record does not fit another place, nor another record before it (C6.7)", () => {
  const body = utf8Bytes("completed");
  const first = firstLink("run");
  expect(link(first, 1, body)).not.toBe(link(first, 2, body));
  expect(link(first, 1, body)).not.toBe(link(first + 1, 1, body));
});

test("records that were swapped or left out break the chain (C6.7)", () => {
  fc.assert(
    fc.property(bodies, fc.nat(), (all, at) => {
      const i = at % (all.length - 1);
      const swapped = all.with(i, all[i + 1]!).with(i + 1, all[i]!);
      fc.pre(all[i]!.join() !== all[i + 1]!.join());
      expect(chain("run", swapped)[i]).not.toBe(chain("run", all)[i]);
      const checksums = chain("run", all);
      // Left out: the next one is read in its place.
      expect(link(checksums[i - 1] ?? firstLink("run"), i + 1, all[i + 1]!)).not.toBe(checksums[i + 1]);
    }),
  );
});

test("moving the border between two records changes their checksums (C6.7)", () => {
  const [a, b] = [chain("run", [utf8Bytes("ab"), utf8Bytes("c")]), chain("run", [utf8Bytes("a"), utf8Bytes("bc")])];
  expect(a[1]).not.toBe(b[1]);
});
