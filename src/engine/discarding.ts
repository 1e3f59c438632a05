import { utf8Bytes } from "../core/bytes.ts";
import { ConfigError, NotFoundError, RunInUseError } from "../core/errors.ts";
import { show } from "../core/options.ts";
import { firstLink, link } from "../core/record.ts";
import type { Runtime } from "../core/runtime.ts";
import { type Claim, type DeadLetter, isEnded, type Store } from "../core/store.ts";
import { isDead, newOwner } from "./owner.ts";
import { notFoundError, settledError, type Skipped, skipped } from "./redrivable.ts";

/** What became of one of several entries that were to be discarded. */
export interface DiscardEntry {
  id: string;
  runId: string;
  outcome: "discarded" | "skipped";
  /** Where it was skipped. */
  skipped?: Skipped;
}

/** What became of the entries that were to be discarded, newest first. */
export interface DiscardReport {
  discarded: number;
  skipped: number;
  entries: DiscardEntry[];
}

/** What discarding needs. */
export interface DiscardPort {
  readonly store: Store;
  readonly runtime: Runtime;
}

/** Enough for one write; whoever dies over it holds nobody up for longer. */
const LEASE_MS = 5000;

export function checkReason(reason: string): string {
  if (typeof reason === "string" && reason.trim() !== "") return reason;
  throw new ConfigError(`A dead letter is discarded with a reason, a text that is not empty; got ${show(reason)}.`);
}

/** The body of a record that says nothing: it is there for what is stored with it. */
const NOTHING = utf8Bytes("[]\n");

/**
 * Gives an entry up. It is stored under the lease of its run, together with an empty record: so the store refuses it
 * where somebody has claimed the run since, who may have read the entry as it was. What is discarded already stays as
 * it is, so that it can be asked for again.
 */
export async function discardLetter({ store, runtime }: DiscardPort, id: string, reason: string): Promise<DeadLetter> {
  const { runId, workflowId } = await foundLetter(store, id);
  // Looked at first: to take over a run that has crashed would hide from its nodes that it has.
  const row = await store.get(runId);
  if (row === undefined) throw new NotFoundError(`There is no run "${runId}" of dead letter "${id}" any more.`);
  if (!isEnded(row.status)) throw notEndedError(runId, id);
  const claim: Claim = { runId, workflowId, owner: newOwner(), leaseMs: LEASE_MS, isDead, reopen: true };
  const { token, status, version } = await store.claim(claim);
  try {
    if (!isEnded(status)) throw notEndedError(runId, id);
    const letter = await foundLetter(store, id);
    if (letter.discarded !== undefined) return letter;
    if (letter.status === "succeeded") throw settledError(id);
    const discarded = { reason, at: runtime.clock.wallNow() };
    const next: DeadLetter = { ...letter, status: "permanent_failure", nextRetryAt: null, discarded };
    const [last] = await store.read(runId, version - 1);
    const checksum = link(last?.checksum ?? firstLink(runId), version, NOTHING);
    await store.append({ runId, token, version, body: NOTHING, checksum, deadLetters: [next] });
    const { nodeId, invocationId } = next;
    const ofNode = { runId, workflowId, nodeId, invocationId };
    runtime.events.emit?.("dead_letter.discarded", { ...ofNode, deadLetterId: id, reason });
    return next;
  } finally {
    await store.release(runId, token).catch(() => {});
  }
}

async function foundLetter(store: Store, id: string): Promise<DeadLetter> {
  const letter = await store.deadLetter(id);
  if (letter === undefined) throw notFoundError(id, store.location);
  return letter;
}

/** Discards entries one after the other. What one of them meets does not keep the others, unless the store is in trouble. */
export async function discardLetters(
  port: DiscardPort,
  letters: AsyncIterable<DeadLetter>,
  reason: string,
): Promise<DiscardReport> {
  const entries: DiscardEntry[] = [];
  for await (const letter of letters) {
    const { id, runId } = letter;
    try {
      await discardLetter(port, id, reason);
      entries.push({ id, runId, outcome: "discarded" });
    } catch (error) {
      entries.push({ id, runId, outcome: "skipped", skipped: skipped(error) });
    }
  }
  const discarded = entries.filter(({ outcome }) => outcome === "discarded").length;
  return { discarded, skipped: entries.length - discarded, entries };
}

function notEndedError(runId: string, id: string): RunInUseError {
  return new RunInUseError(
    runId,
    `Run "${runId}" of dead letter "${id}" has not ended. Let it end or cancel it, and discard the entry then.`,
  );
}
