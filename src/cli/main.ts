#!/usr/bin/env node
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { HoldfastError, messageOf } from "../core/errors.ts";
import type { ListLettersCommand, ShowLetterCommand } from "./commands/dlq.ts";
import type { DoctorCommand } from "./commands/doctor.ts";
import type { PruneCommand } from "./commands/prune.ts";
import type { RedriveCommand } from "./commands/redrive.ts";
import type { RunCommand } from "./commands/run.ts";
import type { ListRunsCommand, ShowRunCommand } from "./commands/runs.ts";
import { durationOf } from "./duration.ts";
import { EXIT, exitCodeOf } from "./exit-codes.ts";
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

  const dlq = holdfast.command("dlq").description("list, show and redrive dead letters: what failed runs have left");
  onStore(filtered(dlq.command("list")))
    .description("list dead letters, newest first")
    .addOption(
      new Option("--status <status>", "only these").choices(["pending", "retrying", "succeeded", "permanent_failure"]),
    )
    .addOption(limit())
    .action(async (options: ListLettersCommand) => {
      const { listLetters } = await import("./commands/dlq.ts");
      exitCode = await listLetters(terminal, options);
    });
  onStore(dlq.command("show"))
    .description("show a dead letter with its payload and the causes of its error")
    .argument("<id>")
    .action(async (id: string, options: ShowLetterCommand) => {
      const { showLetter } = await import("./commands/dlq.ts");
      exitCode = await showLetter(terminal, id, options);
    });
  onStore(filtered(dlq.command("redrive")))
    .description("carry runs on from the node that failed: one dead letter at once, several with --yes")
    .argument("[id]", "the dead letter; without it all that fit are meant")
    .requiredOption("--file <file>", "the file that exports the workflow: a store does not keep its code")
    .option("--yes", "redrive several; without it they are only listed")
    .action(async (id: string | undefined, options: RedriveCommand) => {
      const { redrive } = await import("./commands/redrive.ts");
      exitCode = await redrive(terminal, id, options);
    });

  onStore(holdfast.command("prune"))
    .description("delete ended runs: those that are old enough, and those beyond a number")
    .addOption(new Option("--older-than <time>", "those that ended longer ago, such as 30d, 12h or 45m").argParser(age))
    .addOption(
      new Option("--keep <count>", "those beyond the newest so many of each workflow").argParser(wholeNumber(0)),
    )
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

function onStore(command: Command): Command {
  return command
    .option(
      "--store <url>",
      "where journals are kept: sqlite:path, or a path (default: $RESILIENCE_STORE_URL, else .holdfast/holdfast.db)",
    )
    .option("--json", "print JSON; lists print one object a line");
}

function filtered(command: Command): Command {
  return command
    .option("--workflow <id>", "only those of this workflow")
    .option("--node <id>", "only those of this node")
    .option("--run <id>", "only those of this run");
}

function limit(): Option {
  return new Option("--limit <count>", "how many at most").default(100).argParser(wholeNumber(1));
}

function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    const count = Number(text);
    if (text.trim() === "" || !Number.isSafeInteger(count) || count < least)
      throw new InvalidArgumentError(`It must be a whole number of at least ${least}.`);
    return count;
  };
}

function age(text: string): number {
  const milliseconds = durationOf(text);
  if (milliseconds === undefined)
    throw new InvalidArgumentError("It must be a number with a unit: s, m, h, d or w, such as 30d.");
  return milliseconds;
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
