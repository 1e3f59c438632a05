import { expect, test } from "vitest";
import { isEnded, newRun, type RunStatus } from "./store.ts";

test("a run that waits goes on later; one that completed, failed or was cancelled does nothing more by itself", () => {
  const ended: Record<RunStatus, boolean> = {
    running: false,
    waiting: false,
    completed: true,
    failed: true,
    cancelled: true,
  };
  for (const [status, is] of Object.entries(ended))
    expect([status, isEnded(status as RunStatus)]).toEqual([status, is]);
});

test("a run that nobody has claimed has no owner, no token, no lease and no records (C6.4)", () => {
  expect(newRun("r1", "triage", 1_700)).toEqual({
    runId: "r1",
    workflowId: "triage",
    status: "running",
    token: 0,
    owner: null,
    leaseUntil: 0,
    createdAt: 1_700,
    updatedAt: 1_700,
    wakeAt: null,
    version: 0,
    snapshot: null,
    head: { version: 0, checksum: 0 },
  });
});
