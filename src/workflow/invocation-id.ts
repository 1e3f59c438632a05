/** A visit of a node: `iteration` counts them from 0. */
export interface Visit {
  readonly node: string;
  readonly iteration: number;
}

/**
 * Which delivery to which node: a visit, and the backup that stands in. Never an order of calls, so that a graph whose
 * branches finish in another order still fits its journal.
 */
export interface InvocationId extends Visit {
  readonly backup?: string | undefined;
}

/** The text form of a visit: `classify#0`. */
export function visitKey({ node, iteration }: Visit): string {
  return `${escape(node)}#${iteration}`;
}

/** The text form of an invocation id, which users see: `classify#0`, or `classify#0>rules` for a stand-in. */
export function invocationKey(id: InvocationId): string {
  const key = visitKey(id);
  return id.backup === undefined ? key : `${key}>${escape(id.backup)}`;
}

/** The invocation id that a text form names. */
export function invocationIdOf(key: string): InvocationId {
  const [visit = "", backup] = key.split(">");
  const [node = "", iteration] = visit.split("#");
  const id = { node: unescape(node), iteration: Number(iteration) };
  return backup === undefined ? id : { ...id, backup: unescape(backup) };
}

// Node ids are any text, so the three marks that have a meaning here are escaped in them.
function escape(id: string): string {
  return /[%#>]/.test(id) ? id.replace(/[%#>]/g, (mark) => `%${mark.charCodeAt(0).toString(16)}`) : id;
}

function unescape(text: string): string {
  return text.replace(/%(25|23|3e)/g, (_, code: string) => String.fromCharCode(parseInt(code, 16)));
}
