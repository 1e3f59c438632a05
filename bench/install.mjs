import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";

const manifest = (path) => {
  const url = new URL(path, import.meta.url);
  return existsSync(url) ? JSON.parse(readFileSync(url, "utf8")) : undefined;
};
const peers = Object.entries(manifest("package.json").dependencies);

/** Installs the peers that are missing or of another version than the one pinned here. */
export function installPeers() {
  if (peers.every(([name, version]) => manifest(`node_modules/${name}/package.json`)?.version === version)) return;
  console.log(
    "Installing the peers to compare with: npm ci --prefix bench (about a minute; better-sqlite3 may compile)",
  );
  const { status } = spawnSync("npm", ["ci", "--prefix", import.meta.dirname], {
    stdio: "inherit",
    shell: process.platform === "win32",
  });
  if (status !== 0) throw new Error(`npm ci --prefix bench ended with status ${status}; run it by hand to see why`);
}

/** The versions measured: our own, then every pinned peer. */
export const versions = () => ({ holdfast: manifest("../package.json").version, ...Object.fromEntries(peers) });
