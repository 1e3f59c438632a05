import { expect, test } from "vitest";
import { fileSystemOf, nodeFinding, syncTime } from "./doctor.ts";

test.each([
  ["20.19.0", "ok"],
  ["22.1.0", "ok"],
  ["20.18.9", "fail"],
  ["18.20.0", "fail"],
])("Node %s: %s", (version, status) => {
  expect(nodeFinding(version).status).toBe(status);
});

test("a file system on a network fails, one in memory warns, and one that nobody knows is taken for a disk", () => {
  expect(fileSystemOf("/mnt", 0x6969)).toEqual({
    check: "file system",
    status: "fail",
    found: "/mnt, NFS",
    advice: "Locks are not reliable over a network. Put the store on a local disk.",
  });
  expect(fileSystemOf("/dev/shm", 0x01021994).status).toBe("warn");
  expect(fileSystemOf("/data", 0xef53)).toEqual({ check: "file system", status: "ok", found: "/data, ext4" });
  expect(fileSystemOf("/data", 0x1234).found).toBe("/data, of the unknown type 0x1234");
});

test("syncs are slow above 5 ms, which is said with what it costs", () => {
  expect(syncTime(5)).toEqual({ check: "sync to disk", status: "ok", found: "5.00 ms" });
  expect(syncTime(5.1)).toMatchObject({ status: "warn", advice: expect.stringContaining("Above 5 ms") });
});
