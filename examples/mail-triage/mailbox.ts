import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { faultOf, type FaultPlan } from "./faults.ts";
import { bodyOf, cutOff, headerOf, listen, reply } from "./http.ts";

/** What goes wrong here: the service is overloaded, or delivers and breaks the connection before it has said so. */
export type MailboxFault = "unavailable" | "cut";

export const MAILBOX_FAULTS: readonly MailboxFault[] = ["unavailable", "cut"];

export interface MailboxPlan {
  faults: FaultPlan<MailboxFault> | null;
  /** Mails that are turned away however often they come, until the mailbox is mended. */
  refused: ReadonlySet<string>;
}

export const CALM_MAILBOX: MailboxPlan = { faults: null, refused: new Set() };

export interface Delivery {
  mail: string;
  folder: string;
}

/** A request as it arrived, before the key table was asked. */
interface RawRequest extends Delivery {
  key: string;
  outcome: "delivered" | "known" | MailboxFault | "refused" | "conflict";
}

/**
 * The service that takes mails into folders, over HTTP: `POST /deliveries` with an `Idempotency-Key`. A key that it
 * has seen gets the answer it got before, without another delivery; that is what makes "at least once" into "once".
 * It lives in the supervisor, so that it outlives the workers that are killed, and keeps what really arrived.
 */
export class Mailbox {
  readonly #server: Server;
  readonly #deliveredAs = new Map<string, Delivery>();
  readonly #callsOf = new Map<string, number>();
  readonly #requests: RawRequest[] = [];
  readonly #deliveries: Delivery[] = [];
  #plan = CALM_MAILBOX;

  constructor() {
    this.#server = createServer((request, response) => void this.#handle(request, response));
  }

  /** Gives the address that deliveries are posted to. */
  async listen(port = 0): Promise<string> {
    return `${await listen(this.#server, port)}/deliveries`;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  /** Empties everything and begins anew. */
  begin(plan: MailboxPlan): void {
    this.#plan = plan;
    this.#deliveredAs.clear();
    this.#callsOf.clear();
    this.#requests.length = 0;
    this.#deliveries.length = 0;
  }

  /** Takes from now on what it has turned away. */
  mend(): void {
    this.#plan = { ...this.#plan, refused: new Set() };
  }

  get requests(): readonly RawRequest[] {
    return this.#requests;
  }

  /** How often each mail lies in a folder: once, if all is well. */
  get timesDelivered(): ReadonlyMap<string, number> {
    const times = new Map<string, number>();
    for (const { mail } of this.#deliveries) times.set(mail, (times.get(mail) ?? 0) + 1);
    return times;
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const key = headerOf(request, "idempotency-key");
    const delivery = asDelivery(await bodyOf(request));
    if (request.method !== "POST" || request.url !== "/deliveries")
      return reply(response, 404, { error: `There is nothing at ${request.method} ${request.url}.` });
    if (!key || delivery === undefined)
      return reply(response, 400, { error: "A delivery needs an Idempotency-Key, and a mail and a folder as JSON." });
    this.#answer(response, key, delivery);
  }

  #answer(response: ServerResponse, key: string, delivery: Delivery): void {
    const call = (this.#callsOf.get(key) ?? 0) + 1;
    this.#callsOf.set(key, call);
    const { faults, refused } = this.#plan;
    const log = (outcome: RawRequest["outcome"]): void => void this.#requests.push({ ...delivery, key, outcome });

    const known = this.#deliveredAs.get(key);
    if (known !== undefined) {
      if (known.mail !== delivery.mail || known.folder !== delivery.folder) {
        log("conflict");
        return reply(response, 422, { error: `This key was used for ${known.mail} in ${known.folder}.` });
      }
      log("known");
      return reply(response, 200, known);
    }
    if (refused.has(delivery.mail)) {
      log("refused");
      return reply(response, 507, { error: "This mailbox is full." });
    }
    const fault = faults === null ? null : faultOf(faults, key, call);
    if (fault === "unavailable") {
      log(fault);
      return reply(response, 503, { error: "Too much mail. Try again." });
    }
    this.#deliveredAs.set(key, delivery);
    this.#deliveries.push(delivery);
    log(fault ?? "delivered");
    if (fault === "cut") return cutOff(response, delivery);
    reply(response, 201, delivery);
  }
}

function asDelivery(body: unknown): Delivery | undefined {
  if (typeof body !== "object" || body === null) return undefined;
  const { mail, folder } = body as Partial<Record<keyof Delivery, unknown>>;
  return typeof mail === "string" && typeof folder === "string" ? { mail, folder } : undefined;
}
