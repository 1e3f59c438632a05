import { readFileSync } from "node:fs";

/** What the command line needs of the package.json that it came with. */
interface OwnPackage {
  version: string;
  engines: { node: string };
}

export function ownPackage(): OwnPackage {
  return JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as OwnPackage;
}
