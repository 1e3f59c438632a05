// The versions of Node that the package is tested on: installs those that are missing below .node/, from the packages
// that carry Node's own binaries, about 200 MB each. With --list it installs nothing and prints where each one is.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const VERSIONS = { 20: "20.20.2", 22: "22.23.3", 24: "24.21.0", 26: "26.10.0" };

const root = fileURLToPath(new URL("..", import.meta.url));
const platform = process.platform === "win32" ? "win" : process.platform;
const packageName = `node-${platform}-${process.arch}`;
const running = process.versions.node.split(".")[0];

/** The version that runs this script serves for its major. */
const binary = (major) =>
  major === running
    ? process.execPath
    : `${root}.node/${major}/node_modules/${packageName}/bin/node${platform === "win" ? ".exe" : ""}`;

const majors = Object.keys(VERSIONS);
if (process.argv.includes("--list")) {
  const found = majors.map((major) => [major, existsSync(binary(major)) ? binary(major) : null]);
  console.log(JSON.stringify(Object.fromEntries(found)));
} else {
  for (const major of majors.filter((name) => !existsSync(binary(name)))) {
    console.log(`Installing Node ${VERSIONS[major]} below .node/${major}`);
    mkdirSync(`${root}.node/${major}`, { recursive: true });
    const args = [
      "install",
      "--no-save",
      "--no-package-lock",
      "--no-audit",
      "--no-fund",
      "--prefix",
      `.node/${major}`,
      `${packageName}@${VERSIONS[major]}`,
    ];
    execFileSync("npm", args, { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
  }
}
