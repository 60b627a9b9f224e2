/**
 * Messages on their way in (section 10): each once, in order, and the cursors that say how far this device is. A cursor is
 * written after the handlers are through with a message, and acknowledged to the relay after that.
 */

import { CloseCode } from "./codes.js";
import { RelayError } from "./errors.js";
import { decode, encode } from "./packets.js";

/** @typedef {{conversation: string, offset: number, timeMs: number, from: string, to: string, id: number, contentType: string, body: Uint8Array}} Arrived */
/** @typedef {{conversation: string, offset: number, message: Arrived | null, gap: [number, number] | null}} Step */

const ACK_PAUSE_MS = 100;

/**
 * @typedef {object} IncomingOptions
 * @property {import("./storage.js").Storage} storage
 * @property {string} prefix of its keys
 * @property {(frame: Uint8Array) => void} send
 * @property {(message: Arrived) => unknown} onMessage a promise it returns is waited for before the next message
 * @property {(conversation: string, first: number, last: number) => unknown} onGap
 * @property {(error: RelayError) => void} onTrouble
 */

export class Incoming {
  /** The last offset that came. @type {Map<string, number>} */
  #came = new Map();
  /** The last offset that the handlers are through with. @type {Map<string, number>} */
  #handled = new Map();
  /** What the storage holds: only this is acknowledged, for the relay does not send it again. @type {Map<string, number>} */
  #written = new Map();
  /** Conversations whose cursor moved since the storage was written. @type {Set<string>} */
  #moved = new Set();
  /** Written, and not acknowledged on this connection. @type {Set<string>} */
  #owed = new Set();
  /** How far a person has read. @type {Map<string, number>} */
  #read = new Map();
  /** Offsets may jump once: the relay did not know this device any more. @type {Set<string>} */
  #mayJump = new Set();
  /** Where a hole was met, and a new connection asked for. @type {Set<string>} */
  #holes = new Set();
  /** @type {Step[]} */
  #steps = [];
  #stepping = false;
  /** @type {Promise<void> | null} */
  #keeping = null;
  /** @type {ReturnType<typeof setTimeout> | null} */
  #timer = null;
  #own = "";
  #open = false;
  #generation = "";

  /** @param {IncomingOptions} options */
  constructor(options) {
    this.options = options;
  }

  async load() {
    const { storage, prefix } = this.options;
    this.#generation = (await storage.get(`${prefix}generation`)) ?? "";
    for (const [key, offset] of await storage.entries(`${prefix}cursor/`)) {
      const conversation = key.slice(`${prefix}cursor/`.length);
      this.#came.set(conversation, offset);
      this.#handled.set(conversation, offset);
      this.#written.set(conversation, offset);
    }
  }

  /** How far the handlers are, by conversation. */
  get cursors() {
    return new Map(this.#handled);
  }

  /** A connection is there. @param {string} own its session @param {string} generation of WELCOME */
  opened(own, generation) {
    this.#own = own;
    this.#open = true;
    const changes = new Map([[`${this.options.prefix}generation`, generation]]);
    if (this.#generation && this.#generation !== generation) this.#forget(changes);
    if (this.#generation !== generation) this.#write(changes);
    this.#generation = generation;
    for (const conversation of [...this.#written.keys(), ...this.#read.keys()]) this.#owed.add(conversation);
    this.#soon();
  }

  closed() {
    this.#open = false;
  }

  /** A restored relay gives offsets to other messages: what was seen says nothing any more. @param {Map<string, any>} changes */
  #forget(changes) {
    for (const conversation of this.#came.keys()) changes.set(`${this.options.prefix}cursor/${conversation}`, undefined);
    for (const known of [this.#came, this.#handled, this.#written, this.#moved, this.#owed, this.#read, this.#mayJump]) known.clear();
    this.#steps = this.#steps.map((step) => ({ ...step, conversation: "" }));
  }

  /** The relay did not know this device: it does not go on from our cursors. */
  forgotten() {
    for (const conversation of this.#came.keys()) this.#mayJump.add(conversation);
  }

  /** @param {import("./packets.js").Packet} packet DELIVERY */
  delivery(packet) {
    const { conversation, offset, timeMs } = packet;
    const cursor = this.#came.get(conversation);
    if (cursor !== undefined && offset <= cursor) return;
    if (cursor !== undefined && offset > cursor + 1) this.#hole(conversation, cursor, offset);
    const inner = decode(packet.packet);
    if (inner?.type !== "MESSAGE") throw new RelayError(CloseCode.BAD_PACKET, "a DELIVERY holds a MESSAGE");
    const { from, to, id, contentType, body } = inner;
    const message = from === this.#own ? null : { conversation, offset, timeMs, from, to, id, contentType, body };
    this.#take({ conversation, offset, message, gap: null });
  }

  /**
   * Offsets are missing. A new connection brings them, unless this device has acknowledged them already and its storage forgot: then, or
   * when the relay did not know the device, the hole is told.
   * @param {string} conversation @param {number} cursor @param {number} offset
   */
  #hole(conversation, cursor, offset) {
    const known = this.#mayJump.delete(conversation);
    if (!known && !this.#holes.delete(`${conversation} ${cursor}`)) {
      this.#holes.add(`${conversation} ${cursor}`);
      throw new RelayError(CloseCode.NORMAL, `${conversation}: ${offset} came after ${cursor}; connecting again`);
    }
    this.#take({ conversation, offset: offset - 1, message: null, gap: [cursor + 1, offset - 1] });
  }

  /** What this session sent takes its place among what came. @param {string} conversation @param {number} offset @param {number} total */
  stored(conversation, offset, total) {
    const cursor = this.#came.get(conversation);
    if (cursor === undefined || offset > cursor + 1 || offset + total - 1 <= cursor) return;
    this.#take({ conversation, offset: offset + total - 1, message: null, gap: null });
  }

  /** @param {import("./packets.js").Packet} packet GAP */
  gap(packet) {
    const { conversation, first, last } = packet;
    const cursor = this.#came.get(conversation);
    if (cursor !== undefined && last <= cursor) return;
    if (cursor !== undefined && first > cursor + 1) this.#hole(conversation, cursor, first);
    this.#take({ conversation, offset: last, message: null, gap: [first, last] });
  }

  /** @param {Step} step */
  #take(step) {
    this.#came.set(step.conversation, step.offset);
    this.#steps.push(step);
    this.#run();
  }

  /** Hand up in order, without a pause as long as no handler asks for one. */
  async #run() {
    if (this.#stepping) return;
    this.#stepping = true;
    while (this.#steps.length > 0) {
      const step = /** @type {Step} */ (this.#steps.shift());
      if (!step.conversation) continue;
      const waiting = this.#handUp(step);
      if (waiting instanceof Promise) await waiting.catch((error) => this.#handlerFailed(error));
      if (step.conversation && this.#came.has(step.conversation)) this.#handledUpTo(step);
    }
    this.#stepping = false;
  }

  /** @param {Step} step @returns {unknown} */
  #handUp(step) {
    try {
      if (step.gap) return this.options.onGap(step.conversation, ...step.gap);
      return step.message ? this.options.onMessage(step.message) : undefined;
    } catch (error) {
      return this.#handlerFailed(error);
    }
  }

  /** @param {unknown} error */
  #handlerFailed(error) {
    this.options.onTrouble(new RelayError(0, `a handler failed: ${error instanceof Error ? (error.stack ?? error.message) : error}`, "HANDLER_FAILED"));
  }

  /** @param {Step} step */
  #handledUpTo(step) {
    this.#handled.set(step.conversation, step.offset);
    this.#moved.add(step.conversation);
    this.#keep();
  }

  /** @param {string} conversation @param {number} offset that a person has read up to */
  markRead(conversation, offset) {
    if (offset <= (this.#read.get(conversation) ?? -1)) return;
    this.#read.set(conversation, offset);
    this.#owed.add(conversation);
    this.#soon();
  }

  #soon() {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.flush();
    }, ACK_PAUSE_MS);
  }

  /** Write the cursors at once, those that move meanwhile together: a new page is to see little again. @returns {Promise<void>} */
  #keep() {
    this.#keeping ??= Promise.resolve().then(async () => {
      while (this.#moved.size > 0) await this.#writeMoved();
      this.#keeping = null;
    });
    return this.#keeping;
  }

  async #writeMoved() {
    const moved = new Map([...this.#moved].map((conversation) => [conversation, /** @type {number} */ (this.#handled.get(conversation))]));
    const generation = this.#generation;
    this.#moved.clear();
    await this.#write(new Map([...moved].map(([conversation, offset]) => [`${this.options.prefix}cursor/${conversation}`, offset])));
    if (generation === this.#generation) moved.forEach((offset, conversation) => this.#wrote(conversation, offset));
  }

  /** Tell the relay, once the cursors are written. */
  async flush() {
    await this.#keep();
    if (!this.#open) return;
    for (const conversation of this.#owed) {
      const fields = { conversation, delivered: this.#written.get(conversation) ?? 0, read: this.#read.get(conversation) ?? null };
      this.options.send(encode("ACK", fields));
    }
    this.#owed.clear();
  }

  /** @param {string} conversation @param {number} offset */
  #wrote(conversation, offset) {
    this.#written.set(conversation, offset);
    this.#owed.add(conversation);
    this.#soon();
  }

  /** @param {Map<string, any>} changes */
  async #write(changes) {
    try {
      await this.options.storage.write(changes);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.options.onTrouble(new RelayError(0, `cursors cannot be kept for a reload: ${why}`, "STORAGE_FAILED"));
    }
  }
}
