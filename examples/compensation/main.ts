// A run that is cancelled takes back what it has done, the newest first; what cannot be taken back is told of.
import { createEngine, MemoryStore, waitForSignal, Workflow } from "holdfast";

const trip = new Workflow({ id: "trip" })
  .addNode("flight", (city: string) => ({ city, seat: "12A" }), {
    compensate: ({ seat }: { seat: string }) => console.log(`  gives seat ${seat} back`),
  })
  .addNode("hotel", ({ city }: { city: string }) => ({ city, room: 7 }), {
    compensate: ({ room }: { room: number }) => {
      throw new Error(`room ${room} cannot be returned`);
    },
  })
  .addNode("car", ({ city }: { city: string }) => `car in ${city}`, {
    compensate: (car: string, { attempt }) => {
      if (attempt === 1) throw new Error("the line is busy");
      console.log(`  gives the ${car} back, at attempt ${attempt}`);
    },
    retry: { maxAttempts: 3, initialDelayMs: 1 },
  })
  .addNode("payment", waitForSignal())
  .connect("flight", "hotel")
  .connect("hotel", "car")
  .connect("car", "payment");

const engine = createEngine({
  store: new MemoryStore(),
  onEvent(event) {
    if (event.type === "node.compensated" && event.error instanceof Error) console.log(`  ${event.error.message}`);
  },
});
const { result } = await engine.start(trip, "Oslo", { runId: "trip-3" });
while ((await engine.get("trip-3"))?.status !== "waiting") await new Promise((resolve) => setTimeout(resolve, 5));

console.log("the card is refused");
await engine.cancel("trip-3", "the card was refused", { compensate: true });
console.log((await result).error?.message);
await engine.close();
