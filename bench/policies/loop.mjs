/**
 * A loop that awaits `operation` n times, compiled anew for each operation: in one loop shared by all, the call site
 * would become megamorphic and every contender would pay for its neighbours.
 */
export const loopOf = (operation) =>
  new Function("operation", "return async (n) => { for (let i = 0; i < n; i++) await operation(); };")(operation);
