// Loaded before the library under test, so that it sees these clocks and timers in place of the real ones.
const timers = new Set();
const {
  setTimeout: startTimeout,
  setInterval: startInterval,
  clearTimeout: endTimeout,
  clearInterval: endInterval,
} = globalThis;

globalThis.setTimeout = Object.assign((callback, ms, ...args) => {
  const fire = () => {
    timers.delete(timer);
    callback(...args);
  };
  const timer = startTimeout(fire, ms);
  timers.add(timer);
  return timer;
}, startTimeout);
globalThis.setInterval = (...args) => {
  const timer = startInterval(...args);
  timers.add(timer);
  return timer;
};
globalThis.clearTimeout = (timer) => {
  timers.delete(timer);
  endTimeout(timer);
};
globalThis.clearInterval = (timer) => {
  timers.delete(timer);
  endInterval(timer);
};

/** Timers that were started and have neither fired nor been cleared, with those that do not keep the process alive. */
export const liveTimers = () => timers.size;

const RealDate = Date;
let offsetMs = 0;

globalThis.Date = class extends RealDate {
  constructor(...args) {
    super(...(args.length === 0 ? [RealDate.now() + offsetMs] : args));
  }
  static now() {
    return RealDate.now() + offsetMs;
  }
};

/** Sets the wall clock forward, or back. The monotonic clock goes on as before. */
export const jumpWallClock = (ms) => void (offsetMs += ms);

let unhandled = 0;
process.on("unhandledRejection", () => unhandled++);
process.on("uncaughtException", () => unhandled++);

/** Rejections and exceptions that nobody has handled so far. */
export const unhandledErrors = () => unhandled;
