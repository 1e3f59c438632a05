import { afterEach, describe, expect, test } from "vitest";
import { Account, type RunEnd } from "../examples/mail-triage/account.ts";
import { labelOf, nameOf, readMails, SAMPLE_FILE, sampleOf, split } from "../examples/mail-triage/corpus.ts";
import { faultOf, type FaultPlan } from "../examples/mail-triage/faults.ts";
import { parseLetter } from "../examples/mail-triage/letter.ts";
import { CALM_MAILBOX, Mailbox } from "../examples/mail-triage/mailbox.ts";
import { CALM_MODELS, MODEL_FAULTS, ModelServer } from "../examples/mail-triage/model-server.ts";
import { labelByRules } from "../examples/mail-triage/rules.ts";

describe("the sample", () => {
  const mails = readMails(SAMPLE_FILE);
  const { training, test: toTriage } = split(mails);

  test("has 1 000 mails to learn from and 610 to triage, each with its own name", () => {
    expect([training.length, toTriage.length]).toEqual([1000, 610]);
    expect(new Set(mails.map(nameOf)).size).toBe(1610);
    expect(mails.every(({ text }) => text.length > 0)).toBe(true);
  });

  test("is labelled by the group that a mail lies in", () => {
    expect([...new Set(training.map(({ group }) => group))]).toEqual(["easy-ham-1", "spam-1"]);
    expect(toTriage.filter((mail) => labelOf(mail) === "spam")).toHaveLength(280);
    expect(labelOf({ group: "hard-ham-1" })).toBe("ham");
  });

  test("takes every third and every fifth mail of a corpus", () => {
    const of = (count: number): typeof mails => mails.slice(0, count);
    const sample = sampleOf({ training: of(7), test: of(11) });
    expect(sample).toEqual([0, 3, 6, 0, 5, 10].map((index) => mails[index]));
  });

  test("holds mails that can be read, HTML without its tags", async () => {
    const letter = await parseLetter(
      "From a@b Thu Aug 22 12:36:23 2002\nFrom: A <a@b.example>\nSubject: Hi\nContent-Type: text/html\n\n<style>p{}</style><p>Earn&nbsp;&lt;more&gt;</p>",
    );
    expect(letter).toEqual({ from: "a@b.example", subject: "Hi", text: "a@b.example\nHi\n Earn <more> ", images: 0 });
  });

  test("is labelled better by the rules than by chance", async () => {
    const right = await Promise.all(
      toTriage.map(async (mail) => labelByRules((await parseLetter(mail.text)).text) === labelOf(mail)),
    );
    expect(right.filter(Boolean).length / right.length).toBeGreaterThan(0.7);
  });
});

describe("a plan of faults", () => {
  const plan: FaultPlan<"a" | "b"> = { seed: 1, rate: 0.3, kinds: ["a", "b"], most: 4 };
  const drawn = (of: FaultPlan<"a" | "b">): (string | null)[] =>
    Array.from({ length: 4000 }, (_, key) => faultOf(of, `key ${key}`, 1));

  test("is the same for the same seed, and another for another", () => {
    expect(drawn(plan)).toEqual(drawn({ ...plan }));
    expect(drawn({ ...plan, seed: 2 })).not.toEqual(drawn(plan));
  });

  test("spoils the share of calls that it says, by each kind alike", () => {
    const share = (kind: string): number => drawn(plan).filter((fault) => fault === kind).length / 4000;
    expect(Math.abs(share("a") - 0.15)).toBeLessThan(0.02);
    expect(Math.abs(share("b") - 0.15)).toBeLessThan(0.02);
    expect(new Set(drawn({ ...plan, rate: 0 }))).toEqual(new Set([null]));
  });

  test("draws anew for each call under a key, and lets each key meet a limited number of faults", () => {
    const always = { ...plan, rate: 1 };
    expect([1, 2, 3, 4, 5, 6].map((call) => faultOf(always, "key", call) === null)).toEqual([
      false,
      false,
      false,
      false,
      true,
      true,
    ]);
    const keys = Array.from({ length: 2000 }, (_, key) => [1, 2].map((call) => faultOf(plan, `key ${key}`, call)));
    expect(keys.some(([first, second]) => first === null && second !== null)).toBe(true);
    expect(keys.some(([first, second]) => first !== null && second === null)).toBe(true);
  });
});

const open: { close: () => void }[] = [];
afterEach(() => {
  for (const server of open.splice(0)) server.close();
});

describe("the mailbox", () => {
  const delivery = { mail: "mail/spam-2/1", folder: "spam" };

  async function opened(): Promise<{ mailbox: Mailbox; post: (key: string, body?: unknown) => Promise<number> }> {
    const mailbox = new Mailbox();
    open.push(mailbox);
    const url = await mailbox.listen();
    const post = async (key: string, body: unknown = delivery): Promise<number> => {
      const init = { method: "POST", headers: { "idempotency-key": key }, body: JSON.stringify(body) };
      const response = await fetch(url, init);
      await response.text();
      return response.status;
    };
    return { mailbox, post };
  }

  test("delivers once under one key, however often and at the same time it is asked", async () => {
    const { mailbox, post } = await opened();
    const statuses = await Promise.all(Array.from({ length: 20 }, () => post("k")));
    expect(statuses.filter((status) => status === 201)).toHaveLength(1);
    expect(statuses.filter((status) => status === 200)).toHaveLength(19);
    expect(mailbox.timesDelivered).toEqual(new Map([[delivery.mail, 1]]));
    expect(mailbox.requests).toHaveLength(20);
  });

  test("delivers again under another key, which the ledger shows", async () => {
    const { mailbox, post } = await opened();
    await post("k");
    await post("another");
    expect(mailbox.timesDelivered).toEqual(new Map([[delivery.mail, 2]]));
  });

  test("refuses a key that comes with something else, and a request without one", async () => {
    const { mailbox, post } = await opened();
    await post("k");
    expect(await post("k", { ...delivery, folder: "inbox" })).toBe(422);
    expect(await post("", delivery)).toBe(400);
    expect(await post("k", "no delivery")).toBe(400);
    expect(mailbox.timesDelivered).toEqual(new Map([[delivery.mail, 1]]));
  });

  test("may deliver and break the connection before it says so; asked again it delivers no more", async () => {
    const { mailbox, post } = await opened();
    mailbox.begin({ ...CALM_MAILBOX, faults: { seed: 1, rate: 1, kinds: ["cut"], most: 1 } });
    await expect(post("k")).rejects.toThrow(/fetch failed|terminated/);
    expect(await post("k")).toBe(200);
    expect(mailbox.requests.map(({ outcome }) => outcome)).toEqual(["cut", "known"]);
    expect(mailbox.timesDelivered).toEqual(new Map([[delivery.mail, 1]]));
  });

  test("turns mails away until it is mended", async () => {
    const { mailbox, post } = await opened();
    mailbox.begin({ ...CALM_MAILBOX, refused: new Set([delivery.mail]) });
    expect([await post("k"), await post("k")]).toEqual([507, 507]);
    mailbox.mend();
    expect(await post("k")).toBe(201);
  });
});

describe("the model server", () => {
  interface Said {
    status: number;
    headers: Headers;
    body: Record<string, unknown>;
  }

  async function opened(): Promise<{
    server: ModelServer;
    say: (path: string, body?: unknown, key?: string) => Promise<Said>;
  }> {
    const server = new ModelServer(new Map([["echo", (text: string) => ({ text })]]));
    open.push(server);
    const baseUrl = await server.listen();
    const say = async (path: string, body?: unknown, key?: string): Promise<Said> => {
      const response = await fetch(`${baseUrl}${path}`, {
        method: body === undefined ? "GET" : "POST",
        headers: { authorization: "Bearer any", ...(key !== undefined && { "idempotency-key": key }) },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      return { status: response.status, headers: response.headers, body: (await response.json()) as Said["body"] };
    };
    return { server, say };
  }

  const chat = (content: unknown, model = "echo"): object => ({ model, messages: [{ role: "user", content }] });

  test("answers as an OpenAI client expects, with the tokens that it really took", async () => {
    const { say } = await opened();
    const { status, headers, body } = await say("/chat/completions", chat("Four words, one comma."));
    expect(status).toBe(200);
    expect(body).toMatchObject({
      object: "chat.completion",
      model: "echo",
      choices: [
        {
          index: 0,
          finish_reason: "stop",
          message: { role: "assistant", content: '{"text":"Four words, one comma."}' },
        },
      ],
      usage: { prompt_tokens: 6 },
    });
    const usage = body.usage as Record<string, number>;
    expect(usage.total_tokens).toBe(6 + usage.completion_tokens!);
    expect(headers.get("x-ratelimit-remaining-requests")).toBe(
      String(Number(headers.get("x-ratelimit-limit-requests")) - 1),
    );
  });

  test("takes a text in parts, lists its models, and says what it does not do", async () => {
    const { say } = await opened();
    const parts = await say("/chat/completions", chat([{ type: "text", text: "in parts" }]));
    expect(parts.status).toBe(200);
    expect((await say("/models")).body).toMatchObject({ object: "list", data: [{ id: "echo", object: "model" }] });
    expect((await say("/models/echo")).body).toMatchObject({ id: "echo" });
    const wrong = [
      say("/chat/completions", chat("x", "other")),
      say("/chat/completions", { model: "echo" }),
      say("/nothing"),
    ];
    expect(
      (await Promise.all(wrong)).map(({ status, body }) => [status, (body.error as { code: string }).code]),
    ).toEqual([
      [404, "model_not_found"],
      [400, "invalid_request"],
      [404, "not_found"],
    ]);
  });

  test("spoils calls as its plan says, and keeps a ledger of all", async () => {
    const { server, say } = await opened();
    const kinds = MODEL_FAULTS.filter((kind) => kind !== "slow");
    for (const kind of kinds) {
      server.begin({ ...CALM_MODELS, faults: { seed: 1, rate: 1, kinds: [kind], most: 1 } });
      const call = (): Promise<Said> => say("/chat/completions", chat("x"), "key");
      if (kind === "reset" || kind === "cut") await expect(call()).rejects.toThrow(/fetch failed|terminated/);
      else {
        const { status, headers } = await call();
        expect(status).toBe(Number(kind.slice(0, 3)));
        expect(headers.get("retry-after")).toBe(kind === "429 with a hint" ? "1" : null);
      }
      expect((await call()).status).toBe(200);
      expect(server.ledger).toMatchObject({ calls: 2, answered: 1, faults: { [kind]: 1 }, callsOf: { key: 2 } });
    }
  });
});

describe("the account of what workers told", () => {
  const run = "mail/spam-2/1";
  const end = (completed: string[], folder: "spam" | "inbox" = "spam"): RunEnd => ({
    triaged: { mail: run, label: "spam", folder, language: "en", sentiment: 0 },
    degraded: false,
    completed,
    complaint: null,
  });
  const called = { kind: "called", run, invocation: "parse#0", key: "k" } as const;
  const done = { kind: "done", run, invocation: "parse#0" } as const;

  test("holds a call after the acknowledgement for a repetition, and one before it for none", () => {
    const account = new Account();
    for (const line of [called, called, done]) account.take(line);
    expect(account.repeated).toEqual([]);
    account.take(called);
    expect(account.repeated).toEqual([`${run} parse#0`]);
  });

  test("misses acknowledged steps, results that have changed, and runs without an end", () => {
    const account = new Account();
    account.take(done);
    expect(account.lost([run])).toEqual([run, `${run} parse#0`]);
    account.take({ kind: "ended", run, end: end(["parse#0"]) });
    expect(account.lost([run])).toEqual([]);
    account.take({ kind: "ended", run, end: end([]) });
    expect(account.lost([run])).toEqual([`${run} parse#0`]);
    account.take({ kind: "ended", run, end: end(["parse#0"], "inbox") });
    expect(account.lost([run])).toEqual([run]);
  });

  test("takes a run that failed for failed, and the result of its redrive for no change", () => {
    const account = new Account();
    account.take({ kind: "ended", run, end: { ...end([]), triaged: null, complaint: "no answer" } });
    expect([account.failed, account.lost([run])]).toEqual([["no answer"], []]);
    account.take({ kind: "ended", run, end: end([]) });
    expect([account.failed, account.lost([run])]).toEqual([[], []]);
  });
});
