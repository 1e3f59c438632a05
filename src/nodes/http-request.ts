import { followAbort, unfollowAbort } from "../core/aborts.ts";
import { ConfigError, messageOf } from "../core/errors.ts";
import type { NodeContext, NodeFunction } from "../core/node.ts";
import {
  aFunction,
  anything,
  checkOptions,
  either,
  oneOf,
  type Rule,
  type Rules,
  show,
  wholeNumber,
} from "../core/options.ts";
import { type Runtime, systemRuntime } from "../core/runtime.ts";
import { waitInHeaders } from "../policies/retry-after.ts";
import { bodyOf, type HttpBodies, type HttpResponse, type RequestName, statusError } from "./http-response.ts";

/** A value, or a function that makes it of the input of the node: anew for each attempt. */
export type FromInput<In, T> = T | ((input: In, context: NodeContext) => T | PromiseLike<T>);

/** What can be sent as it is. */
export type HttpBody =
  string | Uint8Array | ArrayBuffer | Blob | FormData | URLSearchParams | ReadableStream<Uint8Array>;

/** Something that `JSON.stringify` writes. */
export type JsonBody = object | string | number | boolean | null;

/** Parameters of a query; of a list, each item is one. Those that are `undefined` are left out. */
export type HttpQuery = Readonly<Record<string, QueryValue | readonly QueryValue[] | undefined>>;
type QueryValue = string | number | boolean;

export interface HttpRequestOptions<In, Kind extends keyof HttpBodies> {
  /** An absolute URL of http or https. */
  url: FromInput<In, string | URL>;
  /** The method. @default GET, or POST where there is a body */
  method?: FromInput<In, string> | undefined;
  /** Headers. Those that are `undefined` are left out. */
  headers?: FromInput<In, Readonly<Record<string, string | undefined>>> | undefined;
  /** Parameters that are added to the query of the URL. */
  query?: FromInput<In, HttpQuery> | undefined;
  /** What is sent. A stream must come from a function, since each attempt needs one of its own. */
  body?: FromInput<In, HttpBody | undefined> | undefined;
  /** What is sent as JSON, with the content type that says so. Not beside `body`. */
  json?: FromInput<In, JsonBody | undefined> | undefined;
  /** What the body of the answer becomes. `auto` goes by its content type. @default "auto" */
  response?: Kind | undefined;
  /** Which statuses are a success. @default (status) => status >= 200 && status < 300 */
  okStatus?: readonly number[] | ((status: number) => boolean) | undefined;
  /** How long the body of an answer may be. @default 16 * 1024 * 1024 */
  maxBytes?: number | undefined;
  /**
   * The header that carries the idempotency key with methods that change something, unless `headers` has it; `false`
   * sends none. @default "Idempotency-Key"
   */
  idempotencyHeader?: string | false | undefined;
  /** What sends the request, such as a fetch that goes through a proxy. @default the global fetch */
  fetch?: ((url: string, init: RequestInit) => Promise<Response>) | undefined;
}

/** A name of a header or a method (RFC 9110 §5.6.2). */
const TOKEN = /^[!#$%&'*+.^_`|~\w-]+$/;

const nonEmpty: Rule = { says: "a non-empty string", allows: (value) => typeof value === "string" && value !== "" };
const aUrl: Rule = { says: "a URL", allows: (value) => nonEmpty.allows(value) || value instanceof URL };
const record: Rule = {
  says: "a plain record",
  allows: (value) => typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype,
};
const statuses: Rule = {
  says: "an array of statuses from 200 to 599",
  allows: (value) =>
    Array.isArray(value) && value.every((status) => Number.isInteger(status) && status >= 200 && status <= 599),
};
const reusableBody: Rule = {
  says: "a text, bytes, a Blob, FormData or URLSearchParams (a stream comes from a function; for an object there is json)",
  allows: isReusableBody,
};
const headerName: Rule = {
  says: "the name of a header, or false",
  allows: (value) => value === false || (typeof value === "string" && TOKEN.test(value)),
};

const RULES: Rules<HttpRequestOptions<never, keyof HttpBodies>> = {
  url: either(aUrl, aFunction),
  method: either(nonEmpty, aFunction),
  headers: either(record, aFunction),
  query: either(record, aFunction),
  body: either(reusableBody, aFunction),
  json: anything,
  response: oneOf("json", "text", "bytes", "auto"),
  okStatus: either(statuses, aFunction),
  maxBytes: wholeNumber(0, true),
  idempotencyHeader: headerName,
  fetch: aFunction,
};

// Fetch would send any other object as the text "[object Object]".
function isReusableBody(value: unknown): boolean {
  return (
    typeof value === "string" ||
    ArrayBuffer.isView(value) ||
    [ArrayBuffer, Blob, FormData, URLSearchParams].some((type) => value instanceof type)
  );
}

/** Methods that only ask (RFC 9110 §9.2.1), so that it does no harm to send them twice. */
const SAFE_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "QUERY"]);

/** Methods that no fetch sends. */
const FORBIDDEN_METHODS: ReadonlySet<string> = new Set(["CONNECT", "TRACE", "TRACK"]);

/**
 * A node that sends an HTTP request and gives the answer. It goes through the policies of the node like any other:
 * with a retry it repeats what may pass (network errors, 408, 425, 429 and 5xx but 501 and 505), after the wait that
 * the server asks for, and never what would be answered alike. Each attempt is built anew from the input.
 *
 * A request that changes something carries the idempotency key of the invocation, which is the same in each attempt
 * and after a restart, so that a server which knows such keys does it once.
 *
 * Errors name the request without its query and hold no headers. What network errors hold is up to fetch, which
 * throws them as they are.
 */
export function httpRequest<
  In = unknown,
  Kind extends keyof HttpBodies = "auto",
  Body extends HttpBodies[Kind] = HttpBodies[Kind],
>(options: HttpRequestOptions<In, Kind>, runtime: Runtime = systemRuntime): NodeFunction<In, HttpResponse<Body>> {
  const checked = checkOptions<HttpRequestOptions<In, keyof HttpBodies>>("httpRequest", options, RULES);
  if (checked.url === undefined)
    throw new ConfigError("httpRequest.url is missing: it says where to send the request.");
  if (checked.body !== undefined && checked.json !== undefined)
    throw new ConfigError("httpRequest got body and json. Give one of them: a request has one body.");
  const { response: kind = "auto", maxBytes = 16 * 1024 * 1024, fetch: send = globalFetch } = checked;
  const isOk = judgeOf(checked.okStatus);

  return async (input, context) => {
    context.signal.throwIfAborted();
    // Fetch listens to a signal until the garbage is collected, and that of a run lives long.
    const request = new AbortController();
    const abort = (): void => request.abort(context.signal.reason);
    followAbort(context.signal, abort);
    try {
      const { name, url, init } = await requestFor(checked, input, context, request.signal);
      const response = await send(url, init);
      const { status, headers } = response;
      if (!isOk(status)) throw await statusError(name, response, waitInHeaders(headers, runtime.clock));
      const body = (await bodyOf(name, response, kind, maxBytes)) as Body;
      return { status, headers: Object.fromEntries([...headers.keys()].map((key) => [key, headers.get(key)!])), body };
    } finally {
      unfollowAbort(context.signal, abort);
      // Ends what may still be under way, such as the upload to a server that has answered without waiting for it.
      request.abort();
    }
  };
}

// Looked up for each request, so that whoever replaces it later, to record or to fake, is not passed by.
function globalFetch(url: string, init: RequestInit): Promise<Response> {
  return fetch(url, init);
}

function judgeOf(okStatus: HttpRequestOptions<never, "auto">["okStatus"]): (status: number) => boolean {
  if (okStatus === undefined) return (status) => status >= 200 && status < 300;
  return typeof okStatus === "function" ? okStatus : (status) => okStatus.includes(status);
}

interface PreparedRequest {
  name: RequestName;
  url: string;
  init: RequestInit;
}

/** The request of one attempt. What no fetch can send is a `ConfigError`, which is final; fetch would blame the network. */
async function requestFor<In>(
  options: HttpRequestOptions<In, keyof HttpBodies>,
  input: In,
  context: NodeContext,
  signal: AbortSignal,
): Promise<PreparedRequest> {
  const given = <T>(option: FromInput<In, T>): T | PromiseLike<T> =>
    typeof option === "function" ? (option as (input: In, context: NodeContext) => T)(input, context) : option;

  const url = urlOf(await given(options.url), await given<HttpQuery | undefined>(options.query));
  const headers = headersOf(await given<Readonly<Record<string, string | undefined>> | undefined>(options.headers));
  let body = await given(options.body);
  if (body !== undefined && !isReusableBody(body) && !(body instanceof ReadableStream))
    throw new ConfigError(`httpRequest.body must give ${reusableBody.says}, got ${show(body)}.`);
  if (options.json !== undefined) {
    body = jsonText(await given(options.json));
    if (body !== undefined && !headers.has("content-type")) headers.set("content-type", "application/json");
  }
  const method = methodOf((await given(options.method)) ?? (body === undefined ? "GET" : "POST"), body !== undefined);
  const { idempotencyHeader = "Idempotency-Key" } = options;
  if (idempotencyHeader !== false && !SAFE_METHODS.has(method) && !headers.has(idempotencyHeader))
    headers.set(idempotencyHeader, context.idempotencyKey);
  const init: RequestInit = { method, headers, signal };
  if (body !== undefined) init.body = body as NonNullable<RequestInit["body"]>;
  // Without it, fetch refuses a stream.
  if (body instanceof ReadableStream) init.duplex = "half";
  return { name: { method, url: url.origin + url.pathname }, url: url.href, init };
}

function urlOf(given: string | URL, query: HttpQuery | undefined): URL {
  const text = String(given);
  if (!URL.canParse(text))
    throw new ConfigError(`httpRequest.url must be an absolute URL, got ${show(nameless(text))}.`);
  const url = new URL(text);
  if (url.protocol !== "http:" && url.protocol !== "https:")
    throw new ConfigError(`httpRequest.url must be of http or https, got "${url.protocol}".`);
  if (url.username !== "" || url.password !== "")
    throw new ConfigError(
      `httpRequest.url must have no user or password, which fetch does not send: give ${url.host} a header "authorization" instead.`,
    );
  for (const [key, value] of Object.entries(query ?? {}))
    for (const item of Array.isArray(value) ? (value as readonly QueryValue[]) : [value])
      if (item !== undefined) url.searchParams.append(key, String(item));
  return url;
}

/** A text that was to be a URL, without what may be secret in it. */
function nameless(text: string): string {
  return text.replace(/[?#].*/s, "").replace(/^[^/]*\/\/[^/]*@/, "//");
}

// The error of fetch itself would quote the value of the header.
function headersOf(given: Readonly<Record<string, string | undefined>> | undefined): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(given ?? {})) {
    if (value === undefined) continue;
    try {
      headers.set(name, value);
    } catch {
      throw new ConfigError(
        `httpRequest.headers has ${show(name)}, whose name or value cannot be sent. A line break in it is the usual reason.`,
      );
    }
  }
  return headers;
}

function jsonText(value: unknown): string | undefined {
  try {
    return JSON.stringify(value);
  } catch (error) {
    throw new ConfigError(`httpRequest.json cannot be written as JSON: ${messageOf(error)}.`, { cause: error });
  }
}

function methodOf(given: string, hasBody: boolean): string {
  const method = String(given).toUpperCase();
  if (!TOKEN.test(method) || FORBIDDEN_METHODS.has(method))
    throw new ConfigError(`httpRequest.method must be a method that fetch sends, got ${show(given)}.`);
  if (hasBody && (method === "GET" || method === "HEAD"))
    throw new ConfigError(`httpRequest has a body, which ${method} cannot carry. Choose another method, such as POST.`);
  return method;
}
