// Asks two services over HTTP, one of which is overloaded at first, and puts the answers together. Prints the same
// each time; `expected.txt` holds it. The services run inside the example, so that no network is needed.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { httpRequest, MemoryStore, transform, Workflow } from "holdfast";

const requests: string[] = [];
const server = createServer((request, response) => {
  requests.push(`${request.method} ${request.url}`);
  const isBusy = request.url === "/weather?city=Oslo" && requests.length < 3;
  if (isBusy) response.writeHead(503, { "retry-after-ms": "5" }).end("too many people ask");
  else
    response
      .setHeader("content-type", "application/json")
      .end(JSON.stringify(request.method === "GET" ? { celsius: -4 } : { id: 17 }));
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

interface Question {
  city: string;
}

const report = new Workflow({ id: "report" })
  .addNode(
    "weather",
    httpRequest<Question, "json">({ url: `${url}/weather`, query: ({ city }) => ({ city }), response: "json" }),
    { retry: { maxAttempts: 5, initialDelayMs: 10 }, timeout: { attemptTimeoutMs: 5000 } },
  )
  .addNode(
    "word",
    transform({ text: ({ body }: { body: unknown }) => `It has ${(body as { celsius: number }).celsius} degrees.` }),
  )
  // The request carries the idempotency key of its node, so that a repeated one sends nothing twice.
  .addNode(
    "send",
    httpRequest<{ text: string }, "json">({ url: `${url}/letters`, json: (letter) => letter, response: "json" }),
  )
  .connect("weather", "word")
  .connect("word", "send");

const { status, body } = await report.execute({ city: "Oslo" }, { store: new MemoryStore() });
console.log("answer:", status, body);
console.log(requests.join("\n"));

server.close();
