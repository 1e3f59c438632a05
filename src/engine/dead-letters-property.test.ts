import fc from "fast-check";
import { expect, test } from "vitest";
import { LetterWorld, outcomes } from "../../test/letter-world.ts";
import { codeOf } from "../core/errors.ts";
import type { DeadLetter } from "../core/store.ts";

const MAX_RETRIES = 2;

/** An entry as a list of them would keep it. */
interface Entry {
  name: string;
  status: DeadLetter["status"];
  retryCount: number;
  discarded: boolean;
}

type Step =
  | { kind: "fail" }
  | { kind: "break" | "mend"; which: number }
  | { kind: "redrive"; which: number; force: boolean }
  | { kind: "discard"; which: number }
  | { kind: "redriveAll"; force: boolean }
  | { kind: "discardAll" }
  | { kind: "wait"; minutes: number }
  | { kind: "redriveDue" }
  | { kind: "prune" };

const which = fc.nat({ max: 7 });
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant("fail" as const) }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom("break" as const, "mend" as const), which }) },
    { weight: 5, arbitrary: fc.record({ kind: fc.constant("redrive" as const), which, force: fc.boolean() }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("discard" as const), which }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("redriveAll" as const), force: fc.boolean() }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("discardAll" as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("prune" as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("wait" as const), minutes: fc.nat({ max: 5 }) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("redriveDue" as const) }) },
  ),
  { maxLength: 40 },
);

const isOpen = ({ status, discarded }: Entry): boolean => status !== "succeeded" && !discarded;

/** What is expected of a redrive: the code of the refusal, or the entry as it is afterwards. */
function redriven(entry: Entry, force: boolean, broken: ReadonlySet<string>): string | undefined {
  if (entry.discarded) return "DEAD_LETTER_DISCARDED";
  if (entry.status === "succeeded") return "DEAD_LETTER_SETTLED";
  if (entry.status === "permanent_failure" && !force) return "DEAD_LETTER_QUARANTINED";
  entry.retryCount++;
  if (!broken.has(entry.name)) entry.status = "succeeded";
  else entry.status = entry.retryCount >= MAX_RETRIES ? "permanent_failure" : "pending";
  return undefined;
}

test("whatever is done to them, entries stand as in a list that loses none (C7.2, C7.3)", async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (plan) => {
      const world = new LetterWorld();
      const engine = world.engine({ maxRetries: MAX_RETRIES });
      const { deadLetters } = engine;
      const ids = new Map<string, string>();
      const dueAt = new Map<string, number>();
      let model: Entry[] = [];
      const noteDue = async (): Promise<void> => {
        for (const { runId, nextRetryAt } of await deadLetters.list({ limit: Infinity }))
          dueAt.set(runId, nextRetryAt ?? Infinity);
      };
      for (const step of plan) {
        const entry = "which" in step ? model[step.which] : undefined;
        if ("which" in step && entry === undefined) continue;
        switch (step.kind) {
          case "fail": {
            const name = `n${ids.size}`;
            const [id] = await world.fail(engine, name);
            ids.set(name, id!);
            model.push({ name, status: "pending", retryCount: 0, discarded: false });
            break;
          }
          case "break":
            world.broken.add(entry!.name);
            break;
          case "mend":
            world.broken.delete(entry!.name);
            break;
          case "redrive": {
            const code = await deadLetters.redrive(ids.get(entry!.name)!, { force: step.force }).then(
              () => undefined,
              (error: unknown) => codeOf(error),
            );
            expect(code).toBe(redriven(entry!, step.force, world.broken));
            break;
          }
          case "discard": {
            const isSettled = entry!.status === "succeeded";
            const code = await deadLetters.discard(ids.get(entry!.name)!, "why").then(
              () => undefined,
              (error: unknown) => codeOf(error),
            );
            expect(code).toBe(isSettled ? "DEAD_LETTER_SETTLED" : undefined);
            if (!isSettled) Object.assign(entry!, { status: "permanent_failure", discarded: true });
            break;
          }
          case "redriveAll": {
            const expected = model.filter(isOpen).map((open) => {
              const code = redriven(open, step.force, world.broken);
              const outcome = open.status === "succeeded" ? "succeeded" : "failed";
              return `${open.name} ${code === undefined ? outcome : `skipped ${code}`}`;
            });
            expect(outcomes(await deadLetters.redriveAll({}, { force: step.force }))).toEqual(expected);
            break;
          }
          case "redriveDue": {
            const now = world.runtime.clock.wallNow();
            const due = model.filter(({ name, status }) => status === "pending" && dueAt.get(name)! <= now);
            for (const open of due) redriven(open, false, world.broken);
            const report = await deadLetters.redriveDue();
            expect(report.entries.map(({ runId }) => runId)).toEqual(due.map(({ name }) => name));
            break;
          }
          case "discardAll": {
            const open = model.filter(isOpen);
            expect((await deadLetters.discardAll({}, "all")).discarded).toBe(open.length);
            for (const each of open) Object.assign(each, { status: "permanent_failure", discarded: true });
            break;
          }
          case "wait":
            await world.runtime.clock.advance(step.minutes * 60_000);
            break;
          case "prune":
            expect(await deadLetters.prune({ enteredBefore: Infinity })).toBe(model.filter((it) => !isOpen(it)).length);
            model = model.filter(isOpen);
            break;
        }
        await noteDue();
        const stored = (await deadLetters.list({ limit: Infinity })).toReversed();
        expect(
          stored.map(({ runId, status, retryCount, discarded }) => ({
            ...{ name: runId, status, retryCount, discarded: discarded !== undefined },
          })),
        ).toEqual(model);
      }
      await world.close();
    }),
    { numRuns: 150 },
  );
});

test("an entry that poisons two hundred redrives stays one entry, counted and quarantined (C7.2)", async () => {
  const world = new LetterWorld();
  const engine = world.engine();
  const [id] = await world.fail(engine, "poison");
  for (let n = 0; n < 200; n++) await engine.deadLetters.redrive(id!, { force: true });
  expect(await engine.deadLetters.get(id!)).toMatchObject({
    status: "permanent_failure",
    retryCount: 200,
    attempts: 201,
  });
  expect((await engine.deadLetters.list()).length).toBe(1);
  await world.close();
});
