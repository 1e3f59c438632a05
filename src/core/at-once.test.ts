import { describe, expect, test } from "vitest";
import { promiseMistake } from "./at-once.ts";
import { ConfigError } from "./errors.ts";

describe("a promise where nothing can wait for it (C3.10)", () => {
  test.each([Promise.resolve(1), { then: () => {} }])(
    "is a mistake that names who gave it and what to use",
    (promise) => {
      const mistake = promiseMistake(promise, "The operation");
      expect(mistake).toBeInstanceOf(ConfigError);
      expect(mistake!.message).toMatch(/^The operation gave a promise, .*executeSync.* Use execute\.$/);
    },
  );

  test.each([null, undefined, 0, "then", { then: 5 }, () => {}])("%s is none", (value) => {
    expect(promiseMistake(value, "The operation")).toBeNull();
  });

  test("what it brings later is no unhandled rejection", async () => {
    const unhandled: unknown[] = [];
    const onUnhandled = (reason: unknown): void => void unhandled.push(reason);
    process.on("unhandledRejection", onUnhandled);
    promiseMistake(Promise.reject(new Error("later")), "The operation");
    await new Promise((resolve) => setImmediate(resolve));
    process.off("unhandledRejection", onUnhandled);
    expect(unhandled).toEqual([]);
  });
});
