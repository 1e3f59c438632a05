import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { CONTENDERS } from "./contenders.mjs";

const script = fileURLToPath(new URL("contender.mjs", import.meta.url));

/** The process of a contender: takes one order after the other. */
export class ContenderProcess {
  #child;
  #name;

  constructor(name) {
    this.#name = name;
    this.#child = fork(script, [name], {
      execArgv: ["--no-deprecation"],
      execPath: CONTENDERS[name].node ?? process.execPath,
    });
  }

  // Between orders it is stopped: workers that poll would take their share of the two cores from whoever is measured.
  ask(order, options) {
    this.#child.kill("SIGCONT");
    return new Promise((resolve, reject) => {
      const ended = (code) =>
        reject(new Error(`the contender ${this.#name} ended with ${code} in the middle of its work`));
      this.#child.once("exit", ended);
      this.#child.once("message", ({ answer, failure }) => {
        this.#child.off("exit", ended);
        this.#child.kill("SIGSTOP");
        if (failure === undefined) resolve(answer);
        else reject(new Error(`the contender ${this.#name} failed: ${failure}`));
      });
      this.#child.send({ order, options });
    });
  }

  /** As a crash would end it. */
  async kill() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }
}

/** Gives one order to a process that has done nothing before, and does nothing after. */
export async function askOnce(name, order, options) {
  const contender = new ContenderProcess(name);
  try {
    return await contender.ask(order, options);
  } finally {
    await contender.kill();
  }
}
