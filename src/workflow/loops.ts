/** The edges of a graph, by the numbers of their nodes. */
export interface Arrow {
  readonly from: string;
  readonly to: string;
}

/** What a depth-first walk says of a graph. */
export interface Walked {
  /** Arrows that lead back to a node on the way to them: each closes a loop. */
  readonly back: ReadonlySet<Arrow>;
  /** The loop that a node is part of, by a number; nodes of no loop are missing. */
  readonly loopOf: ReadonlyMap<string, number>;
}

/**
 * Finds loops, and which arrows close them, walking depth first from the nodes that nothing leads to and then from the
 * others, in the order in which they were added. Tarjan's algorithm, without recursion, since a chain of nodes may be
 * longer than the stack is deep (R. Tarjan, "Depth-first search and linear graph algorithms", 1972).
 */
export function walkGraph(ids: readonly string[], arrows: readonly Arrow[]): Walked {
  const out = new Map<string, Arrow[]>(ids.map((id) => [id, []]));
  const targets = new Set<string>();
  const places = new Map(ids.map((id, place) => [id, place]));
  // By the order of the nodes, so that it does not matter which edge was connected first.
  for (const arrow of [...arrows].sort((a, b) => places.get(a.to)! - places.get(b.to)!)) {
    out.get(arrow.from)!.push(arrow);
    targets.add(arrow.to);
  }
  const back = new Set<Arrow>();
  const loopOf = new Map<string, number>();
  const order = new Map<string, number>();
  const low = new Map<string, number>();
  const open: string[] = [];
  const isOpen = new Set<string>();
  const onPath = new Set<string>();
  let loops = 0;

  const close = (id: string): void => {
    if (low.get(id) !== order.get(id)) return;
    const members: string[] = [];
    for (let member = ""; member !== id;) {
      member = open.pop()!;
      isOpen.delete(member);
      members.push(member);
    }
    const loopsToItself = out.get(id)!.some(({ to }) => to === id);
    if (members.length === 1 && !loopsToItself) return;
    for (const member of members) loopOf.set(member, loops);
    loops++;
  };

  const roots = [...ids.filter((id) => !targets.has(id)), ...ids.filter((id) => targets.has(id))];
  for (const root of roots) {
    if (order.has(root)) continue;
    const path: { id: string; next: number }[] = [];
    const enter = (id: string): void => {
      order.set(id, order.size);
      low.set(id, order.get(id)!);
      open.push(id);
      isOpen.add(id);
      onPath.add(id);
      path.push({ id, next: 0 });
    };
    enter(root);
    while (path.length > 0) {
      const step = path.at(-1)!;
      const arrow = out.get(step.id)![step.next++];
      if (arrow === undefined) {
        path.pop();
        onPath.delete(step.id);
        close(step.id);
        const parent = path.at(-1)?.id;
        if (parent !== undefined) low.set(parent, Math.min(low.get(parent)!, low.get(step.id)!));
      } else if (!order.has(arrow.to)) enter(arrow.to);
      else {
        if (onPath.has(arrow.to)) back.add(arrow);
        if (isOpen.has(arrow.to)) low.set(step.id, Math.min(low.get(step.id)!, order.get(arrow.to)!));
      }
    }
  }
  return { back, loopOf };
}
