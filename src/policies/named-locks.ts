import { type Runtime, systemRuntime } from "../core/runtime.ts";
import { mustBeSame, type Registry, registryOf } from "./registry.ts";
import { ResourceLock, type ResourceLockOptions } from "./resource-lock.ts";

const registries = new WeakMap<Runtime, Registry<ResourceLock>>();

/** What each named lock was built with. */
const builtWith = new WeakMap<ResourceLock, object>();

/**
 * The lock of that name, the same for everybody in this process who asks for it; it is made where there is none. With
 * no options it is the one that is there; with other options than it has, a `ConfigError` says which one differs.
 *
 * A lock that nobody has asked for within an hour is let go, and earlier where there are more than 10 000 names; but
 * never one that is held, or that somebody has a reference to.
 *
 * @example
 * ```ts
 * import { getResourceLock } from "holdfast/policies";
 *
 * using permit = await getResourceLock("ledger").acquire("import");
 * console.log(permit.holderId); // => "import"
 * console.log(getResourceLock("ledger").getStats().currentHolders); // => ["import"]
 * ```
 */
export function getResourceLock(
  name: string,
  options: Omit<ResourceLockOptions, "name"> = {},
  runtime: Runtime = systemRuntime,
): ResourceLock {
  // Who holds a permit need not hold the lock itself.
  const registry = registryOf(registries, runtime, (lock) => lock.getStats().currentHolders.length > 0);
  const known = registry.get(name);
  const byNameOnly = Object.values(options).every((value) => value === undefined);
  if (known !== undefined && byNameOnly) return known;
  const lock = new ResourceLock({ ...options, name }, runtime);
  const given = { lease: options.lease, ...lock.describe().options };
  if (known !== undefined) {
    mustBeSame(`Lock "${name}"`, builtWith.get(known)!, given);
    return known;
  }
  registry.set(name, lock);
  builtWith.set(lock, given);
  return lock;
}
