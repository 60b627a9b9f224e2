/** Streams of tabs that do not hold the connection: every step is asked of the tab that does. */

import { ErrorCode } from "./codes.js";
import { RelayError } from "./errors.js";

/** @typedef {import("./streams.js").Stream} Stream */
/** @typedef {(name: string, ...args: any[]) => Promise<any>} Ask */
/** @typedef {{key: number, peer: string, opening: import("./streams.js").Opening, answer: unknown}} Ticket what the other tab needs to know */

/** As `Stream`, seen from another tab. */
export class TabStream {
  #finished = false;
  #over = false;

  /** @param {Ask} ask @param {Ticket} ticket */
  constructor(ask, { key, peer, opening, answer }) {
    this.ask = ask;
    this.key = key;
    this.peer = peer;
    this.opening = opening;
    this.answer = answer;
  }

  get over() {
    return this.#over;
  }

  /** @param {string} step @param {any[]} args */
  #step(step, ...args) {
    return this.ask("stream", this.key, step, args);
  }

  /** @param {unknown} [value] @param {string} [contentType] */
  accept(value, contentType) {
    this.#quietly("accept", value, contentType);
  }

  /** @returns {Promise<Uint8Array | null>} */
  read() {
    return this.#step("read");
  }

  /** @param {Uint8Array} bytes */
  async write(bytes) {
    await this.#step("write", bytes);
  }

  finish() {
    if (this.#finished || this.#over) return;
    this.#finished = true;
    this.#quietly("finish");
  }

  close() {
    this.#over = true;
    this.#quietly("close");
  }

  /** @param {number} [code] @param {string} [sentence] */
  reset(code = ErrorCode.CANCELLED, sentence = "the other end gave up") {
    if (this.#over) return;
    this.#over = true;
    this.#quietly("reset", code, sentence);
  }

  /** A failure shows in the next read or write. @param {string} step @param {any[]} args */
  #quietly(step, ...args) {
    this.#step(step, ...args).catch(() => {});
  }

  async *[Symbol.asyncIterator]() {
    for (let chunk = await this.read(); chunk !== null; chunk = await this.read()) yield chunk;
  }
}

const STEPS = new Set(["accept", "read", "write", "finish", "close", "reset"]);

/** The streams that the connected tab holds for others. */
export class Lent {
  /** @type {Map<number, {stream: Stream, tab: string}>} */
  #streams = new Map();
  #lastKey = 0;

  /** @param {Stream} stream @param {string} tab @returns {Ticket} */
  lend(stream, tab) {
    this.#lastKey += 1;
    this.#streams.set(this.#lastKey, { stream, tab });
    const { peer, opening, answer } = stream;
    return { key: this.#lastKey, peer, opening, answer };
  }

  /** @param {string} tab @param {number} key @param {string} step @param {any[]} args */
  async step(tab, key, step, args) {
    const lent = this.#streams.get(key);
    if (lent?.tab !== tab || !STEPS.has(step)) throw new RelayError(ErrorCode.NO_SUCH_STREAM, "this tab has no such stream");
    const result = await /** @type {any} */ (lent.stream)[step](...args);
    if (lent.stream.over && (step !== "read" || result === null)) this.#streams.delete(key);
    return result;
  }

  /** A tab was closed: its streams end. @param {string} tab */
  abandon(tab) {
    for (const [key, { stream, tab: owner }] of [...this.#streams]) {
      if (owner !== tab) continue;
      this.#streams.delete(key);
      stream.reset(ErrorCode.CANCELLED, "the other end was closed");
    }
  }
}
