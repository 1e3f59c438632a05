import type { Call, CallOptions } from "../../src/core/call.ts";
import { callFrom } from "../../src/core/call.ts";
import { deadlineQueue } from "../../src/core/deadlines.ts";
import { type Invoke, type Operation, PolicyBase, type PolicyDescription } from "../../src/core/policy.ts";
import type { Runtime } from "../../src/core/runtime.ts";
import { Slots } from "../../src/core/slots.ts";

export type Leak = "timer" | "listener" | "deadline" | "place in a queue" | "rejection" | "object";

/** A policy that leaves something behind with each call: what the oracle, and the soak, must see. */
export class LeakyPolicy extends PolicyBase {
  readonly kind = "leaky";
  readonly name = "leaky";
  readonly #leak: Leak | "nothing";
  readonly #runtime: Runtime;
  readonly #kept: unknown[] = [];

  constructor(leak: Leak | "nothing", runtime: Runtime) {
    super();
    this.#leak = leak;
    this.#runtime = runtime;
  }

  execute<T>(operation: Operation<T>, options?: CallOptions | Call): Promise<T> {
    const call = callFrom(this.#runtime.clock, options);
    return this.around((inner, of) => inner(of))(operation, call) as Promise<T>;
  }

  around(next: Invoke): Invoke {
    return async (operation, call) => {
      this.#leave(call);
      return next(operation, call);
    };
  }

  describe(): PolicyDescription {
    return { kind: this.kind, name: this.name, options: {} };
  }

  #leave(call: Call): void {
    const { clock } = this.#runtime;
    switch (this.#leak) {
      case "nothing":
        return;
      case "timer":
        clock.timer(60_000, () => {});
        return;
      case "listener":
        call.signal.addEventListener("abort", () => {});
        return;
      case "deadline":
        deadlineQueue(clock, 60_000).add(
          { expiresAt: 0, previous: null, following: null, expire: () => {} },
          clock.now(),
        );
        return;
      case "place in a queue":
        void new Slots(0, clock).wait(call, Infinity);
        return;
      case "rejection":
        void Promise.reject(new Error("late"));
        return;
      case "object":
        this.#kept.push({ call });
    }
  }
}
