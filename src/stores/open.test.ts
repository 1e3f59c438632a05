import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { ConfigError } from "../core/errors.ts";
import { MemorySharedState } from "./memory-shared-state.ts";
import { MemoryStore } from "./memory.ts";
import { openSharedState, openStore } from "./open.ts";
import { SqliteSharedState } from "./sqlite-shared-state.ts";
import { SqliteStore } from "./sqlite.ts";

let folder: string;
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), "holdfast-open-"))));
afterEach(() => rmSync(folder, { recursive: true }));

it("memory: is a store in memory (C10.5)", () => {
  expect(openStore("memory:")).toBeInstanceOf(MemoryStore);
});

it("sqlite: and a bare path are a SQLite file (C10.5)", async () => {
  for (const url of [`sqlite:${folder}/a.db`, `${folder}/b.db`]) {
    const store = openStore(url);
    expect(store).toBeInstanceOf(SqliteStore);
    expect(store.location).toMatch(/[ab]\.db$/);
    await store.close();
  }
});

it("a URL says how durable a store is, and nothing else (C6.5)", async () => {
  for (const [query, durability] of [
    ["", "full"],
    ["?", "full"],
    ["?durability=full", "full"],
    ["?durability=relaxed", "relaxed"],
  ]) {
    const store = openStore(`sqlite:${folder}/a.db${query}`);
    expect([store.durability, store.location]).toEqual([durability, `${folder}/a.db`]);
    await store.close();
  }
  for (const query of ["?durability=memory", "?durability", "?durable=full", "?durability=full&x=1"]) {
    const url = `sqlite:${folder}/never.db${query}`;
    expect(() => openStore(url)).toThrow(ConfigError);
    expect(() => openStore(url)).toThrow(/^The store URL is ".*it may be durability=full or durability=relaxed\.$/);
  }
  expect(() => openSharedState(`sqlite:${folder}/never.db?durability=relaxed`)).toThrow(/a shared state has none/);
  expect(existsSync(`${folder}/never.db`)).toBe(false);
  const bare = openStore(`${folder}/what?.db`);
  expect(bare.location).toBe(`${folder}/what?.db`);
  await bare.close();
});

it("a URL that names no store is a ConfigError that says where it came from (C10.5)", () => {
  for (const url of [
    "",
    "sqlite:",
    "sqlite:?durability=full",
    "memory:x",
    "postgres://h/db",
    "redis://h",
    "nonsense:x",
  ]) {
    expect(() => openStore(url, "RESILIENCE_STORE_URL")).toThrow(ConfigError);
    expect(() => openStore(url, "RESILIENCE_STORE_URL")).toThrow(/^RESILIENCE_STORE_URL is .*Give memory: or sqlite:/);
  }
});

it("the password of a URL does not get into the error (C10.5)", () => {
  expect(() => openStore("postgres://anna:secret@host/db")).toThrow(/postgres:\/\/\*\*\*@host\/db/);
  expect(() => openStore("postgres://anna:secret@host/db")).not.toThrow(/secret/);
});

it("the same URLs name a shared state (C10.5)", async () => {
  expect(openSharedState("memory:")).toBeInstanceOf(MemorySharedState);
  for (const url of [`sqlite:${folder}/a.db`, `${folder}/b.db`]) {
    expect(openSharedState(url)).toBeInstanceOf(SqliteSharedState);
  }
  expect(() => openSharedState("")).toThrow(/^The URL of the shared state is empty/);
  expect(() => openSharedState("redis://a:b@h")).toThrow(/"redis:\/\/\*\*\*@h", which names no store/);
});
