import { expect, it } from "vitest";
import { CircuitBreakerFactory } from "../policies/breaker-factory.ts";
import { type FakeRuntime, fakeRuntime } from "../testing/fake-clock.ts";
import { DefinitionBuilder } from "../workflow/builder.ts";
import type { NodePolicies } from "../workflow/definition.ts";
import { planWorkflow } from "../workflow/plan.ts";
import { nodeGuards } from "./node-policies.ts";

function guardsOf(policies: NodePolicies, runtime: FakeRuntime = fakeRuntime()) {
  const builder = new DefinitionBuilder({ id: "w" });
  builder.addNode("n", () => 1);
  builder.configure("n", policies);
  return nodeGuards(planWorkflow(builder.definition), runtime).get("n")!;
}

it("a node without policies is called without any (C5.1)", () => {
  expect(guardsOf({})).toEqual({ policy: null, breaker: null });
});

it("policies stand around one another in the standard order, each named after workflow and node (C3.10, C10.10)", () => {
  const { policy, breaker } = guardsOf({
    ...{ timeout: { attemptTimeoutMs: 10, totalTimeoutMs: 100 }, circuitBreaker: {}, retry: {} },
  });
  const children = policy!.describe().children!;
  expect(children.map(({ kind }) => kind)).toEqual(["timeout", "retry", "circuitBreaker", "timeout"]);
  expect(children.map(({ name }) => name)).toEqual(["w/n", "w/n", "w/n", "w/n"]);
  expect(children[0]!.options).toMatchObject({ totalTimeoutMs: 100 });
  expect(children[3]!.options).toMatchObject({ attemptTimeoutMs: 10 });
  expect(breaker?.name).toBe("w/n");
});

it("the breaker of a node is known by its name, and is nobody's but its workflow's (C10.10, C2.7)", () => {
  const runtime = fakeRuntime();
  const first = guardsOf({ circuitBreaker: {} }, runtime).breaker!;
  expect(CircuitBreakerFactory.get("w/n", runtime)).toBe(first);
  // Another workflow of the same id, as a test would have it.
  const second = guardsOf({ circuitBreaker: { failureThreshold: 1 } }, runtime).breaker!;
  expect(second).not.toBe(first);
  expect(CircuitBreakerFactory.get("w/n", runtime)).toBe(second);
  expect(() => CircuitBreakerFactory.create({ name: "w/n", failureThreshold: 2 }, runtime)).toThrow("failureThreshold");
});

it("a timeout of one kind makes one policy (C3.1)", () => {
  for (const timeout of [{ totalTimeoutMs: 5 }, { attemptTimeoutMs: 5 }]) {
    const { children } = guardsOf({ timeout }).policy!.describe();
    expect(children).toEqual([expect.objectContaining({ kind: "timeout", options: expect.objectContaining(timeout) })]);
  }
});

it("options that a policy does not take are a ConfigError that names the node (C0.3)", () => {
  expect(() => guardsOf({ retry: { maxAttempts: 0 } })).toThrow(
    /^Node "n" of workflow "w": retry\.maxAttempts must be a whole number of at least 1.*, got 0/,
  );
  expect(() => guardsOf({ timeout: {} })).toThrow(/^Node "n" of workflow "w": timeout/);
});
