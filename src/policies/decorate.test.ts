import { beforeAll, describe, expect, test } from "vitest";
import { runPrograms } from "../../test/programs.ts";
import { CircuitBreakerOpenError, ConfigError, TimeoutError } from "../core/errors.ts";
import { circuitBreaker, fallback, hedge, retryWithBackoff, timeout } from "./decorate.ts";

const fail = (): Promise<never> => Promise.reject(new Error("down"));

describe("as wrappers of functions", () => {
  test("retryWithBackoff takes the options of RetryPolicy (C1.8)", async () => {
    let calls = 0;
    const load = retryWithBackoff({ maxAttempts: 2, strategy: "immediate" })(async function load(id: string) {
      if (++calls < 2) throw new Error("busy");
      return `customer ${id}`;
    });
    expect(load.name).toBe("load");
    expect(await load("17")).toBe("customer 17");
    expect(() => retryWithBackoff({ maxAttempts: 0 })).toThrow(ConfigError);
  });

  test("circuitBreaker takes the options of CircuitBreaker (C1.8)", async () => {
    const load = circuitBreaker({ name: "crm", failureThreshold: 1 })(fail);
    await expect(load()).rejects.toThrow("down");
    await expect(load()).rejects.toThrow(CircuitBreakerOpenError);
    const cached = circuitBreaker({ failureThreshold: 1, fallback: "stale" })(fail);
    await expect(cached()).rejects.toThrow("down");
    expect(await cached()).toBe("stale");
  });

  test("timeout takes the options of Timeout (C1.8)", async () => {
    await expect(timeout({ attemptTimeoutMs: 5 })(() => new Promise(() => {}))()).rejects.toThrow(TimeoutError);
  });

  test("fallback takes the options of Fallback (C1.8)", async () => {
    expect(await fallback({ fallback: [null] })(fail)()).toBeNull();
  });

  test("hedge takes the options of Hedge (C1.8)", async () => {
    let calls = 0;
    const load = hedge({ delayMs: 1 })(async function load(id: string) {
      return ++calls === 1 ? new Promise<never>(() => {}) : `customer ${id}`;
    });
    expect(load.name).toBe("load");
    expect(await load("17")).toBe("customer 17");
    expect(() => hedge({ delayMs: 1, maxHedges: 0 })).toThrow(ConfigError);
  });
});

// The test runner leaves decorators in the code, which Node cannot read; the compiler turns them into plain JavaScript.
describe("as decorators of methods", () => {
  let printed: string[];
  beforeAll(async () => {
    const { decorated } = await runPrograms({
      decorated: `
        import { circuitBreaker, fallback, retryWithBackoff, timeout } from "SRC/policies/index.ts";

        class Customers {
          calls = 0;
          readonly prefix: string;

          constructor(prefix: string) {
            this.prefix = prefix;
          }

          @retryWithBackoff({ maxAttempts: 3, strategy: "immediate" })
          async find(id: number): Promise<string> {
            if (++this.calls < 3) throw new Error("busy");
            return this.prefix + id;
          }

          @fallback({ fallback: "nobody" })
          @timeout({ attemptTimeoutMs: 5 })
          async hang(): Promise<string> {
            return new Promise(() => {});
          }

          @circuitBreaker({ name: "shared", failureThreshold: 1 })
          async down(): Promise<string> {
            throw new Error("down");
          }

          @retryWithBackoff()
          static async ping(this: typeof Customers): Promise<string> {
            return this.name;
          }
        }

        const [a, b] = [new Customers("a"), new Customers("b")];
        console.log(await a.find(1), a.calls, b.calls);
        console.log(a.find.name, Customers.prototype.hang.name);
        console.log(await a.hang());
        await a.down().catch(() => {});
        console.log(await b.down().catch((error: { code: string }) => error.code));
        console.log(await Customers.ping());`,
    });
    printed = decorated.trimEnd().split("\n");
  });

  test("each keeps the method's name, its this and its parameters (C1.8)", () => {
    expect(printed.slice(0, 2)).toEqual(["a1 3 0", "find hang"]);
    expect(printed[4]).toBe("Customers");
  });

  test("several stand around one another, the first outermost (C1.8)", () => {
    expect(printed[2]).toBe("nobody");
  });

  test("all instances of a class share the breaker of a method", () => {
    expect(printed[3]).toBe("CIRCUIT_OPEN");
  });
});

test("a decorated method keeps its type, generics and overloads too, and one whose type would not hold does not compile (C1.8)", async () => {
  const { typed } = await runPrograms({
    typed: `
      import { circuitBreaker, fallback, retryWithBackoff, timeout } from "SRC/policies/index.ts";

      class Customers {
        readonly prefix = "c";

        @retryWithBackoff({ maxAttempts: 2 })
        @circuitBreaker()
        @timeout({ attemptTimeoutMs: 50 })
        async find(id: number, fresh?: boolean): Promise<string> {
          return fresh === true ? this.prefix : this.prefix + id;
        }

        @fallback({ fallback: "nobody" })
        async name(): Promise<string> {
          return this.prefix;
        }

        @retryWithBackoff()
        async echo<T>(value: T): Promise<T> {
          return value;
        }

        search(id: number): Promise<string>;
        search(name: string): Promise<number>;
        @retryWithBackoff()
        async search(key: number | string): Promise<string | number> {
          return typeof key === "number" ? this.prefix : 1;
        }

        // @ts-expect-error the caller does not expect null
        @fallback({ fallback: null })
        async strict(): Promise<string> {
          return this.prefix;
        }

        // @ts-expect-error the caller expects a number at once, and would get a promise
        @retryWithBackoff()
        size(): number {
          return this.prefix.length;
        }
      }

      type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
      const is = <T extends true>(): T | undefined => undefined;
      const customers = new Customers();
      is<Same<Customers["find"], (id: number, fresh?: boolean) => Promise<string>>>();
      const five = await customers.echo(5 as const);
      is<Same<typeof five, 5>>();
      const [byId, byName] = [await customers.search(1), await customers.search("Ada")] as const;
      is<Same<typeof byId, string>>();
      is<Same<typeof byName, number>>();
      // @ts-expect-error a number is wanted
      await customers.find("1");
      console.log(five, byId, byName, await customers.name());`,
  });
  expect(typed).toBe("5 c 1 c\n");
});
