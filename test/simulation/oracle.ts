/**
 * What a workflow means, as C5.2 to C5.6 and docs/workflows.md say it, for the simulations to hold the engine against.
 * It knows no journal, no clock, no order of ends and nothing of the engine's own code. It asks for what it needs, as
 * deep as that leads: what comes along an edge is what its node gives, what a node gets is what comes along its edges.
 */
export interface Graph {
  readonly input: unknown;
  readonly nodes: readonly Node[];
  readonly edges: readonly Edge[];
}

export interface Node {
  readonly id: string;
  /** The node itself and then its backups: each gives an output, or null where it fails for good. */
  readonly servers: readonly { readonly id: string; readonly serve: (input: unknown) => unknown }[];
  readonly join: "all" | "any";
  readonly onFailure: "fail" | "continue";
  /** To whom it hands its output, where it does: none of its edges is taken then. */
  readonly handsTo?: ((output: unknown) => string | undefined) | undefined;
}

export interface Edge {
  readonly from: string;
  readonly to: string;
  /** Whether it leads back to where a loop began. */
  readonly isBack: boolean;
  /** Whether it is no edge, but says that one may hand to the other. */
  readonly isHandoff?: boolean | undefined;
  readonly mapping?: Readonly<Record<string, string>> | undefined;
  readonly when?: ((output: never) => boolean) | undefined;
}

export interface Meaning {
  /** Of each end node that gave something. */
  readonly outputs: Readonly<Record<string, unknown>>;
  /** What the last node gave from which nothing followed: the result of a run whose nodes hand off. */
  readonly home: unknown;
  /** What is called: `n1#0`, or `n1#0>b` where a backup stands in; whether it fails, and with which input. */
  readonly invocations: ReadonlyMap<string, { readonly input: unknown; readonly fails: boolean }>;
  /** Visits that nobody could save, and those among them that end the run. */
  readonly lost: readonly string[];
  readonly fatal: readonly string[];
}

/** What an edge comes to: what it delivers, nothing, or nothing because of a failure. */
type Fate = { readonly output: unknown } | "untaken" | "broken";

/**
 * Works it out. Where a node joins `any` and several edges deliver, the contract leaves open which is first: `first`
 * is asked for the one that it was, and must name one of them.
 */
export function meaningOf(graph: Graph, first: (visit: string, from: readonly string[]) => string): Meaning {
  const { nodes, edges } = graph;
  const invocations = new Map<string, { input: unknown; fails: boolean }>();
  const lost: string[] = [];
  const fatal: string[] = [];
  const visits = new Map<string, number>();
  const outputs = new Map<string, unknown>();
  const fates = new Map<Edge, Fate>();
  const done = new Set<string>();
  let home: unknown;

  const leads = (from: string, to: string, seen: ReadonlySet<string> = new Set()): boolean =>
    edges.some((edge) => {
      if (edge.from !== from || seen.has(edge.to)) return false;
      return edge.to === to || leads(edge.to, to, new Set([...seen, edge.to]));
    });
  /** Whether a round that begins with one node comes to another. */
  const begins = (from: string, to: string): boolean =>
    from === to || edges.some((edge) => edge.from === from && !edge.isBack && begins(edge.to, to));
  /** The loop that a node is part of: those that it leads to and that lead to it. */
  const loopAround = (id: string): Node[] =>
    nodes.filter((node) => node.id === id || (leads(id, node.id) && leads(node.id, id)));

  /** What has come along an edge in the end, once the loop that it leads out of has ended. */
  function fateOf(edge: Edge): Fate {
    settle(edge.from);
    return fates.get(edge)!;
  }

  /** Carries a node out, or the loop that it is part of, round by round. */
  function settle(id: string): void {
    if (done.has(id)) return;
    const loop = loopAround(id);
    for (const node of loop) done.add(node.id);
    let turn: { edge: Edge; output: unknown } | undefined;
    do {
      const begun = turn;
      // A round is what its first node leads to without going back; the first round is the whole loop.
      const inRound = loop.filter(({ id: name }) => begun === undefined || begins(begun.edge.to, name));
      const round = new Map<Edge, Fate>();
      const visited = new Set<string>();
      const visit = (node: Node): void => {
        if (visited.has(node.id)) return;
        visited.add(node.id);
        const input = node.id === begun?.edge.to ? { input: along(begun.edge, begun.output) } : inputOf(node, within);
        const came = typeof input === "string" ? input : carryOut(node, input.input);
        if (typeof came === "object") home = came.output;
        for (const edge of edges.filter(({ from }) => from === node.id)) {
          const fate = typeof came === "string" || taken(node, edge, came.output) ? came : "untaken";
          round.set(edge, fate);
          // A node that was passed over has not been visited: what its last visit gave stands.
          if (input !== "untaken" || !fates.has(edge)) fates.set(edge, fate);
        }
      };
      const within = (edge: Edge): Fate => {
        const source = inRound.find(({ id: name }) => name === edge.from);
        if (source === undefined) {
          // What is handed over starts one visit, and what an earlier round gave is not given again.
          const isOver = begun !== undefined && (edge.isHandoff || loop.some(({ id: name }) => name === edge.from));
          return isOver ? "untaken" : fateOf(edge);
        }
        visit(source);
        return round.get(edge)!;
      };
      inRound.forEach(visit);
      turn = undefined;
      for (const edge of edges) {
        const fate = edge.isBack ? round.get(edge) : undefined;
        if (typeof fate === "object") turn = { edge, ...fate };
      }
    } while (turn !== undefined);
  }

  /** The input with which the edges that a node waits for start it, or why they do not. */
  function inputOf(node: Node, come: (edge: Edge) => Fate): { input: unknown } | "untaken" | "broken" {
    const leading = edges.filter(({ to, isBack }) => to === node.id && !isBack);
    if (leading.length === 0) return { input: graph.input };
    const inbound = leading.filter(({ isHandoff }) => !isHandoff);
    if (inbound.length === 0) {
      const handed = leading.map(come);
      const message = handed.find((fate) => typeof fate === "object");
      return message === undefined ? (handed.includes("broken") ? "broken" : "untaken") : { input: message.output };
    }
    const arrived = inbound.map((edge) => ({ edge, fate: come(edge) }));
    const delivered = arrived.flatMap(({ edge, fate }) => (typeof fate === "object" ? [{ edge, ...fate }] : []));
    const isBroken = arrived.some(({ fate }) => fate === "broken");
    if (delivered.length === 0 || (isBroken && node.join === "all")) return isBroken ? "broken" : "untaken";
    if (node.join === "any") {
      const from = delivered.map(({ edge }) => edge.from);
      const name = from.length === 1 ? from[0] : first(`${node.id}#${visits.get(node.id) ?? 0}`, from);
      const one = delivered.find(({ edge }) => edge.from === name);
      if (one === undefined) throw new Error(`${node.id} has started with ${name}, which delivers nothing to it.`);
      return { input: along(one.edge, one.output) };
    }
    if (inbound.length === 1) return { input: along(inbound[0]!, delivered[0]!.output) };
    return {
      input: Object.assign(
        {},
        ...delivered.map(({ edge, output }) => (edge.mapping ? along(edge, output) : { [edge.from]: output })),
      ) as unknown,
    };
  }

  /** Calls a node and then its backups, until one gives something. */
  function carryOut(node: Node, input: unknown): { output: unknown } | "broken" {
    const visit = `${node.id}#${visits.get(node.id) ?? 0}`;
    visits.set(node.id, (visits.get(node.id) ?? 0) + 1);
    for (const { id, serve } of node.servers) {
      const output = serve(input);
      invocations.set(id === node.id ? visit : `${visit}>${id}`, { input, fails: output === null });
      if (output === null) continue;
      outputs.set(node.id, output);
      return { output };
    }
    lost.push(visit);
    if (node.onFailure === "fail") fatal.push(visit);
    return "broken";
  }

  for (const { id } of nodes) settle(id);
  const ends = nodes.filter(({ id }) => edges.every(({ from, isBack }) => from !== id || isBack) && outputs.has(id));
  return { outputs: Object.fromEntries(ends.map(({ id }) => [id, outputs.get(id)])), home, invocations, lost, fatal };
}

function taken({ handsTo }: Node, { to, isHandoff, when }: Edge, output: unknown): boolean {
  const receiver = handsTo?.(output);
  if (isHandoff) return receiver === to;
  return receiver === undefined && (when === undefined || when(output as never));
}

function along({ mapping }: Edge, output: unknown): unknown {
  if (mapping === undefined) return output;
  const fields = output as Readonly<Record<string, unknown>>;
  return Object.fromEntries(Object.entries(mapping).map(([out, into]) => [into, fields[out]]));
}
