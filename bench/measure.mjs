export const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

const shuffled = (items) => {
  const result = [...items];
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [result[i], result[j]] = [result[j], result[i]];
  }
  return result;
};

/**
 * Each round takes one sample of every contender, in a new order, between two samples of the baseline.
 * Times drift by half on a shared machine while the ratio to a neighbour in time holds, so the ratio is what counts.
 * A sample is an async function that answers the time of one operation. One round goes before, unrecorded, to warm up.
 */
export async function pairedRounds(rounds, baseline, contenders) {
  const baselineTimes = [];
  const figures = new Map(Object.keys(contenders).map((name) => [name, { times: [], ratios: [] }]));
  for (let round = 0; round <= rounds; round++) {
    for (const [name, sample] of shuffled(Object.entries(contenders))) {
      const before = await baseline();
      const time = await sample();
      const after = await baseline();
      if (round === 0) continue;
      baselineTimes.push(before, after);
      figures.get(name).times.push(time);
      figures.get(name).ratios.push((2 * time) / (before + after));
    }
  }
  const summary = ([name, { times, ratios }]) => [name, { time: median(times), ratio: median(ratios) }];
  return { baseline: median(baselineTimes), contenders: Object.fromEntries([...figures].map(summary)) };
}
