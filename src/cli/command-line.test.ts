import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { commandLine } from "./command-line.ts";

test("plain words are left as they are", () => {
  expect(commandLine("run", "flows/triage.ts", "--run-id", "m-17")).toBe(
    "npx holdfast run flows/triage.ts --run-id m-17",
  );
});

test.each(["two words", "it's", "$HOME", "a;rm -rf x", "", "`id`", 'say "hi"', "*"])(
  "a shell takes %j as one word",
  (word) => {
    const line = commandLine(word).replace("npx holdfast", "printf %s");
    expect(execFileSync("sh", ["-c", line], { encoding: "utf8" })).toBe(word);
  },
);
