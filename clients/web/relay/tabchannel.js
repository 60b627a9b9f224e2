/** Questions and news between the tabs of one device, over a BroadcastChannel. It knows nothing of relays. */

import { RelayError } from "./errors.js";

/** @typedef {{postMessage(message: any): void, close(): void, onmessage: any, unref?: () => void}} Channel */
/** @typedef {(from: string, ...args: any[]) => unknown} Answerer */

export class TabChannel {
  /** @type {Map<number, {to: string, resolve: (value: any) => void, reject: (error: RelayError) => void}>} */
  #asked = new Map();
  #lastId = 0;
  #closed = false;

  /**
   * @param {Channel} channel @param {string} tab our own name
   * @param {Record<string, Answerer>} answers what others may ask of us, and tell us, by name
   */
  constructor(channel, tab, answers) {
    this.channel = channel;
    this.tab = tab;
    this.answers = answers;
    channel.onmessage = (/** @type {{data: any}} */ { data }) => this.#receive(data);
    channel.unref?.(); // in Node it would keep the program alive
  }

  /** News for everybody, or for one tab. @param {string | null} to @param {string} name @param {any[]} args */
  tell(to, name, ...args) {
    this.#post({ from: this.tab, to, name, args: args.map(plain) });
  }

  /** @param {string} to @param {string} name @param {any[]} args @returns {Promise<any>} what the other tab answers; its RelayError rejects */
  ask(to, name, ...args) {
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      this.#asked.set(id, { to, resolve, reject });
      this.#post({ from: this.tab, to, name, args: args.map(plain), id });
    });
  }

  /** Nobody answers there any more. @param {RelayError} error @param {string} [to] everybody, if left out */
  fail(error, to) {
    for (const [id, asked] of [...this.#asked]) {
      if (to !== undefined && asked.to !== to) continue;
      this.#asked.delete(id);
      asked.reject(error);
    }
  }

  close() {
    this.#closed = true;
    this.channel.onmessage = null;
    this.channel.close();
  }

  /** An answer may be ready only when the tab has ended: nobody waits for it then. @param {any} message */
  #post(message) {
    if (!this.#closed) this.channel.postMessage(message);
  }

  /** @param {any} message */
  async #receive({ from, to, name, args, id, answered, value }) {
    if (to !== null && to !== this.tab) return;
    if (answered !== undefined) return this.#answered(answered, value);
    const answerer = this.answers[name];
    if (!answerer) return;
    let result;
    try {
      result = await answerer(from, ...args.map(revived));
    } catch (error) {
      result = error instanceof Error ? error : new Error(String(error));
    }
    if (id !== undefined) this.#post({ from: this.tab, to: from, answered: id, value: plain(result) });
  }

  /** @param {number} id @param {any} value */
  #answered(id, value) {
    const asked = this.#asked.get(id);
    this.#asked.delete(id);
    const result = revived(value);
    if (result instanceof RelayError) asked?.reject(result);
    else asked?.resolve(result);
  }
}

const FAILED = "relay error";

/** What survives a structured clone. A view is cut out, or all of the buffer behind it would be copied. @param {any} value @returns {any} */
function plain(value) {
  if (value instanceof RelayError) return { is: FAILED, code: value.code, sentence: value.message, reason: value.reason };
  if (value instanceof Error) return { is: FAILED, code: 0, sentence: value.message, reason: "HANDLER_FAILED" };
  if (value instanceof Uint8Array) return value.byteLength === value.buffer.byteLength ? value : value.slice();
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Map) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, plain(one)]));
}

/** @param {any} value @returns {any} */
function revived(value) {
  if (value === null || typeof value !== "object" || value instanceof Uint8Array || value instanceof Map) return value;
  if (value.is === FAILED) return new RelayError(value.code, value.sentence, value.reason);
  if (Array.isArray(value)) return value.map(revived);
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, revived(one)]));
}
