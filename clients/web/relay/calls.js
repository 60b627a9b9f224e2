/** Calls (section 11): the questions this session asked, and the methods it serves. */

import { CALL_TIMEOUT_MAX_MS, ErrorCode } from "./codes.js";
import { RelayError, asRelayError } from "./errors.js";
import { clip } from "./link.js";
import { encode } from "./packets.js";
import { MSGPACK, decodeBody, encodeBody } from "./values.js";

/** @typedef {import("./values.js").Body} Body */
/** @typedef {import("./packets.js").Packet} Packet */
/** What a served method is told besides its arguments. @typedef {{from: string, method: string, timeoutMs: number, contentType: string, body: Uint8Array}} Call */
/** @typedef {(args: any, call: Call) => unknown} Method returns the answer, or a promise of it; a RelayError it throws is the answer, too */

/** The relay's clock decides; we only wait for its word a little longer. */
const GRACE_MS = 5000;

export class Calls {
  /** @type {Map<number, {resolve: (body: Body) => void, reject: (error: RelayError) => void, timer: ReturnType<typeof setTimeout>}>} */
  #asked = new Map();
  /** @type {Map<string, Method>} */
  #served = new Map();
  // Never the same twice, after a reload neither (section 11, "Ids").
  #lastId = 0;
  #own = "";
  #connections = 0;

  /** @param {(frame: Uint8Array) => void} send */
  constructor(send) {
    this.send = send;
  }

  /** The methods that are served. */
  get methods() {
    return [...this.#served.keys()];
  }

  /** @param {string} own the session's address */
  opened(own) {
    this.#own = own;
    this.#connections += 1;
  }

  /** The connection is gone, and with it what was asked: nobody knows whether it ran. */
  closed() {
    for (const id of [...this.#asked.keys()]) {
      this.#answered(id)?.reject(new RelayError(ErrorCode.SESSION_GONE, "the connection broke before the answer came; the method may have run"));
    }
  }

  /**
   * @param {string} to @param {string} method @param {Body} args @param {number} timeoutMs
   * @param {(answer: Body) => void} [atOnce] is told before the packet behind the answer is worked on
   * @returns {Promise<Body>}
   */
  ask(to, method, args, timeoutMs, atOnce) {
    if (!(timeoutMs >= 1 && timeoutMs <= CALL_TIMEOUT_MAX_MS)) {
      throw new RelayError(0, `a call waits for 1 to ${CALL_TIMEOUT_MAX_MS} ms, not ${timeoutMs}`, "BAD_VALUE");
    }
    this.#lastId = Math.max(this.#lastId + 1, Date.now());
    const id = this.#lastId;
    const frame = encode("CALL", { from: this.#own, to, id, method, timeoutMs: Math.round(timeoutMs), ...args });
    return new Promise((resolve, reject) => {
      const late = () => this.#answered(id)?.reject(new RelayError(ErrorCode.TIMED_OUT, `${to} did not answer ${method} in time`));
      const answered = (/** @type {Body} */ answer) => (atOnce?.(answer), resolve(answer));
      this.#asked.set(id, { resolve: answered, reject, timer: setTimeout(late, timeoutMs + GRACE_MS) });
      this.send(frame);
    });
  }

  /** @param {number} id */
  #answered(id) {
    const asked = this.#asked.get(id);
    this.#asked.delete(id);
    if (asked) clearTimeout(asked.timer);
    return asked;
  }

  /** @param {Packet} packet RESULT */
  result(packet) {
    this.#answered(packet.id)?.resolve({ contentType: packet.contentType, body: packet.body });
  }

  /** @param {number} id @param {number} code @param {string} sentence of a FAULT, or of an ERROR that refuses the CALL */
  fault(id, code, sentence) {
    this.#answered(id)?.reject(new RelayError(code, sentence));
  }

  /** @param {string} name @param {Method | null} method null: no longer */
  serve(name, method) {
    if (method) this.#served.set(name, method);
    else this.#served.delete(name);
  }

  /** Answer a CALL, once. @param {Packet} packet */
  async call(packet) {
    const { from: to, id } = packet;
    const connection = this.#connections;
    let frame;
    try {
      frame = encode("RESULT", { from: this.#own, to, id, ...(await this.#run(packet)) });
    } catch (error) {
      const { code, message } = asRelayError(error, ErrorCode.METHOD_FAILED);
      frame = encode("FAULT", { from: this.#own, to, id, code: code || ErrorCode.METHOD_FAILED, sentence: clip(message) });
    }
    if (connection === this.#connections) this.send(frame);
  }

  /** @param {Packet} packet @returns {Promise<Body>} */
  async #run(packet) {
    const method = this.#served.get(packet.method);
    if (!method) throw new RelayError(ErrorCode.NO_SUCH_METHOD, `there is no method ${JSON.stringify(packet.method)} here`);
    const { from, timeoutMs, contentType, body } = packet;
    const empty = contentType === "" && body.length === 0;
    const args = empty ? undefined : decodeBody(contentType, body);
    if (args === undefined && !empty) throw new RelayError(ErrorCode.BAD_ARGUMENTS, "the arguments are not what their content type says");
    const answer = await method(args, { from, method: packet.method, timeoutMs, contentType, body });
    return encodeBody(answer === undefined ? null : answer);
  }
}

/** Arguments as section 11 wants them: an array is positional, an object named, nothing empty, anything else the only one. @param {unknown} args @returns {Body} */
export function encodeArguments(args) {
  return encodeBody(args, args !== undefined && args !== null && typeof args === "object" && !(args instanceof Uint8Array) ? MSGPACK : undefined);
}
