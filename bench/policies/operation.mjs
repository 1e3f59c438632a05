/** The operation under protection, the same for all: it resolves at once, so that what is left is the cost of the policy. */
export const fn = async () => 1;

export const fail = async () => {
  throw new Error("down");
};

/** Never fires within the benchmark. */
export const TIMEOUT_MS = 30_000;

export const swallow = (operation) => async () => {
  try {
    await operation();
  } catch {
    // The refusal is what is measured.
  }
};

/** Fails often enough to open any of the breakers compared here. */
export const trip = async (execute) => {
  for (let i = 0; i < 10; i++) await swallow(execute)();
};
