import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { docs } from "./docs.ts";
import { pathsBelow, read, ROOT, sourcePaths } from "./repository.ts";

/** Every page, and how many examples of TypeScript it has at least. A page that is not here fails the test. */
const PAGES: Record<string, number> = {
  "ARCHITECTURE.md": 0,
  "CONTRIBUTING.md": 1,
  "CHANGELOG.md": 0,
  "README.md": 3,
  "docs/behaviour.md": 0,
  "docs/cli.md": 1,
  "docs/dead-letters.md": 5,
  "docs/engine.md": 7,
  "docs/errors.md": 2,
  "docs/events.md": 2,
  "docs/nodes.md": 5,
  "docs/peers.md": 0,
  "docs/schedules.md": 3,
  "docs/workflows.md": 15,
  "docs/policies/adaptive-concurrency.md": 9,
  "docs/policies/budget.md": 10,
  "docs/policies/retry-budget.md": 3,
  "docs/policies/bulkhead.md": 7,
  "docs/policies/resource-lock.md": 9,
  "docs/policies/chaos.md": 5,
  "docs/policies/circuit-breaker.md": 9,
  "docs/policies/fallback.md": 7,
  "docs/policies/hedge.md": 6,
  "docs/policies/rate-limiter.md": 9,
  "docs/policies/pipeline.md": 6,
  "docs/policies/retry.md": 6,
  "docs/policies/timeout.md": 6,
  "examples/mail-triage/README.md": 0,
  "examples/mail-triage/data/README.md": 0,
};

/** How many examples the comments in src/ have at least. */
const EXAMPLES_IN_SOURCE = 12;

test("every page of the documentation is in the list of those that are checked", () => {
  const pages = [...pathsBelow("docs", /\.md$/), ...pathsBelow("examples", /\.md$/), ...pathsAtRoot()];
  expect(pages.sort()).toEqual(Object.keys(PAGES).sort());
});

test(
  "every example of the documentation compiles as printed, runs, and gives what it says",
  { timeout: 120_000 },
  async () => {
    const pages = Object.entries(PAGES).map(([path, least]) => ({ path, text: read(path), least }));
    const sources = sourcePaths().map((path) => ({ path, text: read(path), least: 0 }));
    const examples = sources.reduce((sum, { text }) => sum + text.split("@example").length - 1, 0);
    expect(examples).toBeGreaterThanOrEqual(EXAMPLES_IN_SOURCE);
    expect(await docs([...pages, ...sources])).toEqual([]);
  },
);

function pathsAtRoot(): string[] {
  return readdirSync(ROOT).filter((path) => path.endsWith(".md"));
}
