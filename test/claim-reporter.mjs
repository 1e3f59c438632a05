// What an instrumented block of the documentation calls: see claims.ts. Each report is one line on file descriptor 3,
// written at once, so that a block which ends its process early has still said what it reached.
import { writeSync } from "node:fs";
import { inspect, isDeepStrictEqual } from "node:util";

const report = (claim, problem) => writeSync(3, `${JSON.stringify({ claim, problem })}\n`);

/** Reports whether a value is the expected one, and passes it on. */
export function value(claim, actual, expected) {
  const wanted = expected();
  const equal = isDeepStrictEqual(actual, wanted);
  report(claim, equal ? undefined : `gives ${inspect(actual)}, not ${inspect(wanted)}.`);
  return actual;
}

export function throws(claim, act, text) {
  try {
    act();
  } catch (error) {
    return judge(claim, error, text);
  }
  report(claim, `does not throw "${text}".`);
}

export async function throwsLater(claim, act, text) {
  try {
    await act();
  } catch (error) {
    return judge(claim, error, text);
  }
  report(claim, `does not throw "${text}".`);
}

function judge(claim, error, text) {
  const said = error instanceof Error ? error.message : String(error);
  report(claim, said.includes(text) ? undefined : `throws ${JSON.stringify(said)}, which does not say "${text}".`);
}

/** The last line of the block was reached. */
export function end() {
  report("end");
}
