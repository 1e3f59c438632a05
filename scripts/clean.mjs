// Removes everything that was built, but nothing that was installed, and no stored run.
import { rmSync } from "node:fs";

for (const folder of ["dist", ".build", "coverage"]) {
  rmSync(new URL(`../${folder}`, import.meta.url), { recursive: true, force: true });
}
