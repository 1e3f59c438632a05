import { describe, expect, test } from "vitest";
import { errorsIn, eventsIn, wrongCatalogue } from "./catalogue.ts";
import { read, sourcePaths } from "./repository.ts";

test("docs/events.md lists every event with its fields (C8.2)", () => {
  const events = eventsIn(read("src/core/events.ts"));
  expect(events.length).toBeGreaterThan(20);
  expect(wrongCatalogue(read("docs/events.md"), events)).toEqual([]);
});

test("docs/errors.md lists every error code with its class and fields (C0.5, C10.2)", () => {
  const errors = errorsIn(sourcePaths().map(read));
  expect(errors.length).toBeGreaterThan(15);
  expect(wrongCatalogue(read("docs/errors.md"), errors)).toEqual([]);
});

describe("the events test", () => {
  const EVENTS =
    'interface OfRun { runId: string }\ninterface OfNode extends OfRun { nodeId: string }\nexport interface EventTable {\n  "run.started": OfRun;\n  timeout: OfNode & { timeoutMs: number; why?: string };\n}';
  const ERRORS =
    'class AError extends HoldfastError { readonly path: string; constructor(path: string) { super("A_CODE", "text"); } }\nclass Other extends Thing { constructor() { super("NO_CODE"); } }\nthrow new HoldfastError("B_CODE", "text");';
  const PAGE =
    "| event | fields | when |\n|---|---|---|\n| `run.started` | `runId` | It starts, see `timeout`. |\n| `timeout` | `runId` `nodeId` `timeoutMs` `why` | Late. |\n";
  const ERROR_PAGE = "| `A_CODE` | `AError` | `path` | A. |\n| `B_CODE` | `HoldfastError` | | B. |\n";

  test("has nothing to say where page and code agree", () => {
    expect(wrongCatalogue(PAGE, eventsIn(EVENTS))).toEqual([]);
    expect(wrongCatalogue(ERROR_PAGE, errorsIn([ERRORS]))).toEqual([]);
  });

  test.each([
    ["an event without a page", PAGE, EVENTS.replace("timeout:", "late: OfRun;\n  timeout:"), "late is not listed"],
    [
      "a page without its event",
      PAGE,
      EVENTS.replace('"run.started": OfRun;', ""),
      "run.started is listed, but does not exist",
    ],
    [
      "a field that is new",
      PAGE,
      EVENTS.replace("runId: string", "runId: string; at: number"),
      'instead of "runId at"',
    ],
    ["a field that is renamed", PAGE, EVENTS.replace("why?", "reason?"), "timeoutMs reason"],
    ["an event that is listed twice", `${PAGE}| \`run.started\` | \`runId\` | Again. |\n`, EVENTS, "listed twice"],
    ["an event that is not explained", PAGE.replace("Late.", ""), EVENTS, "without a word"],
  ])("sees %s", (_, page, source, said) => {
    expect(wrongCatalogue(page, eventsIn(source)).join("\n")).toContain(said);
  });

  test.each([
    ["a code without a page", `${ERRORS}\nnew HoldfastError("C_CODE", "text");`, "C_CODE is not listed"],
    ["a code that is renamed", ERRORS.replace("A_CODE", "A_NAME"), "A_CODE is listed, but does not exist"],
    ["another class", ERRORS.replace("class AError", "class ZError"), 'instead of "ZError"'],
    ["another field", ERRORS.replace("readonly path", "readonly where"), 'instead of "where"'],
  ])("sees %s", (_, source, said) => {
    expect(wrongCatalogue(ERROR_PAGE, errorsIn([source])).join("\n")).toContain(said);
  });
});
