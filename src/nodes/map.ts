import { ConfigError } from "../core/errors.ts";
import type { NodeContext, NodeFunction } from "../core/node.ts";
import { aFunction, anything, checkOptions, oneOf, type Rules, show, wholeNumber } from "../core/options.ts";
import type { Policy } from "../core/policy.ts";

/** What the function of a map gets beside the item. */
export interface ItemContext {
  /** The place of the item, from 0. */
  readonly index: number;
  /** Of this item: equal across attempts, restarts and redrives. Give it to whatever must not happen twice. */
  readonly idempotencyKey: string;
  readonly signal: AbortSignal;
  /** The context of the node that maps. */
  readonly node: NodeContext;
}

/** What came of an item, where failures are collected. */
export type ItemResult<Out> =
  { readonly ok: true; readonly value: Out } | { readonly ok: false; readonly error: unknown };

export interface MapOptions<Item, Out, In, Mode> {
  /** The items in the input of the node. @default the input itself, which must be an array */
  items?: ((input: In) => readonly Item[]) | undefined;
  run: (item: Item, context: ItemContext) => Out | PromiseLike<Out>;
  /** How many items are worked on at the same time. @default 10 */
  concurrency?: number | undefined;
  /** Guards the call for each item: a policy, or a pipeline of them. */
  policy?: Policy | undefined;
  /** Whether an item that fails for good fails the node, or is one of its results. @default "fail" */
  onItemFailure?: Mode | undefined;
}

type AnyMap = MapOptions<unknown, unknown, unknown, unknown>;

const RULES: Rules<AnyMap> = {
  items: aFunction,
  run: aFunction,
  concurrency: wholeNumber(1, true),
  policy: anything,
  onItemFailure: oneOf("fail", "collect"),
};

/**
 * A node that does the same for each of many items and gives the results in the order of the items. What is done for an
 * item is stored before the node goes on, as a step: a retry of the node, a restart or a redrive does only what is left.
 *
 * With `onItemFailure: "fail"`, the first item that fails ends the node, once those under way have been waited for and
 * kept. With `"collect"`, each result is `{ ok: true, value }` or `{ ok: false, error }`, and the node succeeds. Retries
 * of one item belong into `policy`: those of the node begin the map anew, with what is stored.
 *
 * @example
 * ```ts
 * import { map, MemoryStore, RetryPolicy, Workflow } from "holdfast";
 *
 * const lengths = new Workflow({ id: "lengths" }).addNode(
 *   "measure",
 *   map({
 *     items: (input: { texts: string[] }) => input.texts,
 *     run: (text) => text.length,
 *     concurrency: 4,
 *     policy: new RetryPolicy({ maxAttempts: 3 }),
 *   }),
 * );
 *
 * console.log(await lengths.execute({ texts: ["a", "bcd"] }, { store: new MemoryStore() })); // => [1, 3]
 * ```
 */
export function map<Item, Out, In = readonly Item[], const Mode extends "fail" | "collect" = "fail">(
  options: MapOptions<Item, Out, In, Mode>,
): NodeFunction<In, Mode extends "collect" ? ItemResult<Out>[] : Out[]> {
  const checked = checkOptions("map", options as unknown as AnyMap, RULES);
  const { items = (input) => input as readonly unknown[], run, concurrency = 10, policy } = checked;
  if (run === undefined) throw new ConfigError("map.run must be a function of an item, got undefined.");
  if (policy !== undefined && typeof policy?.execute !== "function")
    throw new ConfigError(`map.policy must be a policy, such as new RetryPolicy({}), got ${show(policy)}.`);
  const collects = checked.onItemFailure === "collect";

  const served = async (item: unknown, index: number, node: NodeContext): Promise<unknown> =>
    node.step(`item ${index}`, async ({ idempotencyKey }) => {
      const call = (signal: AbortSignal): unknown => run(item, { index, idempotencyKey, signal, node });
      try {
        const value = await (policy === undefined
          ? call(node.signal)
          : policy.execute((inner) => call(inner.signal), { signal: node.signal }));
        return collects ? { ok: true, value } : value;
      } catch (error) {
        // An item that was told to stop has not failed.
        if (!collects || node.signal.aborted) throw error;
        return { ok: false, error };
      }
    });

  return async (input, node) => {
    const all = items(input);
    if (!Array.isArray(all))
      throw new ConfigError(
        `The items of map node "${node.nodeId}" must be an array, got ${show(all)}. Give it items.`,
      );
    const results: unknown[] = Array.from({ length: all.length });
    let next = 0;
    let failure: { error: unknown } | null = null;
    const work = async (): Promise<void> => {
      while (next < all.length && failure === null) {
        const index = next++;
        try {
          results[index] = await served(all[index], index, node);
        } catch (error) {
          failure ??= { error };
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(concurrency, all.length) }, work));
    if (failure !== null) throw (failure as { error: unknown }).error;
    return results as never;
  };
}
