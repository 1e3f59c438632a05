/**
 * Small pieces of state that several processes share: an open breaker, the holder of a lock, what is left of a limit.
 * Each lies under a key, as plain data. There is one operation, and it is atomic: the next value is made by a function
 * of the last one, so that what a policy decides is written once, in TypeScript, for every place where state can lie.
 */
export interface SharedState {
  /**
   * What policies need to share their state: `sharing` of `holdfast/policies`, in every place. The place brings it
   * along, so that a program without one loads nothing of it.
   */
  readonly sharing: Sharing;
  /**
   * Puts in the place of what lies under `key` what `change` makes of it, and answers what `change` says.
   *
   * `change` gets a copy of what lies there (undefined where nothing does) and the time of the place, in milliseconds
   * that never run backwards and are the same for all who share it. It must be pure: it is called again when somebody
   * else came in between. What it throws rejects the call and changes nothing.
   *
   * Rejects with `StoreUnavailableError` where the place cannot be reached: then the change was made or not.
   */
  update<T, R>(key: string, change: (last: T | undefined, now: number) => SharedChange<T, R>): Promise<R>;
  /** Gives up the connection. Later updates reject. */
  close(): Promise<void>;
}

/** The code of sharing. What is in it is known to the policies only. */
export interface Sharing {
  readonly kind: "sharing";
}

/** What an update leaves under its key, and what it answers. */
export interface SharedChange<T, R> {
  /** Plain data, as JSON can keep it; undefined leaves nothing. */
  next: T | undefined;
  /** How long it is kept without another update; afterwards it is gone. Ignored where `next` is undefined. */
  keepMs: number;
  result: R;
}

/** A policy takes no answer within this time for none, since a call must end by its deadline. */
export const ANSWER_MS = 1_000;
