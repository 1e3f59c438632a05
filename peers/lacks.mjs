/** Says that a library has nothing for what a check looks at. The verdict is then `n/a`, which is no failure. */
export class Lacking extends Error {}

export const lacks = (reason) => {
  throw new Lacking(reason);
};
