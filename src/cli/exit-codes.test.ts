import { expect, test } from "vitest";
import * as errors from "../core/errors.ts";
import { exitCodeOf } from "./exit-codes.ts";

test.each([
  [new errors.NotFoundError("no run"), 3],
  [new errors.StoreUnavailableError("locked"), 4],
  [new errors.StoreCorruptError("no SQLite"), 4],
  [new errors.ConfigError("wrong"), 2],
  [new errors.WorkflowDefinitionError("w", ["wrong"]), 2],
  [new errors.VersionMismatchError("changed"), 2],
  [new errors.RunInUseError("r", "held"), 2],
  [new errors.LeaseLostError("r", 1), 2],
  [new TypeError("a mistake of ours"), 2],
  ["no error at all", 2],
])("%o: %i", (error, code) => {
  expect(exitCodeOf(error)).toBe(code);
});

test("goes by the code, since a workflow may bring its own copy of the package", () => {
  expect(exitCodeOf(Object.assign(new Error("elsewhere"), { code: "STORE_UNAVAILABLE" }))).toBe(4);
});
