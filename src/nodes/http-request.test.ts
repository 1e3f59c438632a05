import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, expectTypeOf, test } from "vitest";
import type { HoldfastError } from "../core/errors.ts";
import type { NodeContext, NodeFunction } from "../core/node.ts";
import { CircuitBreaker } from "../policies/circuit-breaker.ts";
import { RetryPolicy } from "../policies/retry.ts";
import { fakeRuntime } from "../testing/fake-clock.ts";
import { httpRequest, type HttpRequestOptions } from "./http-request.ts";
import { type HttpBodies, type HttpResponse, HttpStatusError } from "./http-response.ts";

type Options = HttpRequestOptions<unknown, keyof HttpBodies>;

interface Seen {
  method: string;
  url: string;
  headers: IncomingMessage["headers"];
  body: string;
}

type Answer = (response: ServerResponse, request: Seen, count: number) => void;

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

/** A server on this machine, its address, and the requests that it has got, with their bodies. */
async function serve(answer: Answer): Promise<{ url: string; seen: Seen[]; stop: () => Promise<void> }> {
  const seen: Seen[] = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request.setEncoding("utf8")) body += chunk as string;
    const { method = "", url = "", headers } = request;
    seen.push({ method, url, headers, body });
    answer(response, seen.at(-1)!, seen.length);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const stop = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  stops.push(stop);
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen, stop };
}

const ok: Answer = (response) => response.end("ok");

const says =
  (body: string | Uint8Array, type?: string, status = 200): Answer =>
  (response) =>
    response.writeHead(status, type === undefined ? {} : { "content-type": type }).end(body);

const KEY = "k".repeat(64);

function run<In, Out>(node: NodeFunction<In, Out>, input: In, signal = new AbortController().signal): Promise<Out> {
  return Promise.resolve(node(input, { runId: "r-1", attempt: 1, idempotencyKey: KEY, signal } as NodeContext));
}

const errorOf = (call: Promise<unknown>): Promise<HoldfastError> =>
  call.then(
    () => Promise.reject(new Error("It did not fail.")),
    (error: unknown) => error as HoldfastError,
  );

/** How many calls a retry of three attempts makes, and what it ends with. */
async function retried(node: NodeFunction<unknown>): Promise<{ calls: number; error: unknown; value: unknown }> {
  let calls = 0;
  const retry = new RetryPolicy({ maxAttempts: 3, strategy: "immediate" });
  try {
    const value = await retry.execute(() => (calls++, run(node, undefined)));
    return { calls, error: undefined, value };
  } catch (thrown) {
    const { lastError } = thrown as { lastError?: unknown };
    return { calls, error: lastError ?? thrown, value: undefined };
  }
}

describe("a request", () => {
  test("is sent as it is described, and its answer comes as plain data (C5.2)", async () => {
    const { url, seen } = await serve((response) =>
      response
        .writeHead(201, { "content-type": "application/json", "x-id": "7", "set-cookie": ["a=1", "b=2"] })
        .end('{"id": 7}'),
    );
    const answer = await run(
      httpRequest({
        url: `${url}/orders?from=web`,
        method: "put",
        headers: { "X-Team": "mail", "X-None": undefined },
        query: { page: 2, tag: ["a b", "c&d"], all: true, none: undefined },
        json: { name: "Ada" },
      }),
      undefined,
    );
    expect(seen).toMatchObject([
      {
        method: "PUT",
        url: "/orders?from=web&page=2&tag=a+b&tag=c%26d&all=true",
        headers: { "x-team": "mail", "content-type": "application/json" },
        body: '{"name":"Ada"}',
      },
    ]);
    expect(seen[0]!.headers).not.toHaveProperty("x-none");
    expect(answer).toMatchObject({ status: 201, headers: { "x-id": "7", "set-cookie": "a=1, b=2" }, body: { id: 7 } });
    expect(Object.getPrototypeOf(answer.headers)).toBe(Object.prototype);
  });

  test("is made of the input and the context, anew for each attempt (C5.2)", async () => {
    const { url, seen } = await serve((response, _, count) => response.writeHead(count < 3 ? 503 : 200).end());
    let built = 0;
    const node = httpRequest({
      url: (id: number) => new URL(`/orders/${id}`, url),
      method: async () => "PATCH",
      headers: (id, { runId }) => ({ "x-run": `${runId}/${id}`, "content-type": "text/x" }),
      query: (id) => ({ id }),
      body: () => `body ${++built}`,
    });
    await new RetryPolicy({ strategy: "immediate" }).execute(() => run(node, 7));
    expect(seen.map(({ body }) => body)).toEqual(["body 1", "body 2", "body 3"]);
    expect(seen[2]).toMatchObject({
      method: "PATCH",
      url: "/orders/7?id=7",
      headers: { "x-run": "r-1/7", "content-type": "text/x", "idempotency-key": KEY },
    });
  });

  test("is a GET without a body and a POST with one, unless told otherwise (C5.2)", async () => {
    const { url, seen } = await serve(ok);
    await run(httpRequest({ url }), undefined);
    await run(httpRequest({ url, body: "text" }), undefined);
    await run(httpRequest({ url, json: () => null }), undefined);
    await run(httpRequest({ url, json: () => undefined }), undefined);
    expect(seen.map(({ method, body }) => `${method} ${body}`)).toEqual(["GET ", "POST text", "POST null", "GET "]);
  });

  test("sends bytes, forms and streams as they are (C5.2)", async () => {
    const { url, seen } = await serve(ok);
    const bytes = new TextEncoder().encode("bytes");
    const bodies: Options["body"][] = [bytes, bytes.buffer, new Blob([bytes]), () => new Blob([bytes]).stream()];
    for (const body of bodies) await run(httpRequest({ url, body }), undefined);
    await run(httpRequest({ url, body: new URLSearchParams({ a: "1 2" }) }), undefined);
    expect(seen.map(({ body }) => body)).toEqual(["bytes", "bytes", "bytes", "bytes", "a=1+2"]);
  });

  test.each([
    ["POST", undefined, "idempotency-key", KEY],
    ["PUT", undefined, "idempotency-key", KEY],
    ["PATCH", undefined, "idempotency-key", KEY],
    ["DELETE", undefined, "idempotency-key", KEY],
    ["GET", undefined, "idempotency-key", undefined],
    ["HEAD", undefined, "idempotency-key", undefined],
    ["OPTIONS", undefined, "idempotency-key", undefined],
    ["POST", "X-Request-Id", "x-request-id", KEY],
    ["POST", "X-Request-Id", "idempotency-key", undefined],
    ["POST", false, "idempotency-key", undefined],
  ] as const)(
    "with %s and idempotencyHeader %s sends %s: %s (C6.1)",
    async (method, idempotencyHeader, name, value) => {
      const { url, seen } = await serve(ok);
      await run(httpRequest({ url, method, idempotencyHeader }), undefined);
      expect(seen[0]!.headers[name]).toBe(value);
    },
  );

  test("leaves an idempotency key that its headers have (C6.1)", async () => {
    const { url, seen } = await serve(ok);
    await run(httpRequest({ url, method: "POST", headers: { "idempotency-KEY": "mine" } }), undefined);
    expect(seen[0]!.headers["idempotency-key"]).toBe("mine");
  });

  test("follows redirects as fetch does (C5.2)", async () => {
    const { url } = await serve((response, request) =>
      request.url === "/new" ? response.end("here") : response.writeHead(307, { location: "/new" }).end(),
    );
    expect((await run(httpRequest({ url }), undefined)).status).toBe(200);
  });

  test("goes through the fetch that is given, or the global one of that moment (C5.2)", async () => {
    const sent: string[] = [];
    const node = httpRequest({ url: "http://nowhere.invalid/" });
    const own = httpRequest({
      url: "http://nowhere.invalid/own",
      fetch: async (url) => (sent.push(url), Response.json(1)),
    });
    const original = globalThis.fetch;
    try {
      globalThis.fetch = async (url) => (sent.push(String(url)), Response.json(2));
      expect((await run(node, undefined)).body).toBe(2);
      expect((await run(own, undefined)).body).toBe(1);
    } finally {
      globalThis.fetch = original;
    }
    expect(sent).toEqual(["http://nowhere.invalid/", "http://nowhere.invalid/own"]);
  });

  test("has the types of its input and of the body that is asked for (C5.1)", () => {
    interface Mail {
      id: string;
    }
    const url = (mail: Mail): string => mail.id;
    expectTypeOf(httpRequest({ url: "http://x" })).toEqualTypeOf<NodeFunction<unknown, HttpResponse>>();
    const text = httpRequest({ url, response: "text", headers: (mail) => ({ a: mail.id }) });
    expectTypeOf(text).toEqualTypeOf<NodeFunction<Mail, HttpResponse<string>>>();
    expectTypeOf(httpRequest({ url, response: "bytes" })).returns.toEqualTypeOf<
      HttpResponse<Uint8Array> | PromiseLike<HttpResponse<Uint8Array>>
    >();
    const mail = httpRequest<Mail, "json", Mail>({ url, response: "json" });
    expectTypeOf(mail).toEqualTypeOf<NodeFunction<Mail, HttpResponse<Mail>>>();
    void (() => {
      // @ts-expect-error the body is a text
      httpRequest<Mail, "text", number>({ url, response: "text" });
      // @ts-expect-error both take the same input
      httpRequest({ url, json: (order: { price: number }) => order });
    });
  });
});

describe("the body of an answer", () => {
  const latin = Uint8Array.of(0x63, 0x61, 0x66, 0xe9);
  const bom = Uint8Array.of(0xef, 0xbb, 0xbf, 0x31);
  test.each<[keyof HttpBodies, string | undefined, string | Uint8Array, unknown]>([
    ["json", undefined, '{"a": [1]}', { a: [1] }],
    ["json", "application/json", bom, 1],
    ["text", "application/json", "1", "1"],
    ["text", "text/plain; charset=ISO-8859-1", latin, "café"],
    ["text", 'text/plain; charset="iso-8859-1"; x=1', latin, "café"],
    ["text", "text/plain; charset=klingon", "é", "é"],
    ["text", undefined, "", ""],
    ["bytes", "text/plain", "ab", Uint8Array.of(97, 98)],
    ["auto", "application/json; charset=utf-8", "[1]", [1]],
    ["auto", "application/problem+json", "[1]", [1]],
    ["auto", "text/html", "<p>", "<p>"],
    ["auto", "image/svg+xml", "<svg/>", "<svg/>"],
    ["auto", "application/xml", "<a/>", "<a/>"],
    ["auto", "application/octet-stream", "ab", Uint8Array.of(97, 98)],
    ["auto", undefined, "ab", Uint8Array.of(97, 98)],
    ["auto", "application/json", "", undefined],
  ])("as %s with content type %s is %o read as %o (C5.2)", async (response, type, body, expected) => {
    const { url } = await serve(says(body, type));
    expect((await run(httpRequest({ url, response }), undefined)).body).toEqual(expected);
  });

  test.each<[string, Answer, string]>([
    [
      "a page of a proxy",
      says("<html>\n  Bad day</html>", "text/html"),
      'status 200 and text/html, where JSON was expected: "<html> Bad day</html>"',
    ],
    ["nothing", says(""), "status 200 and no content type, where JSON was expected: the body is empty"],
    [
      "JSON that was cut",
      says('{"a": 1', "application/json"),
      'status 200 and application/json, where JSON was expected: "{"a": 1"',
    ],
  ])("that is %s instead of JSON is an error that may pass (C5.2)", async (_, answer, said) => {
    const { url, seen } = await serve((...args) => (args[2] < 3 ? answer(...args) : says("3")(...args)));
    const node = httpRequest({ url: `${url}/a?key=secret`, response: "json" });
    const error = await errorOf(run(node, undefined));
    expect(error).toMatchObject({ code: "HTTP_BODY_NOT_JSON" });
    expect(error.message).toContain(`GET ${url}/a was answered with ${said}. `);
    expect(error.cause).toBeUndefined();
    expect((await retried(node)).value).toMatchObject({ body: 3 });
    expect(seen).toHaveLength(3);
  });

  test("that is longer than maxBytes is cut off, and is not asked for again (C5.2)", async () => {
    let cut = 0;
    const { url, seen } = await serve((response) => {
      response.on("close", () => cut++);
      const more = (): void => {
        while (!response.destroyed && response.write("x".repeat(1024)));
        response.once("drain", more);
      };
      more();
    });
    const { calls, error } = await retried(httpRequest({ url, maxBytes: 10_000 }));
    expect(calls).toBe(1);
    expect(error).toMatchObject({ code: "HTTP_BODY_TOO_LARGE" });
    expect((error as Error).message).toContain(`GET ${url}/ was answered with more than the 10000 bytes`);
    await expect.poll(() => cut).toBe(seen.length);
  });

  test("may have just maxBytes (C5.2)", async () => {
    const { url } = await serve(says("12345"));
    expect((await run(httpRequest({ url, maxBytes: 5, response: "text" }), undefined)).body).toBe("12345");
    expect(await errorOf(run(httpRequest({ url, maxBytes: 4 }), undefined))).toMatchObject({
      code: "HTTP_BODY_TOO_LARGE",
    });
  });
});

describe("a status that is no success", () => {
  test.each([408, 425, 429, 500, 502, 503, 504, 529])(
    "%i may pass: it is retried and counts (C1.4)",
    async (status) => {
      const { url, seen } = await serve(says("", undefined, status));
      const node = httpRequest({ url });
      expect(await retried(node)).toMatchObject({ calls: 3, error: { code: "HTTP_STATUS", status } });
      expect(seen).toHaveLength(3);
      const breaker = new CircuitBreaker({ failureThreshold: 1 });
      await breaker.execute(() => run(node, undefined)).catch(() => {});
      expect(breaker.state).toBe("OPEN");
    },
  );

  test.each([304, 400, 401, 403, 404, 409, 410, 422, 501, 505])(
    "%i is final: it is not retried and counts at no breaker (C0.8)",
    async (status) => {
      const { url, seen } = await serve(says("", undefined, status));
      const node = httpRequest({ url });
      expect(await retried(node)).toMatchObject({ calls: 1, error: { code: "HTTP_STATUS", status } });
      expect(seen).toHaveLength(1);
      const breaker = new CircuitBreaker({ failureThreshold: 1 });
      await breaker.execute(() => run(node, undefined)).catch(() => {});
      expect(breaker.state).toBe("CLOSED");
    },
  );

  test("is what okStatus says (C5.2)", async () => {
    const { url } = await serve(says("no such order", "text/plain", 404));
    expect(await run(httpRequest({ url, okStatus: [200, 404] }), undefined)).toMatchObject({
      status: 404,
      body: "no such order",
    });
    expect((await run(httpRequest({ url, okStatus: (status) => status < 500 }), undefined)).status).toBe(404);
    expect(await errorOf(run(httpRequest({ url, okStatus: [200] }), undefined))).toMatchObject({ status: 404 });
  });

  test("is an error that says what was asked and answered, without query, credentials or headers (C0.5)", async () => {
    const { url } = await serve((response) =>
      response.writeHead(403, { "content-type": "text/plain", "x-secret": "s3cret" }).end("You may\r\n\tnot.\u0000"),
    );
    const node = httpRequest({
      url: `${url}/orders?key=s3cret#s3cret`,
      method: "DELETE",
      headers: { authorization: "Bearer s3cret" },
      query: { token: "s3cret" },
    });
    const error = await errorOf(run(node, undefined));
    expect(error).toBeInstanceOf(HttpStatusError);
    expect(error.name).toBe("HttpStatusError");
    expect(error).toMatchObject({ method: "DELETE", url: `${url}/orders`, status: 403, excerpt: "You may not." });
    expect(error.message).toBe(
      `DELETE ${url}/orders was answered with status 403, "You may not.". No retry repeats it: mend the request, or let okStatus accept the status.`,
    );
    expect(JSON.stringify({ ...error, stack: error.stack })).not.toContain("s3cret");
  });

  test("shows the beginning of a long body and lets go of the rest (C5.2)", async () => {
    let cut = 0;
    const { url } = await serve((response) => {
      response.on("close", () => cut++);
      response.writeHead(500, { "content-type": "text/plain" });
      const more = (): void => {
        while (!response.destroyed && response.write("x".repeat(1024)));
        response.once("drain", more);
      };
      more();
    });
    const error = (await errorOf(run(httpRequest({ url }), undefined))) as HttpStatusError;
    expect(error.excerpt).toBe(`${"x".repeat(297)}...`);
    await expect.poll(() => cut).toBe(1);
  });

  test("shows nothing of a body that is no text, or that does not come (C0.5)", async () => {
    const { url } = await serve((response, request) => {
      if (request.url === "/bytes") says("bytes", "image/png", 500)(response, request, 1);
      else response.writeHead(500, { "content-length": "9" }).write("x", () => response.destroy());
    });
    for (const path of ["/bytes", "/cut"])
      expect(await errorOf(run(httpRequest({ url: url + path }), undefined))).toMatchObject({
        status: 500,
        excerpt: "",
      });
  });

  test.each([
    ["5", 5_000],
    ["Thu, 01 Jan 2026 00:01:00 GMT", 60_000],
    ["soon", undefined],
  ])("asks with Retry-After: %s for %s ms (C1.5)", async (value, retryAfterMs) => {
    const { url } = await serve((response) => response.writeHead(429, { "retry-after": value }).end());
    // Its wall time is 2026-01-01T00:00:00Z.
    const error = await errorOf(run(httpRequest({ url }, fakeRuntime()), undefined));
    expect(error.retryAfterMs).toBe(retryAfterMs);
    if (retryAfterMs !== undefined) expect(error.message).toContain(`in ${retryAfterMs} ms: let a retry repeat it`);
  });

  test("is repeated after the wait that the server asks for (C1.5)", async () => {
    const { url } = await serve((response, _, count) =>
      count === 1 ? response.writeHead(503, { "retry-after-ms": "12" }).end() : response.end(),
    );
    const waits: number[] = [];
    const retry = new RetryPolicy({ strategy: "immediate", onRetry: ({ delayMs }) => waits.push(delayMs) });
    await retry.execute(() => run(httpRequest({ url }), undefined));
    expect(waits).toEqual([12]);
  });
});

describe("an error of the network", () => {
  test("passes as fetch throws it, and is retried: nobody listens (C0.5)", async () => {
    const { url, stop } = await serve(ok);
    await stop();
    const { calls, error } = await retried(httpRequest({ url }));
    expect(calls).toBe(3);
    expect(error).toBeInstanceOf(TypeError);
    expect(error).toMatchObject({ cause: { code: "ECONNREFUSED" } });
  });

  test("passes as fetch throws it, and is retried: the connection ends before the answer (C0.5)", async () => {
    const { url, seen } = await serve((response) => response.destroy());
    const { error } = await retried(httpRequest({ url, method: "POST" }));
    expect(seen).toHaveLength(3);
    expect(error).toBeInstanceOf(TypeError);
  });

  test("passes as fetch throws it, and is retried: the connection ends within the answer (C0.5)", async () => {
    const { url, seen } = await serve((response, _, count) => {
      if (count > 1) return response.end("whole");
      response.writeHead(200, { "content-type": "text/plain", "content-length": "100" });
      response.write("half", () => response.destroy());
    });
    expect((await retried(httpRequest({ url, response: "text" }))).value).toMatchObject({ body: "whole" });
    expect(seen).toHaveLength(2);
  });
});

describe("a request that is cancelled", () => {
  const reason = new Error("the run is cancelled");

  test.each<[string, Answer]>([
    ["before the answer", () => {}],
    ["within the answer", (response) => void response.writeHead(200).write("half")],
  ])("%s ends at once with the reason, and hangs up (C1.6)", async (_, answer) => {
    const caller = new AbortController();
    let closed = 0;
    const { url } = await serve((response, request, count) => {
      response.on("close", () => closed++);
      answer(response, request, count);
      setImmediate(() => caller.abort(reason));
    });
    expect(await errorOf(run(httpRequest({ url }), undefined, caller.signal))).toBe(reason);
    await expect.poll(() => closed).toBe(1);
  });

  test("before it begins is not sent (C1.6)", async () => {
    const { url, seen } = await serve(ok);
    expect(await errorOf(run(httpRequest({ url }), undefined, AbortSignal.abort(reason)))).toBe(reason);
    expect(seen).toEqual([]);
  });
});

describe("what cannot be sent", () => {
  const url = "http://127.0.0.1/";
  test.each<[string, object, string]>([
    ["no URL", {}, "httpRequest.url is missing"],
    ["an empty URL", { url: "" }, "httpRequest.url must be"],
    ["an unknown option", { url, retries: 3 }, 'httpRequest has no option "retries"'],
    ["two bodies", { url, body: "a", json: 1 }, "httpRequest got body and json"],
    ["an object as body", { url, body: { a: 1 } }, "for an object there is json"],
    ["a stream that can be sent once", { url, body: new Blob([]).stream() }, "a stream comes from a function"],
    ["a list of headers", { url, headers: [["a", "b"]] }, "httpRequest.headers must be a plain record"],
    ["an unknown kind of body", { url, response: "xml" }, "httpRequest.response must be one of"],
    ["a status that is none", { url, okStatus: [20] }, "httpRequest.okStatus must be an array of statuses"],
    ["half a byte", { url, maxBytes: 0.5 }, "httpRequest.maxBytes must be"],
    ["a header with a blank", { url, idempotencyHeader: "a b" }, "httpRequest.idempotencyHeader must be"],
    ["a fetch that is none", { url, fetch: "undici" }, "httpRequest.fetch must be a function"],
  ])("is refused when the node is made: %s (C0.3)", (_, options, said) => {
    expect(() => httpRequest(options as Options)).toThrow(
      expect.objectContaining({ code: "CONFIG", message: expect.stringContaining(said) as string }),
    );
  });

  test.each<[string, Partial<Options>, string]>([
    ["a path", { url: () => "/orders?key=s3cret" }, 'must be an absolute URL, got "/orders"'],
    ["a URL that is none", { url: () => "http://u:s3cret@host:port/" }, 'must be an absolute URL, got "//host:port/"'],
    ["a file", { url: () => "file:///etc/s3cret" }, 'must be of http or https, got "file:"'],
    ["a password in the URL", { url: () => "http://u:s3cret@h.invalid/" }, 'give h.invalid a header "authorization"'],
    ["a line break in a header", { headers: { authorization: "s3cret\nx: y" } }, 'headers has "authorization"'],
    ["a header with a blank", { headers: () => ({ "a b": "s3cret" }) }, 'headers has "a b"'],
    [
      "a method that is none",
      { method: () => "GET /" },
      'httpRequest.method must be a method that fetch sends, got "GET /"',
    ],
    ["a method that fetch does not send", { method: "trace" }, 'got "trace"'],
    ["a body with GET", { method: "GET", body: "s3cret" }, "has a body, which GET cannot carry"],
    ["a body that is an object", { body: (() => ({})) as never }, "httpRequest.body must give"],
    ["a bigint", { json: () => ({ n: 1n }) }, "httpRequest.json cannot be written as JSON: "],
  ])("is not sent, not retried, and its secrets stay out of the error: %s (C0.8)", async (_, options, said) => {
    let sent = 0;
    const fetch = async (): Promise<Response> => (sent++, new Response());
    const { calls, error } = await retried(httpRequest({ url, fetch, ...options }));
    expect(error).toMatchObject({ code: "CONFIG", message: expect.stringContaining(said) as string });
    expect((error as Error).message).not.toContain("s3cret");
    expect((error as Error).cause instanceof Error ? String((error as Error).cause) : "").not.toContain("s3cret");
    expect([calls, sent]).toEqual([1, 0]);
  });
});
