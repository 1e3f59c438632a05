// The runtimes that the package is tested on: installs those that are missing below .runtimes/, from the packages that
// carry their binaries, 100 to 200 MB each. With --list it installs nothing and prints where each one is.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const { platform, arch } = process;
const exe = platform === "win32" ? ".exe" : "";

/** Each names its platforms in its own way. */
const node = (version) => ({
  package: `node-${platform === "win32" ? "win" : platform}-${arch}`,
  version,
  binary: `bin/node${exe}`,
});
const BUN_PLATFORM = platform === "win32" ? "windows" : platform;
// The plain build for x64 needs instructions that not every machine has.
const BUN_ARCH = arch === "arm64" ? "aarch64" : platform === "linux" ? `${arch}-baseline` : arch;

const RUNTIMES = {
  "node-20": node("20.20.2"),
  "node-22": node("22.23.3"),
  "node-24": node("24.21.0"),
  "node-26": node("26.10.0"),
  bun: { package: `@oven/bun-${BUN_PLATFORM}-${BUN_ARCH}`, version: "1.4.5", binary: `bin/bun${exe}` },
  deno: {
    package: `@deno/${platform}-${arch}${platform === "linux" ? "-glibc" : ""}`,
    version: "2.9.6",
    binary: `deno${exe}`,
  },
};

const root = fileURLToPath(new URL("..", import.meta.url));

/** The Node that runs this script serves for its major. */
const running = `node-${process.versions.node.split(".")[0]}`;
const pathOf = (name) =>
  name === running
    ? process.execPath
    : `${root}.runtimes/${name}/node_modules/${RUNTIMES[name].package}/${RUNTIMES[name].binary}`;

const names = Object.keys(RUNTIMES);
if (process.argv.includes("--list")) {
  const found = names.map((name) => [name, existsSync(pathOf(name)) ? pathOf(name) : null]);
  console.log(JSON.stringify(Object.fromEntries(found)));
} else {
  for (const name of names.filter((name) => !existsSync(pathOf(name)))) {
    const spec = `${RUNTIMES[name].package}@${RUNTIMES[name].version}`;
    console.log(`Installing ${spec} below .runtimes/${name}`);
    mkdirSync(`${root}.runtimes/${name}`, { recursive: true });
    const args = [
      "install",
      "--no-save",
      "--no-package-lock",
      "--no-audit",
      "--no-fund",
      "--prefix",
      `.runtimes/${name}`,
      spec,
    ];
    execFileSync("npm", args, { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
  }
}
