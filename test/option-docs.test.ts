import { describe, expect, test } from "vitest";
import { documentedDefaults, type Probe, wrongDefaults } from "./option-docs.ts";

describe("the defaults test", () => {
  const SOURCE =
    "interface Options {\n  /** How often. @default 3 */\n  often?: number | undefined;\n  /** Why.\n   * @default what\n   * one likes */\n  why?: string;\n  /** None. */ none?: 1;\n}";
  const PROBED: Record<string, Probe> = {
    "Options.often": { other: 4, observe: (value = 3) => value },
    "Options.why": { words: "what one likes", holds: () => true },
  };
  const judge = (source: string, probes: Record<string, Probe> = {}): Promise<string[]> =>
    wrongDefaults(documentedDefaults([source]), { ...PROBED, ...probes });

  test("has nothing to say where documentation and code agree", async () => {
    expect(await judge(SOURCE)).toEqual([]);
  });

  test.each([
    [
      "a number that changed in the documentation",
      SOURCE.replace("@default 3", "@default 4"),
      {},
      "left out it gives 3, given it gives 4",
    ],
    [
      "a number that changed in the code",
      SOURCE,
      { "Options.often": { other: 5, observe: (value: unknown = 4) => value } },
      "left out it gives 4",
    ],
    ["a value that is none", SOURCE.replace("@default 3", "@default three"), {}, "is no value"],
    ["words that changed", SOURCE.replace("one likes", "he likes"), {}, "the probe expects what one likes"],
    [
      "words that are not true",
      SOURCE,
      { "Options.why": { words: "what one likes", holds: () => false } },
      "which is not so",
    ],
    [
      "a default without a probe",
      SOURCE.replace("None.", "None. @default 1"),
      {},
      "Options.none has @default 1, but no probe",
    ],
    ["a default that is gone", SOURCE.replace("@default 3", ""), {}, "Options.often has a probe, but no @default"],
    ["a probe that shows nothing", SOURCE, { "Options.often": { other: 4, observe: () => 1 } }, "sees no difference"],
  ] as [string, string, Record<string, Probe>, string][])("sees %s", async (_, source, probes, said) => {
    expect((await judge(source, probes)).join("\n")).toContain(said);
  });
});
