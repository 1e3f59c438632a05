import type { Runtime } from "../core/runtime.ts";
import type { CircuitBreakerOptions } from "./breaker-options.ts";
import type { Circuit } from "./circuit.ts";
import { mustBeSame, type Registry, registryOf } from "./registry.ts";

/** What the registry needs to know of a breaker. */
interface Named {
  readonly name: string;
  readonly circuit: Circuit;
}

const registries = new WeakMap<Runtime, Registry<Named>>();

/** The breakers that are known by name. */
export function namedBreakers(runtime: Runtime): Registry<Named> {
  return registryOf(registries, runtime, ({ circuit }) => circuit.worthKeeping);
}

/** The breaker that is registered under the name of a new one, built with `options`: that one where there is none. */
export function oneOfItsName<B extends Named>(breaker: B, options: CircuitBreakerOptions, runtime: Runtime): B {
  const named = namedBreakers(runtime);
  const known = named.get(breaker.name);
  if (known === undefined) {
    named.set(breaker.name, breaker);
    return breaker;
  }
  const { name, shared: _, ...asked } = options;
  const byNameOnly = Object.values(asked).every((value) => value === undefined);
  if (!byNameOnly) mustBeSame(`Circuit breaker "${name}"`, optionsOf(known), optionsOf(breaker));
  return known as B;
}

/** The options in effect. What is compiled of them is another function each time. */
function optionsOf({ circuit }: Named): object {
  const { errorFails: _, valueFails: __, ...options } = circuit.settings;
  return options;
}
