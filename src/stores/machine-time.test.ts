import fc from "fast-check";
import { expect, it, vi } from "vitest";
import { type Anchor, anchoredAt, machineNow } from "./machine-time.ts";

it("time goes on by what has passed on the machine (C0.4)", () => {
  expect(anchoredAt({ time: 100, machine: 5000 }, 5250)).toEqual({ time: 350, machine: 5250 });
});

it("a machine that was started anew begins its clock anew, and time goes on from where it stood (C0.4)", () => {
  const rebooted = anchoredAt({ time: 9_000_000, machine: 8_000_000 }, 12);
  expect(rebooted).toEqual({ time: 9_000_000, machine: 12 });
  expect(anchoredAt(rebooted, 1012)).toEqual({ time: 9_001_000, machine: 1012 });
});

it("time never runs backwards, whatever the machine shows (C0.4)", () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 1e12, noNaN: true })), (readings) => {
      let anchor: Anchor = { time: 0, machine: 0 };
      for (const machine of readings) {
        const next = anchoredAt(anchor, machine);
        expect(next.time).toBeGreaterThanOrEqual(anchor.time);
        anchor = next;
      }
    }),
  );
});

it("the clock of the machine runs forward in milliseconds, and does not begin with the process (C0.4)", async () => {
  const first = machineNow();
  await new Promise((resolve) => setTimeout(resolve, 20));
  const passed = machineNow() - first;
  expect(passed).toBeGreaterThanOrEqual(19);
  expect(passed).toBeLessThan(5000);
  const wall = vi.spyOn(Date, "now").mockReturnValue(0);
  expect(machineNow()).toBeGreaterThanOrEqual(first + passed);
  wall.mockRestore();
});

it("where processes have no clock in common it says so (C0.4)", () => {
  const versions = vi.spyOn(process, "versions", "get").mockReturnValue({ ...process.versions, bun: "1.2.0" });
  expect(machineNow).toThrow(/cannot be shared through SQLite in Bun/);
  versions.mockRestore();
});
