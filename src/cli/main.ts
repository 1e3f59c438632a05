#!/usr/bin/env node
import { Command, CommanderError, Option } from "commander";
import { HoldfastError, messageOf } from "../core/errors.ts";
import type { CancelCommand } from "./commands/cancel.ts";
import type { DoctorCommand } from "./commands/doctor.ts";
import type { PruneCommand } from "./commands/prune.ts";
import type { RunCommand } from "./commands/run.ts";
import type { ListRunsCommand, ShowRunCommand } from "./commands/runs.ts";
import type { SignalCommand } from "./commands/signal.ts";
import { addDlq } from "./dlq-commands.ts";
import { EXIT, exitCodeOf } from "./exit-codes.ts";
import { aCountOrNone, aDuration, limit, onStore } from "./option-words.ts";
import { ownPackage } from "./own-package.ts";
import { Terminal } from "./terminal.ts";
import { cleanLines } from "./text.ts";

const terminal = new Terminal();
let exitCode: number = EXIT.OK;

/** The command line. What a command does is loaded when it is called, so that `--help` costs no more than commander. */
function program(): Command {
  const holdfast = new Command("holdfast")
    .description("Runs durable workflows, and shows and mends what became of them.")
    .version(ownPackage().version, "-v, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .helpCommand(false)
    .showHelpAfterError("Add --help to see what it takes.")
    .exitOverride();

  onStore(holdfast.command("run"))
    .description("run a workflow to its end, or carry a run on")
    .argument("<file>", "a JavaScript or TypeScript file that exports the workflow")
    .option("--input <json>", "the input as JSON, or @file for a file that holds JSON")
    .option("--run-id <id>", "names the run: a run that is known is joined, resumed or returned")
    .option("--resume", "only carry on a run that is known, with the input that it was started with")
    .option("--workflow <id>", "which workflow, where the file exports several")
    .action(async (file: string, options: RunCommand) => {
      const { run } = await import("./commands/run.ts");
      exitCode = await run(terminal, file, options);
    });

  addMessages(holdfast);

  const runs = holdfast.command("runs").description("list and show runs");
  onStore(runs.command("list"))
    .description("list runs, newest first")
    .addOption(
      new Option("--status <status>", "only these").choices(["running", "waiting", "completed", "failed", "cancelled"]),
    )
    .option("--workflow <id>", "only runs of this workflow")
    .addOption(limit())
    .action(async (options: ListRunsCommand) => {
      const { listRuns } = await import("./commands/runs.ts");
      exitCode = await listRuns(terminal, options);
    });
  onStore(runs.command("show"))
    .description("show what became of a run, node by node")
    .argument("<run-id>")
    .action(async (runId: string, options: ShowRunCommand) => {
      const { showRun } = await import("./commands/runs.ts");
      exitCode = await showRun(terminal, runId, options);
    });

  addDlq(holdfast, terminal, (code) => (exitCode = code));

  onStore(holdfast.command("prune"))
    .description("delete ended runs: those that are old enough, and those beyond a number")
    .addOption(
      new Option("--older-than <time>", "those that ended longer ago, such as 30d, 12h or 45m").argParser(aDuration),
    )
    .addOption(new Option("--keep <count>", "those beyond the newest so many of each workflow").argParser(aCountOrNone))
    .option("--workflow <id>", "only runs of this workflow")
    .option("--dry-run", "only print which would go")
    .action(async (options: PruneCommand) => {
      const { prune } = await import("./commands/prune.ts");
      exitCode = await prune(terminal, options);
    });

  onStore(holdfast.command("doctor"))
    .description("check what durable runs depend upon here: Node, SQLite, disk, store")
    .action(async (options: DoctorCommand) => {
      const { doctor } = await import("./commands/doctor.ts");
      exitCode = await doctor(terminal, options);
    });
  return holdfast;
}

/** Commands that tell a run something, wherever it is carried out. */
function addMessages(holdfast: Command): void {
  const file = (what: string): Option => new Option("--file <file>", `the file that exports the workflow: ${what}`);
  onStore(holdfast.command("signal"))
    .description("tell a run what one of its nodes waits for")
    .argument("<run-id>")
    .argument("<name>", "what the signal is called: the id of the node that waits for it, unless it says otherwise")
    .option("--payload <json>", "what is said, as JSON, or @file for a file that holds JSON")
    .option("--id <id>", "names what is said: under one id it is told once")
    .addOption(file("what no node takes is refused then"))
    .action(async (runId: string, name: string, options: SignalCommand) => {
      const { signal } = await import("./commands/signal.ts");
      exitCode = await signal(terminal, runId, name, options);
    });
  onStore(holdfast.command("cancel"))
    .description("cancel a run, wherever it is carried out")
    .argument("<run-id>")
    .option("--reason <text>", "why, for whoever looks at the run later")
    .option("--compensate", "undo what nodes have done that can be undone, newest first")
    .addOption(file("a run that nobody carries out ends at once then"))
    .action(async (runId: string, options: CancelCommand) => {
      const { cancel } = await import("./commands/cancel.ts");
      exitCode = await cancel(terminal, runId, options);
    });
}

/** Tells why a command could not be carried out. Errors of ours say it all; of others the place is needed too. */
function report(error: unknown): void {
  const told = error instanceof Error && !(error instanceof HoldfastError) ? error.stack : undefined;
  // Further lines are indented, so that none of them passes for a line of ours.
  terminal.talk(`error: ${cleanLines(told ?? messageOf(error)).replaceAll("\n", "\n  ")}`);
}

try {
  await program().parseAsync(terminal.words, { from: "user" });
} catch (error) {
  // Commander has said what was wrong, or has printed the help that was asked for.
  if (error instanceof CommanderError) exitCode = error.exitCode === 0 ? EXIT.OK : EXIT.USAGE;
  else {
    report(error);
    exitCode = exitCodeOf(error);
  }
}
await terminal.exit(exitCode);
