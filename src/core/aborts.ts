/**
 * Who follows which signal. Many calls may share one signal, such as that of a shutdown, and Node warns of a leak from
 * the eleventh listener on; so each signal gets one listener, which calls all that follow it, and loses it with the
 * last of them.
 */
interface Followers {
  readonly fns: Set<() => void>;
  readonly listener: () => void;
}

const followed = new WeakMap<AbortSignal, Followers>();

/** Calls `fn` once when the signal aborts, unless `unfollowAbort` comes first. A signal that has aborted calls nobody. */
export function followAbort(signal: AbortSignal | undefined, fn: () => void): void {
  if (signal === undefined || signal.aborted) return;
  let followers = followed.get(signal);
  if (followers === undefined) {
    const fns = new Set<() => void>();
    const listener = (): void => {
      followed.delete(signal);
      for (const follower of fns) follower();
    };
    followers = { fns, listener };
    followed.set(signal, followers);
    signal.addEventListener("abort", listener, { once: true });
  }
  followers.fns.add(fn);
}

/** `fn` follows the signal no longer. */
export function unfollowAbort(signal: AbortSignal | undefined, fn: () => void): void {
  const followers = signal && followed.get(signal);
  if (followers === undefined || !followers.fns.delete(fn) || followers.fns.size > 0) return;
  followed.delete(signal!);
  signal!.removeEventListener("abort", followers.listener);
}
