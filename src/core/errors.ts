/** What every error of Holdfast may carry beside its message. */
export interface HoldfastErrorOptions {
  cause?: unknown;
  /** How long to wait before it makes sense to try again, in milliseconds, where that is known. */
  retryAfterMs?: number | undefined;
}

/**
 * The base of all errors that Holdfast itself makes. Errors of your own functions pass through untouched.
 * `code` is stable: branch on it, or on the class.
 */
export class HoldfastError extends Error {
  readonly code: string;
  declare readonly retryAfterMs?: number;

  constructor(code: string, message: string, options?: HoldfastErrorOptions) {
    // An Error that is given options searches them for a cause, which a refusal under load need not pay for.
    super(message, options?.cause === undefined ? undefined : options);
    this.code = code;
    if (options?.retryAfterMs !== undefined) this.retryAfterMs = options.retryAfterMs;
  }

  // On the prototype, so that an error has no property more than it needs.
  override get name(): string {
    return this.className;
  }
  override set name(value: string) {
    Object.defineProperty(this, "name", { value, writable: true, enumerable: true, configurable: true });
  }

  /**
   * What `name` is unless somebody sets it. A getter, so that it stays when a bundler shortens the names of classes;
   * a static block would keep the class in every bundle, since it does something.
   */
  protected get className(): string {
    return "HoldfastError";
  }
}

/** An option is missing, unknown, or outside its limits. The message names the option, the value and what is allowed. */
export class ConfigError extends HoldfastError {
  constructor(message: string, options?: HoldfastErrorOptions) {
    super("CONFIG", message, options);
  }
  protected override get className(): string {
    return "ConfigError";
  }
}

/** A retry has given up. An outer retry does not repeat it. `lastError` is also the `cause`. */
export class RetryExhaustedError extends HoldfastError {
  /** Number of calls really made. */
  readonly attempts: number;
  readonly lastError: unknown;

  constructor(name: string, attempts: number, lastError: unknown, why: string) {
    super(
      "RETRY_EXHAUSTED",
      `${name} gave up after ${attempts} ${attempts === 1 ? "attempt" : "attempts"}: ${why}. Last error: ${messageOf(lastError)}`,
      {
        cause: lastError,
      },
    );
    this.attempts = attempts;
    this.lastError = lastError;
  }
  protected override get className(): string {
    return "RetryExhaustedError";
  }
}

/**
 * A refusal: the operation was not called. Built without a stack trace, since a refusal happens under load, where
 * the trace costs more than all the rest and shows only Holdfast.
 */
export class RefusedError extends HoldfastError {
  constructor(code: string, message: string, options?: HoldfastErrorOptions) {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    super(code, message, options);
    Error.stackTraceLimit = limit;
  }
  protected override get className(): string {
    return "RefusedError";
  }
}

/** The circuit is open: calls are refused until `retryAfterMs` has passed. */
export class CircuitBreakerOpenError extends RefusedError {
  readonly circuitName: string;
  readonly failureCount: number;

  constructor(circuitName: string, failureCount: number, retryAfterMs: number | undefined) {
    super(
      "CIRCUIT_OPEN",
      retryAfterMs === undefined
        ? `Circuit "${circuitName}" is isolated by hand and refuses every call until it is reset.`
        : `Circuit "${circuitName}" is open after ${failureCount} ${failureCount === 1 ? "failure" : "failures"} and refuses calls; try again in ${Math.ceil(retryAfterMs)} ms.`,
      { retryAfterMs },
    );
    this.circuitName = circuitName;
    this.failureCount = failureCount;
  }
  protected override get className(): string {
    return "CircuitBreakerOpenError";
  }
}

/** The operation did not settle in time. Its outcome is unknown: it may still finish. */
export class TimeoutError extends HoldfastError {
  readonly timeoutMs: number;

  constructor(name: string, timeoutMs: number) {
    // Only a caller's deadline can have passed before the call began.
    const now = timeoutMs > 0 ? "told to stop and may still finish" : "not made";
    super("TIMEOUT", `${name} did not settle within ${timeoutMs} ms. It was ${now}.`);
    this.timeoutMs = timeoutMs;
  }
  protected override get className(): string {
    return "TimeoutError";
  }
}

/** Every fallback failed too. `cause` is the primary error; `errors` holds what each fallback threw, in order. */
export class FallbackFailedError extends HoldfastError {
  readonly errors: readonly unknown[];

  constructor(name: string, primary: unknown, errors: readonly unknown[]) {
    super(
      "FALLBACK_FAILED",
      `${name} failed, and so did its ${errors.length === 1 ? "fallback" : `${errors.length} fallbacks`}: ${errors.map(messageOf).join("; ")}. Primary error: ${messageOf(primary)}`,
      { cause: primary },
    );
    this.errors = errors;
  }
  protected override get className(): string {
    return "FallbackFailedError";
  }
}

/** A workflow cannot be run as it is defined. `problems` lists everything found, not only the first. */
export class WorkflowDefinitionError extends HoldfastError {
  readonly problems: readonly string[];

  constructor(workflowId: string, problems: readonly string[]) {
    super(
      "WORKFLOW_DEFINITION",
      problems.length === 1
        ? `Workflow "${workflowId}" cannot run: ${problems[0]}`
        : `Workflow "${workflowId}" cannot run:\n${problems.map((problem) => `  - ${problem}`).join("\n")}`,
    );
    this.problems = problems;
  }
  protected override get className(): string {
    return "WorkflowDefinitionError";
  }
}

/** A run ended without a result. `cause` is the error of the node; the run can be redriven from its dead letter. */
export class WorkflowExecutionError extends HoldfastError {
  readonly runId: string;
  readonly nodeId: string | undefined;
  readonly attempts: number;

  constructor(
    message: string,
    where: { runId: string; nodeId?: string | undefined; attempts?: number | undefined },
    cause?: unknown,
  ) {
    super("WORKFLOW_EXECUTION", message, { cause });
    this.runId = where.runId;
    this.nodeId = where.nodeId;
    this.attempts = where.attempts ?? 0;
  }
  protected override get className(): string {
    return "WorkflowExecutionError";
  }
}

/** A node has killed its process too often to be started again. */
export class NodeCrashedError extends HoldfastError {
  constructor(nodeId: string, crashes: number) {
    super(
      "NODE_CRASHED",
      `Node "${nodeId}" was running each of the ${crashes} times that its process died. It is not started again: look for a crash or an out-of-memory kill in it, then redrive its dead letter.`,
    );
  }
  protected override get className(): string {
    return "NodeCrashedError";
  }
}

/** A run was started with another definition of its workflow than the one it is now continued with. */
export class VersionMismatchError extends HoldfastError {
  constructor(message: string) {
    super("VERSION_MISMATCH", message);
  }
  protected override get className(): string {
    return "VersionMismatchError";
  }
}

/** The run id is taken: by another executor, by another workflow, or by a run with another input. */
export class RunInUseError extends HoldfastError {
  readonly runId: string;

  constructor(runId: string, message: string, options?: HoldfastErrorOptions) {
    super("RUN_IN_USE", message, options);
    this.runId = runId;
  }
  protected override get className(): string {
    return "RunInUseError";
  }
}

/** Who holds a lease, in words. `owner` is as the engine named itself: place, process, id. */
export function holderName(owner: string): string {
  try {
    const [place, pid] = JSON.parse(owner) as [string, number];
    return `process ${pid} on ${place.split("/")[0]}`;
  } catch {
    // A name that another version has given itself is shown as it is.
    return owner;
  }
}

/** The error for a run that a living executor has. */
export function runHeldError(runId: string, owner: string, retryAfterMs: number): RunInUseError {
  return new RunInUseError(
    runId,
    `Run "${runId}" is being carried out by ${holderName(owner)}. Wait for it to end, or choose another run id.`,
    {
      retryAfterMs,
    },
  );
}

/** Nothing is stored under that id. */
export class NotFoundError extends HoldfastError {
  constructor(what: string) {
    super("NOT_FOUND", what);
  }
  protected override get className(): string {
    return "NotFoundError";
  }
}

/**
 * A lease has run out. Of a run: another executor holds it now, and what this one wrote after that was refused and
 * changed nothing. Of a lock: another process may hold it now.
 */
export class LeaseLostError extends HoldfastError {
  /** The run, where the lease was that of one. */
  readonly runId: string | undefined;
  /** The lock, where the lease was that of one. */
  readonly lockName: string | undefined;
  readonly token: number;

  constructor(runId: string | undefined, token: number, lock?: { name: string; why: string }) {
    super(
      "LEASE_LOST",
      lock === undefined
        ? `The lease on run "${runId}" (fencing token ${token}) was taken over by another executor. Nothing of this write was stored; that executor carries the run on.`
        : `The lease on lock "${lock.name}" (fencing token ${token}) is lost: ${lock.why}. Another process may hold the lock now. Stop, and let whatever you write to refuse an older token.`,
    );
    this.runId = runId;
    this.lockName = lock?.name;
    this.token = token;
  }
  protected override get className(): string {
    return "LeaseLostError";
  }
}

/** A value cannot be stored so that it comes back the same. `path` says where in the value. */
export class UnserializableValueError extends HoldfastError {
  readonly path: string;

  constructor(path: string, why: string) {
    super("UNSERIALIZABLE_VALUE", `${path.charAt(0).toUpperCase()}${path.slice(1)} cannot be stored: ${why}`);
    this.path = path;
  }
  protected override get className(): string {
    return "UnserializableValueError";
  }
}

/** One thing in which a value does not fit a schema. `path` leads to it from the value itself, whose path is empty. */
export interface SchemaIssue {
  readonly path: string;
  readonly message: string;
}

/** The store cannot be reached or refuses to write. What was acknowledged before stays. */
export class StoreUnavailableError extends HoldfastError {
  constructor(message: string, cause?: unknown) {
    super("STORE_UNAVAILABLE", message, { cause });
  }
  protected override get className(): string {
    return "StoreUnavailableError";
  }
}

/** The error for an append at another version than the journal has: two writers under one token, or a journal that was cut. */
export function versionConflictError(runId: string, expected: number, found: number): StoreUnavailableError {
  return new StoreUnavailableError(
    `Run "${runId}" has ${found} records where ${expected} were expected. Nothing was stored; run it again to read it anew.`,
  );
}

/** What is stored is damaged, or is not a Holdfast store at all. Damaged records are never returned. */
export class StoreCorruptError extends HoldfastError {
  constructor(message: string, cause?: unknown) {
    super("STORE_CORRUPT", message, { cause });
  }
  protected override get className(): string {
    return "StoreCorruptError";
  }
}

/** Codes of errors that no retry repeats: trying again cannot help, or an inner retry has already tried. */
const FINAL_CODES: ReadonlySet<unknown> = new Set([
  "CONFIG",
  "RETRY_EXHAUSTED",
  "WORKFLOW_DEFINITION",
  "VERSION_MISMATCH",
  "UNSERIALIZABLE_VALUE",
  "SCHEMA_MISMATCH",
  "HTTP_BODY_TOO_LARGE",
  "TRANSFORM",
  "LEASE_LOST",
  "BUDGET_EXCEEDED",
]);

/** How many links of a cause chain are looked at. Longer chains are cut, and a chain may be a ring. */
const CAUSE_DEPTH = 8;

/** Whether the operation was not called (C0.8). By code, so that two copies of the package agree. */
export function isRefusal(error: unknown): error is RefusedError {
  return error instanceof RefusedError || REFUSAL_CODES.has(codeOf(error));
}

const REFUSAL_CODES: ReadonlySet<unknown> = new Set([
  "CIRCUIT_OPEN",
  "BULKHEAD_FULL",
  "OVERLOAD_SHED",
  "RATE_LIMITED",
  "CONTENTION",
  "BUDGET_EXCEEDED",
]);

/** Whether an error, or one that it was caused by, says that a retry must not repeat it (C0.8). */
export function isFinal(error: unknown): boolean {
  return causesOf(error).some((link) => {
    const code = codeOf(link);
    return FINAL_CODES.has(code) || (code === "HTTP_STATUS" && !isPassingStatus(fieldOf(link, "status")));
  });
}

/**
 * Whether the same HTTP request may well be answered otherwise later. What is not implemented (501) and a version of
 * HTTP that is not spoken (505) stay so.
 */
export function isPassingStatus(status: unknown): boolean {
  return PASSING_STATUSES.has(status) || (Number(status) >= 500 && status !== 501 && status !== 505);
}

/** Of those below 500: timed out, too early, too many requests. */
const PASSING_STATUSES: ReadonlySet<unknown> = new Set([408, 425, 429]);

/** The error and what caused it, outermost first. */
export function causesOf(error: unknown): unknown[] {
  const chain: unknown[] = [];
  let link = error;
  while (link !== undefined && link !== null && chain.length < CAUSE_DEPTH && !chain.includes(link)) {
    chain.push(link);
    link = fieldOf(link, "cause");
  }
  return chain;
}

/** The `code` of an error where it is a string. */
export function codeOf(error: unknown): string | undefined {
  const code = fieldOf(error, "code");
  return typeof code === "string" ? code : undefined;
}

/** A property of any thrown value, or undefined where it has none. An error whose getter throws must not hide itself. */
export function fieldOf(error: unknown, key: string): unknown {
  if (typeof error !== "object") return undefined;
  try {
    // Of null this throws, like a getter.
    return (error as Record<string, unknown>)[key];
  } catch {
    return undefined;
  }
}

/** A sentence for any thrown value, also for one that is no Error or whose getters throw. */
export function messageOf(error: unknown): string {
  try {
    if (error instanceof Error) return String(error.message === "" ? error.name : error.message);
    return String(error);
  } catch {
    return "a value that cannot be printed";
  }
}

/** An error as it is stored: plain data, never revived into a class. */
export interface StoredError {
  name: string;
  message: string;
  code?: string;
  status?: number;
  /** Of a value that did not fit its schema: the first hundred. */
  issues?: readonly SchemaIssue[];
  stack?: string;
  cause?: StoredError;
}

const STORED_ISSUES = 100;
const STORED_ISSUE_LENGTH = 1000;

/** The stored form of any thrown value, with its cause chain. Other properties, such as requests and headers, stay out. */
export function storedError(error: unknown, depth: number = CAUSE_DEPTH): StoredError {
  if (typeof error !== "object" || error === null) return { name: typeof error, message: messageOf(error) };
  const [name, message, status, stack, cause] = ["name", "message", "status", "stack", "cause"].map((key) =>
    fieldOf(error, key),
  );
  const code = codeOf(error);
  return {
    name: typeof name === "string" ? name : "Error",
    message: error instanceof Error && typeof message === "string" ? message : messageOf(error),
    ...(code !== undefined && { code }),
    ...(typeof status === "number" && { status }),
    ...(code === "SCHEMA_MISMATCH" && { issues: issuesOf(error) }),
    ...(typeof stack === "string" && { stack }),
    ...(cause !== undefined && cause !== null && depth > 1 && { cause: storedError(cause, depth - 1) }),
  };
}

/** As texts of bounded length, since an error of that code may come from anywhere. */
function issuesOf(error: unknown): SchemaIssue[] {
  const issues = fieldOf(error, "issues");
  const textOf = (issue: unknown, key: string): string => {
    const text = fieldOf(issue, key);
    return typeof text === "string" ? text.slice(0, STORED_ISSUE_LENGTH) : "";
  };
  const stored = Array.isArray(issues) ? issues.slice(0, STORED_ISSUES) : [];
  return stored.map((issue) => ({ path: textOf(issue, "path"), message: textOf(issue, "message") }));
}

/** A plain `Error` that shows what a stored one said: the name, message, stack and causes it had. */
export function revivedError(stored: StoredError): Error {
  const error = new Error(
    stored.message,
    stored.cause === undefined ? undefined : { cause: revivedError(stored.cause) },
  );
  error.name = stored.name;
  if (stored.stack !== undefined) error.stack = stored.stack;
  return Object.assign(
    error,
    stored.code !== undefined && { code: stored.code },
    stored.status !== undefined && { status: stored.status },
    stored.issues !== undefined && { issues: stored.issues },
  );
}
