import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

interface Report {
  testResults: { assertionResults: { title: string; status: string; failureMessages: string[] }[] }[];
}

test("a test after which a policy has left something behind fails, and says what and where (C0.4, C1.6, C3.1)", () => {
  const vitest = fileURLToPath(new URL("../node_modules/vitest/vitest.mjs", import.meta.url));
  const args = [vitest, "run", "--config", "test/leaky/vitest.config.mjs", "--reporter", "json"];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  expect({ status, stderr }).toMatchObject({ status: 1 });
  const { testResults } = JSON.parse(stdout) as Report;
  const said = testResults.flatMap(({ assertionResults }) =>
    assertionResults.map(({ title, failureMessages }) => [
      title,
      failureMessages.flatMap((message) => message.match(/(?<=^ {2}- ).*?(?=:\d+:\d+|$)/gm) ?? []),
    ]),
  );
  const timer = "a timer that is still running, made at LeakyPolicy.#leave (test/leaky/leaky-policy.ts";
  expect(Object.fromEntries(said)).toEqual({
    timer: [timer],
    listener: ["a listener on a signal, made at LeakyPolicy.#leave (test/leaky/leaky-policy.ts"],
    deadline: [
      "a timer that is still running, made at DeadlineTicker.#arm (src/core/deadlines.ts",
      "a deadline that is still pending",
    ],
    "place in a queue": [
      "a listener on a signal, made at Slots.#queue (src/core/slots.ts",
      "1 in the queue for a slot",
    ],
    rejection: ["a rejection that nobody observed: Error: late"],
    nothing: [],
    "timer of the machine": [timer],
    "things of the test's own": [],
  });
});
