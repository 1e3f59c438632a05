import type { WorkflowDefinition } from "../workflow/definition.ts";

/** A workflow as an engine sees it. `signature` exists for inference only. */
export interface Runnable<In = never, Out = unknown> {
  readonly definition: WorkflowDefinition;
  readonly signature?: (input: In) => Out;
}
