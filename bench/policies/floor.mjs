// The least work that each policy can do, written by hand. What we add to it is ours to answer for.
import { fn, swallow, TIMEOUT_MS } from "./operation.mjs";

// One error for all refusals: an error of one's own per refusal costs more than this.
const OPEN = new Error("open");
const REFUSED = Object.freeze({ ok: false, reason: "open" });
// `performance` is an accessor of the global object: reading it costs as much as reading the clock.
const clock = performance;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function retry(operation, maxAttempts) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await operation();
    } catch (error) {
      if (attempt >= maxAttempts) throw error;
      await pause(10);
    }
  }
}

class Breaker {
  open = false;
  failures = 0;

  succeeded() {
    if (this.failures !== 0) this.failures = 0;
  }

  failed() {
    if (++this.failures >= 5) this.open = true;
  }

  async execute(operation) {
    if (this.open) {
      // A promise that rejects before anybody listens goes through Node's bookkeeping of unhandled rejections, which
      // costs more than all the rest. A microtask later the caller listens.
      await undefined;
      throw OPEN;
    }
    try {
      const value = await operation();
      this.succeeded();
      return value;
    } catch (error) {
      this.failed();
      throw error;
    }
  }

  async executeOutcome(operation) {
    if (this.open) return REFUSED;
    return { ok: true, value: await this.execute(operation) };
  }
}

// Failures and calls of the last ten slices, with running sums; the slice is found by the clock.
class WindowBreaker {
  open = false;
  counts = new Uint32Array(20);
  calls = 0;
  failures = 0;
  slice = 0;

  recorded(failed) {
    const slice = Math.floor(clock.now() / 1000);
    if (slice !== this.slice) this.rotate(slice);
    const at = (slice % 10) * 2;
    this.counts[at]++;
    this.calls++;
    if (!failed) return;
    this.counts[at + 1]++;
    if (++this.failures * 2 >= this.calls) this.open = true;
  }

  rotate(slice) {
    for (let stale = Math.max(this.slice + 1, slice - 9); stale <= slice; stale++) {
      const at = (stale % 10) * 2;
      this.calls -= this.counts[at];
      this.failures -= this.counts[at + 1];
      this.counts.fill(0, at, at + 2);
    }
    this.slice = slice;
  }

  async execute(operation) {
    if (this.open) throw OPEN;
    try {
      const value = await operation();
      this.recorded(false);
      return value;
    } catch (error) {
      this.recorded(true);
      throw error;
    }
  }
}

class Bulkhead {
  active = 0;

  enter() {
    if (this.active >= 10) throw OPEN;
    this.active++;
  }

  async execute(operation) {
    this.enter();
    try {
      return await operation();
    } finally {
      this.active--;
    }
  }
}

// A bucket that is one number: the instant at which it would be full.
class Bucket {
  fullAt = 0;

  async execute(operation) {
    const now = clock.now();
    const next = Math.max(this.fullAt, now) + 1e-6;
    if (next - now > 1000) throw OPEN;
    this.fullAt = next;
    return operation();
  }
}

// Deadlines share one list and one coarse timer, which stops when the list is found empty.
const deadlines = {
  first: null,
  timer: null,
  add(entry) {
    entry.next = this.first;
    if (this.first !== null) this.first.previous = entry;
    this.first = entry;
    this.timer ??= setInterval(() => this.tick(), 50);
  },
  remove(entry) {
    if (entry.previous !== null) entry.previous.next = entry.next;
    else this.first = entry.next;
    if (entry.next !== null) entry.next.previous = entry.previous;
  },
  tick() {
    const now = clock.now();
    for (let entry = this.first; entry !== null; entry = entry.next) {
      if (entry.at > now) continue;
      this.remove(entry);
      entry.expire(new Error("timeout"));
    }
    if (this.first !== null) return;
    clearInterval(this.timer);
    this.timer = null;
  },
};

function withTimeout(operation, ms) {
  return new Promise((resolve, reject) => {
    const entry = { at: clock.now() + ms, next: null, previous: null, expire: reject };
    deadlines.add(entry);
    operation().then(
      (value) => {
        deadlines.remove(entry);
        resolve(value);
      },
      (error) => {
        deadlines.remove(entry);
        reject(error);
      },
    );
  });
}

// The four policies in one frame.
const pipelineBreaker = new Breaker();
const pipelineBulkhead = new Bulkhead();
async function pipeline(operation) {
  for (let attempt = 1; ; attempt++) {
    if (pipelineBreaker.open) throw OPEN;
    pipelineBulkhead.enter();
    try {
      const value = await withTimeout(operation, TIMEOUT_MS);
      pipelineBulkhead.active--;
      pipelineBreaker.succeeded();
      return value;
    } catch (error) {
      pipelineBulkhead.active--;
      pipelineBreaker.failed();
      if (attempt >= 3) throw error;
      await pause(10);
    }
  }
}

const closed = new Breaker();
const windowed = new WindowBreaker();
const bulkhead = new Bulkhead();
const bucket = new Bucket();
const open = new Breaker();
open.open = true;

export const floor = {
  retry: () => retry(fn, 3),
  "breaker closed": () => closed.execute(fn),
  "breaker closed, time window": () => windowed.execute(fn),
  "breaker open, thrown": swallow(() => open.execute(fn)),
  "breaker open, as a value": () => open.executeOutcome(fn),
  timeout: () => withTimeout(fn, TIMEOUT_MS),
  bulkhead: () => bulkhead.execute(fn),
  "rate limiter": () => bucket.execute(fn),
  pipeline: () => pipeline(fn),
};
