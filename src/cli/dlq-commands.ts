import { type Command, Option } from "commander";
import type { DiscardCommand } from "./commands/discard.ts";
import type { ExportCommand, ListLettersCommand, ShowLetterCommand, StatsCommand } from "./commands/dlq.ts";
import type { RedriveCommand } from "./commands/redrive.ts";
import { aCount, aDuration, anInstant, limit, onStore } from "./option-words.ts";
import type { Terminal } from "./terminal.ts";

/** The commands on dead letters. `done` is told what each of them ends with. */
export function addDlq(holdfast: Command, terminal: Terminal, done: (exitCode: number) => void): void {
  const dlq = holdfast
    .command("dlq")
    .description("list, show, redrive and discard dead letters: what failed runs have left");
  onStore(filtered(dlq.command("list")))
    .description("list dead letters, newest first")
    .addOption(limit())
    .action(async (options: ListLettersCommand) => {
      const { listLetters } = await import("./commands/dlq.ts");
      done(await listLetters(terminal, options));
    });
  onStore(dlq.command("show"))
    .description("show a dead letter with its payload and the causes of its error")
    .argument("<id>")
    .action(async (id: string, options: ShowLetterCommand) => {
      const { showLetter } = await import("./commands/dlq.ts");
      done(await showLetter(terminal, id, options));
    });
  onStore(dlq.command("stats"))
    .description("count dead letters by status, and the open ones by workflow, node and error")
    .option("--workflow <id>", "only those of this workflow")
    .action(async (options: StatsCommand) => {
      const { showStats } = await import("./commands/dlq.ts");
      done(await showStats(terminal, options));
    });
  onStore(filtered(dlq.command("export")))
    .description("print dead letters with their payloads as JSON, one a line, newest first")
    .action(async (options: ExportCommand) => {
      const { exportLetters } = await import("./commands/dlq.ts");
      done(await exportLetters(terminal, options));
    });
  onStore(filtered(dlq.command("redrive")))
    .description("carry runs on from the node that failed: one dead letter at once, several with --yes")
    .argument("[id]", "the dead letter; without it all open ones that fit are meant, oldest first")
    .requiredOption("--file <file>", "the file that exports the workflow: a store does not keep its code")
    .option("--force", "also what is quarantined: its cause has been mended")
    .option("--yes", "redrive several; without it they are only listed")
    .option("--dry-run", "only list them, and say why the others would not be redriven: as without --yes")
    .addOption(new Option("--stagger <duration>", "begin them at least so far apart, such as 2s").argParser(aDuration))
    .addOption(new Option("--limit <count>", "how many at most").argParser(aCount))
    .action(async (id: string | undefined, options: RedriveCommand) => {
      const { redrive } = await import("./commands/redrive.ts");
      done(await redrive(terminal, id, options));
    });
  onStore(filtered(dlq.command("discard")))
    .description("give dead letters up: one at once, several with --yes")
    .argument("[id]", "the dead letter; without it all open ones that fit are meant")
    .requiredOption("--reason <text>", "why; it is kept with them")
    .option("--yes", "discard several; without it they are only listed")
    .action(async (id: string | undefined, options: DiscardCommand) => {
      const { discard } = await import("./commands/discard.ts");
      done(await discard(terminal, id, options));
    });
}

function filtered(command: Command): Command {
  return command
    .option("--workflow <id>", "only those of this workflow")
    .option("--node <id>", "only those of this node")
    .option("--run <id>", "only those of this run")
    .option("--code <code>", "only those whose error has this code")
    .addOption(
      new Option("--status <status>", "only these").choices(["pending", "retrying", "succeeded", "permanent_failure"]),
    )
    .addOption(
      new Option("--since <instant>", "only those that were entered since: ISO 8601, or 36h ago").argParser(anInstant),
    );
}
