/**
 * One device: its connection and all that goes over it. There is one per device, however many tabs show it; a page uses it
 * through `Relay` (client.js), in this tab or in another one (tabs.js).
 */

import { Calls } from "./calls.js";
import { ErrorCode } from "./codes.js";
import { RelayError, asRelayError } from "./errors.js";
import { Incoming } from "./incoming.js";
import { Link } from "./link.js";
import { RELAY } from "./names.js";
import { Outgoing } from "./outgoing.js";
import { encode, numberOf } from "./packets.js";
import { Streams } from "./streams.js";
import { decodeBody, encodeBody } from "./values.js";

/** @typedef {import("./packets.js").Packet} Packet */
/** @typedef {import("./values.js").Body} Body */
/** @typedef {import("./link.js").State} State */
/** @typedef {{uid: string, id: number, to: string, contentType: string, body: Uint8Array, postedMs: number,
 *   fate: import("./outgoing.js").Fate, place: import("./outgoing.js").Place | null, error: RelayError | null}} Posting */
/**
 * What an engine tells. A handler of "arrived" and "gap" may return a promise: the next message waits for it.
 * @typedef {{
 *   state: {state: State, error: RelayError | null, retryAtMs: number | null, session: string, clockMs: number},
 *   arrived: import("./incoming.js").Arrived,
 *   gap: {conversation: string, first: number, last: number},
 *   posting: Posting,
 *   signal: Packet,
 *   stood: {method: string, answer: Body},
 *   trouble: RelayError,
 * }} EngineEvents
 */
/** @typedef {<T extends keyof EngineEvents>(type: T, event: EngineEvents[T]) => unknown} Tell */

/**
 * @typedef {object} EngineOptions
 * @property {string} url
 * @property {new (url: string) => any} webSocket
 * @property {import("./account.js").Account} account
 * @property {import("./storage.js").Storage} storage
 * @property {string} prefix of all of the device's keys
 * @property {number | null} start of messages.receive
 * @property {Tell} tell
 */

const ANSWER_MS = 30000;
const SYNC_MS = 3000;

export class Engine {
  /** @type {Link} */
  #link;
  #clockMs = 0;
  /** Calls that are made again after each login. @type {Map<string, unknown>} */
  #standing = new Map();
  /** @type {Set<() => void>} who waits for a connection, or for the end */
  #waiting = new Set();
  /** @type {RelayError | null} why it ended */
  #problem = null;
  session = "";
  #receiving = false;

  /** @param {EngineOptions} options */
  constructor(options) {
    this.options = options;
    const { storage, prefix, tell } = options;
    const send = (/** @type {Uint8Array} */ frame) => this.#link.send(frame);
    const onTrouble = (/** @type {RelayError} */ error) => tell("trouble", error);
    this.outgoing = new Outgoing({ storage, prefix: `${prefix}pending/`, donePrefix: `${prefix}done/`, send, onTrouble, onFate: (entry, fate) => tell("posting", { ...entry, fate }) });
    this.incoming = new Incoming({
      storage, prefix, send, onTrouble,
      onMessage: (message) => tell("arrived", message),
      onGap: (conversation, first, last) => tell("gap", { conversation, first, last }),
    });
    this.calls = new Calls(send);
    this.streams = new Streams(send);
    this.#link = new Link({
      url: options.url,
      webSocket: options.webSocket,
      account: options.account,
      onOpen: (welcome) => this.#opened(welcome),
      onPacket: (packet) => this.#handle(packet),
      onDown: () => this.#down(),
      onState: (state, error, retryAtMs) => this.#state(state, error, retryAtMs),
    });
  }

  get state() {
    return this.#link.state;
  }

  /** Read what was kept, and begin to connect. */
  async start() {
    await Promise.all([this.incoming.load(), this.options.account.load()]);
    for (const entry of await this.outgoing.load()) this.options.tell("posting", { ...entry, fate: "queued" });
    this.#link.run();
  }

  /** @param {State} state @param {RelayError | null} error @param {number | null} retryAtMs */
  #state(state, error, retryAtMs) {
    if (state === "ended") this.#problem = error ?? new RelayError(0, "the client was closed", "ENDED");
    if (state === "open") return; // told once everything is in place
    this.options.tell("state", { state, error, retryAtMs, session: this.session, clockMs: this.#clockMs });
    if (state === "ended") this.#wake();
  }

  #wake() {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    waiting.forEach((wake) => wake());
  }

  /** @param {Packet} welcome */
  #opened(welcome) {
    this.session = welcome.session;
    this.#clockMs = welcome.timeMs - Date.now();
    this.calls.opened(this.session);
    this.streams.opened(this.session);
    this.incoming.opened(this.session, welcome.generation);
    if (this.calls.methods.length > 0) this.#again("methods.announce", { methods: this.calls.methods });
    if (this.streams.services.length > 0) this.#again("services.announce", { services: this.streams.services });
    for (const [method, args] of this.#standing) this.#again(method, args, (answer) => this.options.tell("stood", { method, answer }));
    if (this.#receiving) this.#receive();
    this.outgoing.opened(this.session, welcome.lastMessageId);
    this.options.tell("state", { state: "open", error: null, retryAtMs: null, session: this.session, clockMs: this.#clockMs });
    this.#wake();
  }

  /** @param {string} method @param {unknown} args @param {(answer: Body) => void} [atOnce] */
  #again(method, args, atOnce) {
    this.calls.ask(RELAY, method, encodeBody(args), ANSWER_MS, atOnce).catch((error) => {
      if (error.code !== ErrorCode.SESSION_GONE) this.options.tell("trouble", new RelayError(error.code, `${method}: ${error.message}`));
    });
  }

  /** Have messages delivered to this device, now and after each login. */
  receive() {
    if (this.#receiving) return;
    this.#receiving = true;
    if (this.#link.isOpen) this.#receive();
  }

  #receive() {
    this.#again("messages.receive", { start: this.options.start }, (answer) => this.#received(answer));
  }

  /** @param {Body} answer of messages.receive; DELIVERYs come right behind it */
  #received(answer) {
    const value = /** @type {{new?: boolean} | undefined} */ (decodeBody(answer.contentType, answer.body));
    if (value?.new) this.incoming.forgotten();
  }

  #down() {
    this.calls.closed();
    this.streams.closed();
    this.incoming.closed();
    this.outgoing.closed();
  }

  /** @param {Packet} packet */
  #handle(packet) {
    switch (packet.type) {
      case "DELIVERY": return this.incoming.delivery(packet);
      case "STORED": return this.#stored(packet, 1);
      case "STOREDRUN": return this.#stored(packet, packet.total);
      case "GAP": return this.incoming.gap(packet);
      case "SIGNAL": return void this.options.tell("signal", packet);
      case "CALL": return void this.calls.call(packet);
      case "RESULT": return this.calls.result(packet);
      case "FAULT": return this.calls.fault(packet.id, packet.code, packet.sentence);
      case "ERROR": return this.#refused(packet);
      default: return this.streams.handle(packet);
    }
  }

  /** @param {Packet} packet @param {number} total */
  #stored(packet, total) {
    const { id, conversation, offset, timeMs } = packet;
    this.incoming.stored(conversation, offset, total);
    this.outgoing.stored(id, { conversation, offset, timeMs }, total);
  }

  /** @param {Packet} packet ERROR */
  #refused(packet) {
    const { refused, id, code, sentence } = packet;
    if (refused === numberOf("MESSAGE")) this.outgoing.refused(id, code, sentence);
    else if (refused === numberOf("CALL") && id !== null) this.calls.fault(id, code, sentence);
    else if (refused >= numberOf("OPEN") && refused <= numberOf("RESET") && id !== null) this.streams.refused(id, code, sentence);
    else this.options.tell("trouble", new RelayError(code, sentence));
  }

  /** Resolves when there is a connection. @param {number} timeoutMs @returns {Promise<void>} @throws {RelayError} NOT_CONNECTED, or why it ended */
  async whenOpen(timeoutMs = Infinity) {
    const deadline = Date.now() + timeoutMs;
    while (!this.#link.isOpen) {
      if (this.#problem) throw this.#problem;
      const leftMs = deadline - Date.now();
      if (leftMs <= 0) throw new RelayError(0, "there is no connection to the relay", "NOT_CONNECTED");
      await new Promise((resolve) => {
        const timer = Number.isFinite(leftMs) ? setTimeout(resolve, leftMs) : undefined;
        this.#waiting.add(() => (clearTimeout(timer), resolve(undefined)));
      });
    }
  }

  /** @param {{uid: string, to: string, contentType: string, body: Uint8Array}} message told by "posting" events */
  post(message) {
    if (this.#problem) throw this.#problem;
    this.options.tell("posting", { ...this.outgoing.add(message), fate: "queued" });
  }

  /**
   * Post for another tab.
   * @param {{uid: string, to: string, contentType: string, body: Uint8Array}} message
   * @param {{again: boolean, remember: boolean}} how `again`: an earlier leader may have had it; `remember` what comes of it
   */
  async take(message, { again, remember }) {
    if (this.#problem) throw this.#problem;
    const known = again ? await this.outgoing.known(message.uid) : null;
    if (known === "waiting") return;
    if (known) this.options.tell("posting", { ...message, id: 0, postedMs: Date.now(), fate: known.place ? "stored" : "failed", ...known });
    else this.options.tell("posting", { ...this.outgoing.add(message, remember), fate: "queued" });
  }

  /** @param {string} uid @returns {Promise<boolean>} */
  async withdraw(uid) {
    return this.outgoing.withdraw(uid);
  }

  /** @param {string} to @param {Body} body @throws {RelayError} NOT_CONNECTED */
  async signal(to, body) {
    if (!this.#link.isOpen) await this.whenOpen(0);
    this.#link.send(encode("SIGNAL", { from: this.session, to, id: null, ...body }));
  }

  /** @param {string} to @param {string} method @param {Body} args @param {number} timeoutMs @returns {Promise<Body>} */
  async call(to, method, args, timeoutMs) {
    await this.whenOpen(timeoutMs);
    return await this.calls.ask(to, method, args, timeoutMs);
  }

  /** A call to the relay, made now and again after each login. @param {string} method @param {unknown} args @returns {Promise<Body | null>} null: there is no connection yet */
  async stand(method, args) {
    this.#standing.set(method, args);
    return this.#link.isOpen ? await this.calls.ask(RELAY, method, encodeBody(args), ANSWER_MS) : null;
  }

  /** @param {string} to @param {string} service @param {Body} body @param {number} timeoutMs */
  async open(to, service, body, timeoutMs) {
    await this.whenOpen(timeoutMs);
    return await this.streams.open(to, service, body, timeoutMs);
  }

  /** @param {string} name @param {import("./calls.js").Method | null} method */
  async serve(name, method) {
    this.calls.serve(name, method);
    if (this.#link.isOpen) await this.calls.ask(RELAY, "methods.announce", encodeBody({ methods: this.calls.methods }), ANSWER_MS);
  }

  /** @param {string} name @param {import("./streams.js").Service | null} service */
  async offer(name, service) {
    this.streams.serve(name, service);
    if (this.#link.isOpen) await this.calls.ask(RELAY, "services.announce", encodeBody({ services: this.streams.services }), ANSWER_MS);
  }

  /** @param {string} conversation @param {number} offset */
  markRead(conversation, offset) {
    this.incoming.markRead(conversation, offset);
  }

  /** Connect now rather than later. */
  hurry() {
    this.#link.hurry();
  }

  /** Cut the connection, and connect again by the rules. */
  reconnect() {
    this.#link.drop(0, "connecting again");
  }

  /** Acknowledge, say goodbye, end. What is not stored yet stays in the storage. @param {{forget?: boolean}} [options] `forget`: sign out */
  async close({ forget = false } = {}) {
    await this.incoming.flush();
    if (this.#link.isOpen && this.#receiving) {
      const synced = this.calls.ask(RELAY, "messages.sync", encodeBody({}), SYNC_MS);
      /** @type {ReturnType<typeof setTimeout> | undefined} */
      let timer;
      const late = new Promise((resolve) => (timer = setTimeout(resolve, SYNC_MS)));
      await Promise.race([synced, late]).catch((error) => this.options.tell("trouble", asRelayError(error, 0)));
      clearTimeout(timer);
    }
    this.#link.close();
    if (forget) await this.options.account.forget();
  }
}
