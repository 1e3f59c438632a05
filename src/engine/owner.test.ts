import { spawnSync } from "node:child_process";
import { expect, it } from "vitest";
import { isDead, newOwner } from "./owner.ts";

/** The name that an engine of another process would have here. */
function ownerOf(pid: number, place?: string): string {
  const [here, , id] = JSON.parse(newOwner()) as [string, number, string];
  return JSON.stringify([place ?? here, pid, id]);
}

it("each engine has a name of its own (C6.4)", () => {
  expect(newOwner()).not.toBe(newOwner());
});

it("the owner of a process that is gone is known to be dead, that of one that lives is not (C6.4)", () => {
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  expect(isDead(ownerOf(pid))).toBe(true);
  expect(isDead(ownerOf(process.ppid))).toBe(false);
  expect(isDead(newOwner())).toBe(false);
});

it("nothing is known of processes elsewhere, and of names that are not ours (C6.4)", () => {
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  expect(isDead(ownerOf(pid, "another host/"))).toBe(false);
  for (const name of ["", "one", "[]", "null", "7", '{"pid":1}', '["x"]']) expect(isDead(name)).toBe(false);
});
