/** What the tests of a program that uses Holdfast need: time that a test owns, and contracts to hold a store or engine to. */
export { FakeClock, fakeRuntime, type FakeRuntime, record } from "./fake-clock.ts";

// Contracts
export type { ContractCase } from "./contract-case.ts";
export { storeContract, type StorePlace } from "./store-contract.ts";
export { sharedStateContract, type SharedStatePlace } from "./shared-state-contract.ts";
export { engineContract } from "./engine-contract.ts";
export type {
  EngineLimits,
  EngineSubject,
  EngineUnderTest,
  Graph,
  RedriveOutcome,
  RunOutcome,
} from "./engine-world.ts";

// A store that fails on order
export { FaultyStore } from "./faulty-store.ts";
