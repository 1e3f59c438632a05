// Does the same for many items, three at a time, with retries for each; what fails for good is one of the results.
import { map, MemoryStore, RetryPolicy, Workflow } from "holdfast";

let working = 0;
let most = 0;
const busy = new Set(["Oslo", "Rome"]);

const weather = new Workflow({ id: "weather" }).addNode(
  "ask",
  map({
    items: (input: { cities: string[] }) => input.cities,
    run: async (city) => {
      most = Math.max(most, ++working);
      await new Promise((resolve) => setTimeout(resolve, 5));
      working--;
      if (busy.delete(city)) throw new Error(`the service for ${city} is busy`);
      if (city === "Atlantis") throw new Error("Atlantis is under water");
      return `sunny in ${city}`;
    },
    concurrency: 3,
    policy: new RetryPolicy({ maxAttempts: 2, initialDelayMs: 1 }),
    onItemFailure: "collect",
  }),
);

const cities = ["Oslo", "Rome", "Lima", "Atlantis", "Kyoto"];
const results = await weather.execute({ cities }, { store: new MemoryStore() });
for (const [index, result] of results.entries())
  console.log(cities[index], result.ok ? result.value : (result.error as Error).message);
console.log(`${most} at the same time`);
