import { breakerChecks } from "./checks/breaker.mjs";
import { limitChecks } from "./checks/limits.mjs";
import { queueChecks } from "./checks/queue.mjs";
import { retryChecks } from "./checks/retry.mjs";

/**
 * A check is `{ name, title, needs, with?, run(make, adapter) }` and answers `{ ok, fact }`. `needs` names what an
 * adapter has to make for it; of several the first that the adapter has is taken. `with` names what calls of it must
 * take: a signal, or a cost.
 */
export const CHECKS = [...breakerChecks, ...retryChecks, ...queueChecks, ...limitChecks];
