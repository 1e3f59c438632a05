import { type BlobRow, type Blobs, blobsNamedIn } from "../core/blobs.ts";
import { utf8Text } from "../core/bytes.ts";
import type { Clock } from "../core/clock.ts";
import { StoreCorruptError } from "../core/errors.ts";
import { aBoolean, checkOptions, durationMs, type Rules } from "../core/options.ts";
import type { StoredRecord } from "../core/record.ts";
import type { Store } from "../core/store.ts";
import { isSnapshot } from "./snapshot.ts";

export interface SweepOptions {
  /** How old a blob must be to be deleted. @default 86400000 */
  olderThanMs?: number | undefined;
  /** Says what would be deleted, and deletes nothing. @default false */
  dryRun?: boolean | undefined;
}

const RULES: Rules<SweepOptions> = { olderThanMs: durationMs, dryRun: aBoolean };

/**
 * Deletes the blobs that nothing in the store refers to, and gives them. The candidates are chosen first, by their age,
 * and then all journals are read: a run that comes to use one of them meanwhile puts it anew, and it is then too young
 * to be deleted. A run that refers to one without putting it has a journal, or is told from one, that is read.
 */
export async function sweepBlobs(store: Store, blobs: Blobs, clock: Clock, options: SweepOptions): Promise<BlobRow[]> {
  const { olderThanMs = 86_400_000, dryRun = false } = checkOptions("sweepBlobs", options, RULES);
  const putBefore = clock.wallNow() - olderThanMs;
  const strays = new Map<string, BlobRow>();
  for await (const row of blobs.list()) if (row.at < putBefore) strays.set(row.name, row);
  if (strays.size === 0) return [];

  for (const { runId } of await store.list({ limit: Infinity })) {
    // A snapshot names nothing that the records before it do not name, too.
    const told = (await store.read(runId)).filter(({ body }) => !isSnapshot(body));
    const records = told.map((record) => textOf(runId, record));
    // Whoever takes one meanwhile puts what it brings anew. A run that has ended may still have some.
    const signals = (await store.signals({ runId })).map(({ payload }) => payload);
    for (const text of [...records, ...signals]) for (const name of blobsNamedIn(text)) strays.delete(name);
  }
  for (const { payload } of await store.deadLetters({ limit: Infinity })) {
    for (const name of blobsNamedIn(payload ?? "")) strays.delete(name);
  }
  if (!dryRun) for (const name of strays.keys()) await blobs.delete(name, putBefore);
  return [...strays.values()];
}

/** A record that cannot be read may have named any blob, and then none is a stray. */
function textOf(runId: string, { seq, body }: StoredRecord): string {
  try {
    return utf8Text(body);
  } catch (error) {
    throw new StoreCorruptError(
      `Record ${seq} of run "${runId}" cannot be read, so that nobody knows which blobs it refers to. Nothing was deleted. Run it again, which sets the record aside.`,
      error,
    );
  }
}
