import { Duration, Effect, Layer, ManagedRuntime, Schedule, Semaphore } from "effect";
import { CircuitBreaker, RateLimiter } from "effect/persistence";
import { lacks } from "../lacks.mjs";

const lifted = (operation) => Effect.tryPromise({ try: (signal) => operation({ signal }), catch: (error) => error });

/** Runs the operation as an effect within what `around` makes of it; the caller's signal interrupts it. */
const runner =
  (around) =>
  (operation, { signal } = {}) =>
    Effect.runPromise(around(lifted(operation)), { signal });

export function breaker({ failures = 3, openMs, timeoutMs, countsAsFailure }) {
  const layer = CircuitBreaker.layer({ tripPolicy: CircuitBreaker.consecutive(failures), openDuration: openMs }).pipe(
    Layer.provide(CircuitBreaker.layerStoreMemory()),
  );
  const service = ManagedRuntime.make(layer).runSync(CircuitBreaker.CircuitBreaker);
  const classify =
    countsAsFailure &&
    ((exit) =>
      exit._tag === "Success" || !countsAsFailure(exit.cause) ? CircuitBreaker.success : CircuitBreaker.failure());
  return runner((effect) =>
    service.execute(timeoutMs ? Effect.timeout(effect, timeoutMs) : effect, { key: "k", classify }),
  );
}

export const retryAfterMs = (error) => error.reason?.retryAfter && Duration.toMillis(error.reason.retryAfter);

const series = ({ retries, waitMs, asShipped = false }) => ({
  times: retries,
  schedule: asShipped ? Schedule.exponential(waitMs) : Schedule.spaced(waitMs),
});

export const retry = (options) => runner((effect) => Effect.retry(effect, series(options)));

export const retryWithin = ({ totalMs, ...options }) =>
  runner((effect) => Effect.timeout(Effect.retry(effect, series(options)), totalMs));

export function queue({ concurrency }) {
  const permits = Semaphore.makeUnsafe(concurrency);
  return runner((effect) => permits.withPermits(1)(effect));
}

export const timeout = ({ ms }) => runner((effect) => Effect.timeout(effect, ms));

export function slots({ concurrency, timeoutMs, timeoutInside }) {
  const permits = Semaphore.makeUnsafe(concurrency).withPermits(1);
  return runner((effect) =>
    timeoutInside ? permits(Effect.timeout(effect, timeoutMs)) : Effect.timeout(permits(effect), timeoutMs),
  );
}

export function limiter({ limit, intervalMs: window }) {
  const layer = RateLimiter.layer.pipe(Layer.provide(RateLimiter.layerStoreMemory));
  const service = ManagedRuntime.make(layer).runSync(RateLimiter.RateLimiter);
  return (operation, { cost: tokens = 1 } = {}) =>
    runner((effect) => Effect.andThen(RateLimiter.sleep(service, { key: "k", limit, window, tokens }), effect))(
      operation,
    );
}

export const fallback = ({ backup }) =>
  runner((effect) => effect.pipe(Effect.catch(() => Effect.tryPromise({ try: backup, catch: (error) => error }))));

export const eitherKind = () => lacks("has constructors of their own for synchronous functions");
