import fc from "fast-check";
import { expect, it } from "vitest";
import { idempotencyKey } from "./invocation-context.ts";

it("two node visits have the same key only if they are the same visit (C6.1)", () => {
  const text = fc.oneof(fc.string({ minLength: 1, unit: "binary" }), fc.stringMatching(/^[",\\[\]0-9]{1,4}$/));
  const visit = fc.record({ runId: text, node: text, iteration: fc.nat(20) });
  const key = ({ runId, ...id }: { runId: string; node: string; iteration: number }): string =>
    idempotencyKey(runId, id);
  fc.assert(
    fc.property(visit, visit, (one, two) => {
      const same = one.runId === two.runId && one.node === two.node && one.iteration === two.iteration;
      expect(key(one) === key(two)).toBe(same);
      expect(key(one)).toBe(key({ ...one }));
      expect(key(one)).toMatch(/^[0-9a-f]{64}$/);
    }),
    { numRuns: 2000, seed: 20261124 },
  );
});

it("who stands in does not change the key (C6.1)", () => {
  const id = { node: "n", iteration: 0 };
  expect(idempotencyKey("r", { ...id, backup: "spare" })).toBe(idempotencyKey("r", id));
});
