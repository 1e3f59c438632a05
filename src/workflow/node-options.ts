/** The policies of a node, as options: the engine builds them, since this layer imports no policy. */
export interface PolicyOptions {
  readonly retry?: object | undefined;
  readonly circuitBreaker?: object | undefined;
  readonly timeout?: object | undefined;
}
