import { ok } from "node:assert/strict";
import { codeOf, messageOf } from "../core/errors.ts";

/** One promise of a contract as a test for any runner: `it(title, run)`. It fails by rejecting. */
export interface ContractCase {
  readonly title: string;
  readonly run: () => Promise<void>;
}

/** The error that a promise rejects with; fails where it does not, or where the code of the error is another. */
export function rejection(promise: Promise<unknown>, code: string): Promise<Error> {
  return observed(rejectionOf(promise, code));
}

/** The same promise, whose rejection is no accident where nobody comes to await it. */
export function observed<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

async function rejectionOf(promise: Promise<unknown>, code: string): Promise<Error> {
  let value: unknown;
  try {
    value = await promise;
  } catch (error) {
    ok(codeOf(error) === code, `expected an error with the code ${code}, got: ${messageOf(error)}`);
    return error as Error;
  }
  throw new Error(`expected an error with the code ${code}, but the promise resolved to ${String(value)}`);
}
