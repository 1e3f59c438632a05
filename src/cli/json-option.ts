import { readFileSync } from "node:fs";
import { codeOf, ConfigError, messageOf, NotFoundError } from "../core/errors.ts";

/** The value of an option that takes JSON, or `@` and the name of a file that holds JSON; `what` it is names the file. */
export function jsonOption(option: string, what: string, text: string): unknown {
  const isFile = text.startsWith("@");
  const where = isFile ? `The ${what} file ${text.slice(1)}` : option;
  const json = isFile ? contentOf(text.slice(1), what) : text;
  try {
    return JSON.parse(json) as unknown;
  } catch (error) {
    const hint = isFile ? "" : ` Quote it for the shell, as in ${option} '{"id": 7}'.`;
    throw new ConfigError(`${where} is not JSON: ${messageOf(error)}.${hint}`, { cause: error });
  }
}

function contentOf(path: string, what: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (codeOf(error) === "ENOENT") throw new NotFoundError(`There is no ${what} file ${path}.`);
    throw new ConfigError(`The ${what} file ${path} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}
