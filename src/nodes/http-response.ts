import { HoldfastError, isPassingStatus } from "../core/errors.ts";

/** What a server has answered, as the output of a node: plain data that can be stored. */
export interface HttpResponse<Body = unknown> {
  readonly status: number;
  /** By their names in lower case. Where one came several times, its values are joined by a comma. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Body;
}

/** What becomes of a body, and its type then. */
export interface HttpBodies {
  json: unknown;
  text: string;
  bytes: Uint8Array;
  /** JSON or text where the content type says so, else bytes; `undefined` for a body that is empty. */
  auto: unknown;
}

/** How a request is named in an error: without its query and its credentials, which may be secrets. */
export interface RequestName {
  readonly method: string;
  readonly url: string;
}

/** How much of the body of a failure is read, and how much of that an error shows. */
const EXCERPT_BYTES = 4096;
const EXCERPT_LENGTH = 300;

/** The server has answered with a status that is none of those that count as success. */
export class HttpStatusError extends HoldfastError {
  readonly method: string;
  /** Without its query and its credentials. */
  readonly url: string;
  readonly status: number;
  /** The beginning of the body, on one line; empty where it is no text. */
  readonly excerpt: string;

  constructor({ method, url }: RequestName, status: number, excerpt: string, retryAfterMs: number | undefined) {
    const advice = isPassingStatus(status)
      ? `It may be answered otherwise ${retryAfterMs === undefined ? "later" : `in ${Math.ceil(retryAfterMs)} ms`}: let a retry repeat it.`
      : "No retry repeats it: mend the request, or let okStatus accept the status.";
    super(
      "HTTP_STATUS",
      `${method} ${url} was answered with status ${status}${excerpt === "" ? "" : `, "${excerpt}"`}. ${advice}`,
      { retryAfterMs },
    );
    this.method = method;
    this.url = url;
    this.status = status;
    this.excerpt = excerpt;
  }
  protected override get className(): string {
    return "HttpStatusError";
  }
}

/** The error for an answer with a wrong status. Reads a little of its body and lets go of the rest. */
export async function statusError(
  name: RequestName,
  response: Response,
  retryAfterMs: number | undefined,
): Promise<HttpStatusError> {
  let excerpt = "";
  try {
    const { bytes } = await read(response, EXCERPT_BYTES);
    if (kindOf(response) !== "bytes") excerpt = excerptOf(textOf(response, bytes));
  } catch {
    // That the rest of the body did not come must not hide what the status has already said.
  }
  return new HttpStatusError(name, response.status, excerpt, retryAfterMs);
}

/** The body of an answer as `kind` wants it. It is read to its end, or cancelled. */
export async function bodyOf(
  name: RequestName,
  response: Response,
  kind: keyof HttpBodies,
  maxBytes: number,
): Promise<unknown> {
  const { bytes, whole } = await read(response, maxBytes);
  if (!whole) {
    throw new HoldfastError(
      "HTTP_BODY_TOO_LARGE",
      `${name.method} ${name.url} was answered with more than the ${maxBytes} bytes that httpRequest.maxBytes allows; the rest was not read. Ask for less, or raise maxBytes. No retry repeats it.`,
    );
  }
  if (kind === "auto" && bytes.length === 0) return undefined;
  const wanted = kind === "auto" ? kindOf(response) : kind;
  if (wanted === "bytes") return bytes;
  const text = textOf(response, bytes);
  return wanted === "text" ? text : jsonOf(name, response, text);
}

function jsonOf(name: RequestName, response: Response, text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // The parser's own error quotes the body, and says no more than that.
    const excerpt = excerptOf(text);
    const type = response.headers.get("content-type") ?? "no content type";
    throw new HoldfastError(
      "HTTP_BODY_NOT_JSON",
      `${name.method} ${name.url} was answered with status ${response.status} and ${type}, where JSON was expected: ${excerpt === "" ? "the body is empty" : `"${excerpt}"`}. A proxy may have answered in place of the service: let a retry repeat it, or ask for another kind of response.`,
    );
  }
}

/** Up to `limit` bytes of a body, and whether that is all of it. Leaving the loop cancels the rest. */
async function read(response: Response, limit: number): Promise<{ bytes: Uint8Array; whole: boolean }> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > limit) break;
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return { bytes, whole: length <= limit };
}

/** What the content type says that a body is. */
function kindOf({ headers }: Response): "json" | "text" | "bytes" {
  const type = (headers.get("content-type") ?? "").split(";")[0]!.trim().toLowerCase();
  if (/^application\/json$|\+json$/.test(type)) return "json";
  return /^text\/|[/+]xml$|^application\/(?:javascript|x-www-form-urlencoded|x-ndjson)$/.test(type) ? "text" : "bytes";
}

/** The bytes as text, in the encoding that the content type names, or else in UTF-8. */
function textOf({ headers }: Response, bytes: Uint8Array): string {
  const [, charset = "utf-8"] = /;\s*charset="?([^\s;"]+)/i.exec(headers.get("content-type") ?? "") ?? [];
  try {
    return new TextDecoder(charset).decode(bytes);
  } catch {
    // An encoding that nobody knows.
    return new TextDecoder().decode(bytes);
  }
}

function excerptOf(text: string): string {
  const line = text.replace(/[\s\p{Cc}]+/gu, " ").trim();
  return line.length > EXCERPT_LENGTH ? `${line.slice(0, EXCERPT_LENGTH - 3)}...` : line;
}
