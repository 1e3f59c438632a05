import { type InvocationId, invocationKey, visitKey } from "./invocation-id.ts";
import type { Plan, PlannedEdge, PlannedNode } from "./plan.ts";
import type { CompletedInvocation, Invocation, Origin, RunState } from "./run-state.ts";

/** An invocation that may start, with what it works on where that does not follow from the graph alone. */
export interface Activation extends Origin {
  readonly id: InvocationId;
}

/** What an edge has come to: a visit that delivers over it, a source that will not, or one that has failed. */
type Fate = { readonly delivered: string } | "untaken" | "broken";

/** A node and its visits, as far as they have come. */
interface Place {
  readonly node: PlannedNode;
  /** How many edges are still to be decided. */
  missing: number;
  visits: number;
  /** Whether the edges that it waits for have started it, or have come to nothing. */
  joined: boolean;
  /** Whether anything has started it since the loop around it began its round. */
  begun: boolean;
}

/** A loop that is under way. */
interface Round {
  /** How many visits of each of its nodes have not ended. */
  readonly active: Map<string, number>;
  /** Edges into it that are still to be decided. */
  undecidedEntries: number;
  /** What the edges out of it come to, by the last visit of their sources. */
  readonly leaving: Map<PlannedEdge, Fate>;
  /** Visits that send it round again, once what is under way has come to rest. */
  readonly turns: { readonly to: string; readonly by: string }[];
  left: boolean;
}

/**
 * What may start now: a fold over the ends of invocations in the order in which the journal tells of them, so that a
 * replay comes to the same. Kept in counters, since looking at all nodes after each step would make runs quadratic.
 *
 * Each edge comes to something: it delivers, is not taken, or hangs on a node that has failed. A node that joins `all`
 * waits until that is known of all edges, and starts with those that deliver, where there is one and none is broken;
 * `any` starts with the first that delivers. A node that does not start passes on why. An edge that leads back, or a
 * hand-off, starts its node by itself. A loop goes round when what it has begun has come to rest; the edges out of it
 * are followed when it has ended, from the last visits of their sources.
 */
export class Readiness {
  readonly #state: RunState;
  readonly #places = new Map<string, Place>();
  readonly #fates = new Map<PlannedEdge, Fate>();
  readonly #rounds: Round[];
  readonly #plan: Plan;
  readonly #servedBy = new Map<string, CompletedInvocation>();
  readonly #lastOf = new Map<string, CompletedInvocation>();
  readonly #failed: InvocationId[] = [];
  #lastHome: CompletedInvocation | undefined;
  #activated: Activation[] = [];
  /** Loops in which something has changed: they may go round, or have ended. */
  readonly #stirred = new Set<number>();
  readonly #bodies = new Map<string, readonly string[]>();

  constructor(plan: Plan, state: RunState) {
    this.#plan = plan;
    this.#state = state;
    for (const [id, node] of plan.nodes) {
      this.#places.set(id, { node, missing: node.inbound.length, visits: 0, joined: false, begun: false });
    }
    this.#rounds = plan.loops.map(({ entries }) => ({
      active: new Map(),
      undecidedEntries: entries,
      leaving: new Map(),
      turns: [],
      left: false,
    }));
  }

  /** Visits that no backup could save and that end the run. While there is one, nothing new starts. */
  get failed(): readonly InvocationId[] {
    return this.#failed;
  }

  /** The invocation whose output stands for a visit, its own or that of a backup. */
  servedBy(visit: string): CompletedInvocation | undefined {
    return this.#servedBy.get(visit);
  }

  /** The invocation that served the last visit of a node. */
  lastOf(nodeId: string): CompletedInvocation | undefined {
    return this.#lastOf.get(nodeId);
  }

  /** The newest completed invocation that nothing followed from. */
  get lastHome(): CompletedInvocation | undefined {
    return this.#lastHome;
  }

  /** Invocations that the start of a run makes ready. */
  atStart(): Activation[] {
    for (const id of this.#plan.starts) this.#activate(id, {});
    return this.#taken();
  }

  /** Invocations that the end of this one makes ready: successors, or the next backup. */
  afterEnd(invocation: Invocation): Activation[] {
    const { id } = invocation;
    const place = this.#places.get(id.node);
    // A node that a changed definition no longer has.
    if (place === undefined || (invocation.status !== "completed" && invocation.status !== "failed")) return [];
    if (invocation.status === "failed") {
      const { backups, onFailure } = place.node;
      const backup = backups[(id.backup === undefined ? -1 : backups.indexOf(id.backup)) + 1];
      if (backup !== undefined) {
        const { from, by } = invocation;
        this.#activated.push({
          id: { node: id.node, iteration: id.iteration, backup },
          ...(from && { from }),
          ...(by && { by }),
        });
        return this.#taken();
      }
      if (onFailure === "fail") {
        this.#failed.push({ node: id.node, iteration: id.iteration });
        return [];
      }
    }
    const { loop } = place.node;
    if (loop !== undefined) {
      const { active } = this.#rounds[loop]!;
      active.set(id.node, Math.max(0, (active.get(id.node) ?? 0) - 1));
      this.#stirred.add(loop);
    }
    if (invocation.status === "failed") this.#follow(place.node, () => "broken");
    else this.#completed(place.node, invocation);
    for (const stirred of this.#stirred) {
      this.#stirred.delete(stirred);
      this.#rest(stirred);
    }
    return this.#taken();
  }

  #completed(node: PlannedNode, invocation: CompletedInvocation): void {
    const visit = visitKey(invocation.id);
    const { next, handoff } = invocation;
    this.#servedBy.set(visit, invocation);
    this.#lastOf.set(invocation.id.node, invocation);
    const delivers: Fate = { delivered: visit };
    let isFollowed = false;
    this.#follow(node, ({ to, definition }) => {
      const isTaken =
        handoff === undefined
          ? definition !== null && (next === undefined || next.includes(to))
          : definition === null && to === handoff;
      isFollowed ||= isTaken;
      return isTaken ? delivers : "untaken";
    });
    if (handoff !== undefined && !isFollowed) this.#turn(handoff, visit);
    else if (!isFollowed) this.#lastHome = invocation;
  }

  /** Says of each edge that leads out of a node what it comes to. */
  #follow(node: PlannedNode, fateOf: (edge: PlannedEdge) => Fate): void {
    for (const edge of node.outbound) {
      const fate = fateOf(edge);
      if (edge.isBack) {
        if (typeof fate === "object") this.#turn(edge.to, fate.delivered);
      } else if (edge.leaves !== undefined) this.#rounds[edge.leaves]!.leaving.set(edge, fate);
      else this.#decide(edge, fate);
    }
  }

  #decide(first: PlannedEdge, fate: Fate): void {
    // Not recursive: nodes that are passed over may form a chain longer than the stack is deep.
    const undecided: [PlannedEdge, Fate][] = [[first, fate]];
    for (let pair = undecided.pop(); pair !== undefined; pair = undecided.pop()) {
      const [edge, what] = pair;
      const place = this.#places.get(edge.to)!;
      const isNew = !this.#fates.has(edge);
      if (!isNew) {
        // It has been decided before, and its source has been visited once more.
        if (typeof what === "object") this.#turn(edge.to, what.delivered);
        continue;
      }
      this.#fates.set(edge, what);
      place.missing--;
      if (edge.enters !== undefined) {
        this.#rounds[edge.enters]!.undecidedEntries--;
        this.#stirred.add(edge.enters);
      }
      const { join } = place.node.definition;
      if (typeof what === "object" && (edge.definition === null || join === "any")) {
        if (edge.definition === null || !place.joined) this.#activate(edge.to, { by: what.delivered });
        if (edge.definition !== null) place.joined = true;
      }
      if (place.missing === 0 && !place.joined) {
        place.joined = true;
        const passedOn = this.#join(edge.to, place);
        if (passedOn !== null) {
          for (const out of place.node.outbound) {
            if (out.isBack) continue;
            if (out.leaves === undefined) undecided.push([out, passedOn]);
            else {
              const { leaving } = this.#rounds[out.leaves]!;
              // A node that is passed over has not been visited: what its last visit gave stands.
              if (passedOn === "broken" || !leaving.has(out)) leaving.set(out, passedOn);
            }
          }
        }
      }
    }
  }

  /** All edges that a node waits for have come to something: starts it, or gives what its own edges come to. */
  #join(id: string, place: Place): "untaken" | "broken" | null {
    const { node } = place;
    // Most nodes have one edge only, and need no lists to tell what has come of it.
    if (node.inbound.length === 1 && node.feeds.length === 1 && node.definition.join === "all") {
      const fate = this.#fates.get(node.inbound[0]!)!;
      if (typeof fate !== "object") return place.begun ? null : fate;
      this.#activate(id, fate.delivered === node.firstSources[0] ? {} : { from: [fate.delivered] });
      return null;
    }
    const inbound = place.node.inbound.filter(({ definition }) => definition !== null);
    const fates = inbound.map((edge) => this.#fates.get(edge)!);
    const from = fates.flatMap((fate) => (typeof fate === "object" ? [fate.delivered] : []));
    const isBroken = fates.includes("broken");
    if (from.length > 0 && place.node.definition.join === "any") {
      // Only an edge from outside of a loop has delivered, in an earlier round: its output stands, by itself.
      this.#activate(id, { by: from[0]! });
      return null;
    }
    if (from.length > 0 && !isBroken) {
      const isPlain =
        from.length === inbound.length &&
        inbound.every((edge, i) => from[i] === visitKey({ node: edge.from, iteration: 0 }));
      this.#activate(id, isPlain ? {} : { from });
      return null;
    }
    if (place.begun) return null;
    return isBroken ? "broken" : "untaken";
  }

  /** Starts a node by itself, once the loop around it has come to rest. */
  #turn(to: string, by: string): void {
    const loop = this.#places.get(to)?.node.loop;
    if (loop === undefined) return this.#activate(to, { by });
    this.#rounds[loop]!.turns.push({ to, by });
    this.#stirred.add(loop);
  }

  #activate(id: string, origin: Origin): void {
    const place = this.#places.get(id);
    if (place === undefined) return;
    const activation = { id: { node: id, iteration: place.visits++ }, ...origin };
    place.begun = true;
    if (place.node.loop !== undefined) {
      const { active } = this.#rounds[place.node.loop]!;
      active.set(id, (active.get(id) ?? 0) + 1);
    }
    this.#activated.push(activation);
  }

  /** Lets a loop go round where what it would begin anew has come to rest, and lets it go where all has. */
  #rest(loop: number): void {
    const { active, turns, leaving, undecidedEntries } = this.#rounds[loop]!;
    const isActive = (id: string): boolean => (active.get(id) ?? 0) > 0;
    for (let i = 0; i < turns.length;) {
      const { to, by } = turns[i]!;
      const body = this.#bodyOf(to);
      if (body.length > 1 && body.some(isActive)) i++;
      else {
        turns.splice(i, 1);
        this.#startRound(to, body);
        this.#activate(to, { by });
      }
    }
    if (undecidedEntries > 0 || [...active.keys()].some(isActive)) return;
    const round = this.#rounds[loop]!;
    const exits = round.left ? [...leaving.keys()] : this.#plan.loops[loop]!.exits;
    const fates = new Map(leaving);
    round.left = true;
    leaving.clear();
    for (const edge of exits) this.#decide(edge, fates.get(edge) ?? "untaken");
  }

  /** Nodes of the loop around `start` that edges lead to from it, without going back; itself first. */
  #bodyOf(start: string): readonly string[] {
    let body = this.#bodies.get(start);
    if (body === undefined) {
      const found = new Set([start]);
      for (const id of found) {
        for (const { to, definition, isBack, leaves } of this.#places.get(id)!.node.outbound)
          if (definition !== null && !isBack && leaves === undefined) found.add(to);
      }
      this.#bodies.set(start, (body = [...found]));
    }
    return body;
  }

  /** Forgets what edges within a round have come to. Those that lead into it from elsewhere stay as they are. */
  #startRound(start: string, body: readonly string[]): void {
    const inBody = new Set(body);
    for (const id of body) {
      if (id === start) continue;
      const place = this.#places.get(id)!;
      place.joined = false;
      place.begun = false;
      for (const edge of place.node.inbound) {
        if (!inBody.has(edge.from) || !this.#fates.delete(edge)) continue;
        place.missing++;
      }
    }
  }

  // A journal that is replayed ends invocations whose successors have begun long since.
  #taken(): Activation[] {
    const activated = this.#activated;
    this.#activated = [];
    return activated.filter(({ id }) => !this.#state.invocations.has(invocationKey(id)));
  }
}
