// As much of vitest as the tests of core/ and policies/ use, in one process that loads them once: a run of vitest for
// each of some thousand mutants would take hours. The assertions are vitest's own.
import {
  ASYMMETRIC_MATCHERS_OBJECT,
  chai,
  JestAsymmetricMatchers,
  JestChaiExpect,
  JestExtend,
  setState,
} from "@vitest/expect";
import { fn, restoreAllMocks, spyOn } from "@vitest/spy";
import FakeTimers from "@sinonjs/fake-timers";

chai.use(JestExtend);
chai.use(JestChaiExpect);
chai.use(JestAsymmetricMatchers);

export const expect = (value, message) => chai.expect(value, message);
Object.assign(expect, chai.expect, globalThis[ASYMMETRIC_MATCHERS_OBJECT], {
  unreachable: (message = "this line") => chai.assert.fail(`reached: ${message}`),
  getState: () => ({}),
});
setState({ assertionCalls: 0, isExpectingAssertions: false, expectedAssertionsNumber: null }, expect);

/** All tests of the files that were imported, in order, by a key that does not depend on what else is loaded. */
export const registered = new Map();
let groups = [];
let file = "";
let count = 0;

export async function load(path, url) {
  file = path;
  count = 0;
  groups = [{ name: "", before: [], after: [], all: [] }];
  await import(url);
}

const named = (title, values) => {
  let next = 0;
  const positional = title.replace(/%[sidjo%]/g, (part) => (part === "%%" ? "%" : String(values[next++])));
  return positional.replace(/\$(\w+)/g, (part, key) => String(values[0]?.[key] ?? part));
};
const listOf = (row) => (Array.isArray(row) ? row : [row]);

export function test(title, ...rest) {
  const fn = rest.find((part) => typeof part === "function");
  const around = [...groups];
  const name = [...around.map((group) => group.name), title].filter(Boolean).join(" > ");
  const key = `${file}#${++count}`;
  registered.set(key, {
    key,
    name,
    file,
    async run() {
      for (const group of around) {
        while (group.all.length > 0) await group.all.shift()();
        for (const hook of group.before) await hook();
      }
      try {
        await fn({});
      } finally {
        for (const group of around.toReversed()) for (const hook of group.after) await hook();
      }
    },
  });
}
test.each = (rows) => (title, fn, timeout) => {
  for (const row of rows) test(named(title, listOf(row)), () => fn(...listOf(row)), timeout);
};

export function describe(title, fn) {
  groups = [...groups, { name: title, before: [], after: [], all: [] }];
  fn();
  groups = groups.slice(0, -1);
}
describe.each = (rows) => (title, fn) => {
  for (const row of rows) describe(named(title, listOf(row)), () => fn(...listOf(row)));
};

export const beforeAll = (hook) => void groups.at(-1).all.push(hook);
export const beforeEach = (hook) => void groups.at(-1).before.push(hook);
export const afterEach = (hook) => void groups.at(-1).after.push(hook);

const stubbed = new Map();
let faked = null;
export const vi = {
  fn,
  spyOn,
  restoreAllMocks,
  resetModules() {
    throw new Error("this stand-in for vitest cannot load a module anew");
  },
  stubGlobal(name, value) {
    if (!stubbed.has(name)) stubbed.set(name, Object.getOwnPropertyDescriptor(globalThis, name));
    Object.defineProperty(globalThis, name, { value, writable: true, configurable: true });
  },
  unstubAllGlobals() {
    for (const [name, descriptor] of stubbed) Object.defineProperty(globalThis, name, descriptor);
    stubbed.clear();
  },
  useFakeTimers({ toFake }) {
    faked = FakeTimers.install({ toFake });
  },
  useRealTimers() {
    faked?.uninstall();
    faked = null;
  },
  advanceTimersByTime: (ms) => faked.tick(ms),
  getTimerCount: () => faked.countTimers(),
};

// Checked by the compiler, not here.
const anyType = new Proxy(() => anyType, { get: (_, key) => (key === "then" ? undefined : anyType) });
export const expectTypeOf = () => anyType;
