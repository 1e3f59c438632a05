import { readlinkSync } from "node:fs";
import { hostname } from "node:os";
import { uniqueId } from "../core/random.ts";

/** Where process ids mean the same: a host, and on Linux the namespace of a container on it. */
function place(): string {
  let namespace = "";
  try {
    namespace = readlinkSync("/proc/self/ns/pid");
  } catch {
    // Not Linux: the host alone must do.
  }
  return `${hostname()}/${namespace}`;
}

/** The name under which this process holds leases; another one for each engine. */
export function newOwner(): string {
  return JSON.stringify([place(), process.pid, uniqueId()]);
}

/**
 * Whether the owner of a lease is known to be dead: a process of this machine that no longer exists. Saves waiting for
 * the lease of a killed process to run out. Only ever a reason to take over sooner: that two never write is the
 * fencing token's work.
 */
export function isDead(owner: string): boolean {
  let parsed: unknown;
  try {
    parsed = JSON.parse(owner);
  } catch {
    return false;
  }
  const [where, pid]: unknown[] = Array.isArray(parsed) ? parsed : [];
  if (where !== place() || typeof pid !== "number" || pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
}
