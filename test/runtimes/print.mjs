// Where a program is started from a command line: the verdict is the last line that it prints.
import { smoke } from "./smoke.mjs";

console.log(JSON.stringify(await smoke()));
