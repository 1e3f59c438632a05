import { Console } from "node:console";
import { Writable } from "node:stream";
import { EXIT } from "./exit-codes.ts";
import type { Paint } from "./table.ts";

/**
 * The process as the command line sees it, and the only file here that touches it: results go to standard output,
 * everything else to standard error. A reader that goes away (`holdfast runs list | head -1`) is no error: what is
 * left to print is dropped, and the command goes on.
 */
export class Terminal {
  /** Whether a region of standard error may be drawn again and again: somebody is looking at it. */
  readonly isLive: boolean = isDrawable(process.stderr);
  readonly nodeVersion: string = process.versions.node;
  readonly platform: string = process.platform;

  constructor() {
    for (const stream of [process.stdout, process.stderr]) {
      stream.on("error", (error: NodeJS.ErrnoException) => {
        if (error.code === "EPIPE") return;
        if (stream === process.stdout) this.talk(`error: standard output cannot be written: ${error.message}`);
        process.exit(EXIT.USAGE);
      });
    }
    // Node 22 calls its SQLite experimental, at each command anew. That is our choice and no news to anybody here.
    process.removeAllListeners("warning").on("warning", ({ name, message }) => {
      if (name !== "ExperimentalWarning") this.talk(`${name}: ${message}`);
    });
  }

  /** Writes a line of data. */
  print(line: string): void {
    process.stdout.write(`${line}\n`);
  }

  /** Writes a line of data, and resolves when it is on its way or its reader is gone: for more lines than fit in memory. */
  printed(line: string): Promise<void> {
    return new Promise((resolve) => process.stdout.write(`${line}\n`, () => resolve()));
  }

  /** Writes a line for people. */
  talk(line: string): void {
    process.stderr.write(`${line}\n`);
  }

  /** How wide a line of data may be: as wide as the terminal, or as it likes. */
  get width(): number {
    return (process.stdout.isTTY && process.stdout.columns) || Infinity;
  }

  /** What is drawn on. */
  get screen(): NodeJS.WriteStream {
    return process.stderr;
  }

  /** Colours for status words where standard output is a terminal that wants them. */
  async paint(): Promise<Paint> {
    const { NO_COLOR = "", TERM } = process.env;
    if (process.stdout.isTTY !== true || NO_COLOR !== "" || TERM === "dumb") return (word) => word;
    const { createColors } = (await import("picocolors")).default;
    const { green, red, yellow, cyan } = createColors(true);
    const colours: Record<string, (word: string) => string> = {
      ...{ completed: green, succeeded: green, ok: green },
      ...{ failed: red, permanent_failure: red, fail: red, cancelled: red },
      ...{ waiting: yellow, pending: yellow, warn: yellow },
      ...{ running: cyan, retrying: cyan },
    };
    return (word) => (Object.hasOwn(colours, word) ? colours[word]!(word) : word);
  }

  /** Where the log of a workflow goes. It is no data. */
  log: (text: string) => void = (text) => this.talk(text.trimEnd());

  /**
   * Sends what a workflow says through `console` to `log` from now on. What it writes to `process.stdout` by itself is
   * its own to answer for.
   */
  divertConsole(): void {
    const sink = new Writable({
      decodeStrings: false,
      write: (text: string, _encoding, done) => {
        this.log(text);
        done();
      },
    });
    globalThis.console = new Console(sink);
  }

  /** Calls `stop` at the first SIGINT or SIGTERM and ends the process at the second; the returned function ends that. */
  onInterrupt(stop: (signal: "SIGINT" | "SIGTERM") => void): () => void {
    let count = 0;
    const listener = (signal: NodeJS.Signals): void => {
      const name = signal === "SIGTERM" ? signal : "SIGINT";
      if (++count > 1) process.exit(EXIT[name]);
      stop(name);
    };
    process.on("SIGINT", listener).on("SIGTERM", listener);
    return () => void process.off("SIGINT", listener).off("SIGTERM", listener);
  }

  /** Calls `stop` when nothing is left that could wake this process; the returned function ends that. */
  onDeadEnd(stop: () => void): () => void {
    process.once("beforeExit", stop);
    return () => void process.off("beforeExit", stop);
  }

  /** The words after the name of the program. */
  get words(): string[] {
    return process.argv.slice(2);
  }

  /** Ends the process once everything is written, whatever a workflow has left open. */
  async exit(code: number): Promise<never> {
    await Promise.all([process.stdout, process.stderr].map((stream) => new Promise((done) => stream.write("", done))));
    process.exit(code);
  }
}

/** A terminal can be drawn on unless it is a log of a CI service, cannot move its cursor, or does not know its size. */
function isDrawable({ isTTY, columns, rows }: NodeJS.WriteStream): boolean {
  const { CI = "", TERM } = process.env;
  return isTTY === true && ["", "0", "false"].includes(CI) && TERM !== "dumb" && columns > 0 && rows > 0;
}
