// Asks a service over HTTP that is overloaded at first, and sends a letter about its answer through another one. The
// services run inside the example, so that no network is needed, and it prints the same each time: `expected.txt`.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { httpRequest, MemoryStore, transform, Workflow } from "holdfast";
import { z } from "zod";

const requests: string[] = [];
let busy = 2;
const server = createServer((request, response) => {
  requests.push(`${request.method} ${request.url}`);
  if (busy-- > 0) response.writeHead(503, { "retry-after-ms": "5" }).end("too many people ask");
  else {
    const answer = request.method === "POST" ? { id: 17 } : request.url?.endsWith("Oslo") ? { celsius: -4 } : {};
    response.setHeader("content-type", "application/json").end(JSON.stringify(answer));
  }
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

const Question = z.object({ city: z.string().default("Oslo") });
const Weather = z.object({ body: z.object({ celsius: z.number() }) });

const report = new Workflow({ id: "report", input: Question })
  .addNode(
    "weather",
    httpRequest({ url: `${url}/weather`, query: ({ city }: { city: string }) => ({ city }), response: "json" }),
    { output: Weather, retry: { maxAttempts: 5, initialDelayMs: 10 }, timeout: { attemptTimeoutMs: 5000 } },
  )
  .addNode(
    "word",
    transform(({ body }: z.infer<typeof Weather>) => ({ text: `It has ${body.celsius} degrees.` })),
  )
  // The request carries the idempotency key of its node, so that a repeated one sends nothing twice.
  .addNode("send", httpRequest({ url: `${url}/letters`, json: (letter: { text: string }) => letter }))
  .connect("weather", "word")
  .connect("word", "send");

const store = new MemoryStore();
const { status, body } = await report.execute({}, { store });
console.log("answer:", status, body);
console.log(requests.splice(0).join("\n"));

// An answer without a temperature fails at once: it would be the same the next time. What is wrong is kept.
await report
  .execute({ city: "Atlantis" }, { store, runId: "atlantis" })
  .catch((error: Error) => console.log(`\n${error.message}`));
console.log(requests.join("\n"));
for (const { nodeId, errorDetail } of await store.deadLetters({})) console.log(nodeId, errorDetail.issues);

server.close();
