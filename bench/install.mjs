import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";

const manifest = (...path) => {
  const file = join(...path, "package.json");
  return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : undefined;
};
const peersOf = (folder) => Object.entries(manifest(folder).dependencies);

/** Installs the peers that are missing, or of another version than the one that the folder's package.json pins. */
export function installPeers(folder = import.meta.dirname) {
  const there = ([name, version]) => manifest(folder, "node_modules", name)?.version === version;
  if (peersOf(folder).every(there)) return;
  const command = `npm ci --prefix ${basename(folder)}`;
  console.log(`Installing the peers to compare with: ${command} (up to a minute)`);
  const { status } = spawnSync("npm", ["ci", "--prefix", folder], {
    stdio: "inherit",
    shell: process.platform === "win32",
  });
  if (status !== 0) throw new Error(`${command} ended with status ${status}; run it by hand to see why`);
}

/** The versions measured: our own, then every pinned peer. */
export const versions = (folder = import.meta.dirname) => ({
  holdfast: manifest(folder, "..").version,
  ...Object.fromEntries(peersOf(folder)),
});
