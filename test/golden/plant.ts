import { link, firstLink } from "../../src/core/record.ts";
import { openDriver } from "../../src/stores/sqlite-driver.ts";

/**
 * Writes the journal of a run anew with another text in place of each `from`, sealed as if it had been written so: what
 * a version would have left whose events were called something else.
 */
export function plant(path: string, runId: string, from: string, to: string): void {
  const db = openDriver(path);
  const { num } = db.prepare("SELECT num FROM holdfast_runs WHERE id = ?").get(runId) as { num: number };
  const rows = db.prepare("SELECT seq, body FROM holdfast_records WHERE run = ? ORDER BY seq").all(num);
  let checksum = firstLink(runId);
  let found = false;
  for (const { seq, body } of rows as { seq: number; body: Uint8Array }[]) {
    const text = Buffer.from(body).toString();
    found ||= text.includes(from);
    const planted = Uint8Array.from(Buffer.from(text.replaceAll(from, to)));
    checksum = link(checksum, seq, planted);
    db.prepare("UPDATE holdfast_records SET body = ?, checksum = ? WHERE run = ? AND seq = ?").run(
      ...[planted, checksum, num, seq],
    );
  }
  db.prepare("UPDATE holdfast_runs SET head_checksum = ? WHERE num = ?").run(checksum, num);
  db.close();
  if (!found) throw new Error(`The journal of ${runId} has no ${from}.`);
}
