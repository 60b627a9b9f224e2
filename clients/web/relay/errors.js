/** The one error of this SDK. */

import { codeName } from "./codes.js";

/**
 * What the relay, another session, or this SDK says went wrong. Decide by `code` or `reason`; show `message` to people.
 * `code` is one of sections 14 and 15 of docs/protocol.md, an application's own from 1000 up, or 0 for what this end found
 * by itself; `reason` is then one of UNREACHABLE (no connection was made), NOT_CONNECTED (none is there now), LOGIN_NEEDED (the
 * password is needed), ENDED (the client was closed, or gave up), FORGED_RELAY (the other end does not know the
 * account), BAD_VALUE (an argument or a body that cannot be sent), CANCELLED.
 */
export class RelayError extends Error {
  /** @param {number} code @param {string} sentence @param {string} [reason] */
  constructor(code, sentence, reason) {
    super(sentence);
    this.name = "RelayError";
    this.code = code;
    this.reason = reason ?? codeName(code);
  }

  /** Whether the same may work later without a change (codes 300 to 399 and 4000 to 4199). */
  get temporary() {
    return (this.code >= 300 && this.code < 400) || (this.code >= 4000 && this.code < 4200) || NOT_NOW.has(this.reason);
  }
}

const NOT_NOW = new Set(["UNREACHABLE", "NOT_CONNECTED"]);

/** @param {unknown} error @param {number} code of what is not one of ours @returns {RelayError} */
export function asRelayError(error, code) {
  if (error instanceof RelayError) return error;
  return new RelayError(code, error instanceof Error ? error.message : String(error));
}
