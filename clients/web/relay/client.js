/** What a program or page sees of the relay. All it does goes through an engine: values become bodies here, and bodies values. */

import { Account } from "./account.js";
import { CloseCode } from "./codes.js";
import { Engine } from "./engine.js";
import { RelayError } from "./errors.js";
import { files } from "./files.js";
import { Listeners } from "./listeners.js";
import { RELAY, conversationOf, otherEnd, prepareName, userOf } from "./names.js";
import { decode } from "./packets.js";
import { blocks, devices, pages, presence, receipts, rooms } from "./people.js";
import { Posted } from "./posted.js";
import { encodeArguments } from "./calls.js";
import { defaultStorage } from "./storage.js";
import { TabsEngine, canShare } from "./tabs.js";
import { MSGPACK, TYPING, decodeBody, encodeBody, unpackValue } from "./values.js";

/**
 * @typedef {object} Options
 * @property {string} [url] ws:// or wss://; default: the page's own origin, path /ws
 * @property {string} user as the person types it
 * @property {string | null} [password] without one the ticket of an earlier login in the same storage must do
 * @property {string} [device] default: one that is kept in the storage, or a temporary one if that does not last
 * @property {import("./storage.js").Storage} [storage] default: IndexedDB, or memory where there is none
 * @property {new (url: string) => any} [webSocket] default: globalThis.WebSocket; in Node that of the package `ws`
 * @property {boolean} [remember] keep a ticket in the storage, so that a reload needs no password (true)
 * @property {boolean | Sharing} [tabs] share one connection among the tabs of a device; default: where Web Locks are
 * @property {number | null} [start] for a device that the relay does not know: how many messages back to begin
 */

/** How tabs find each other, if not by Web Locks and BroadcastChannel. @typedef {{locks: import("./tabs.js").Locks, openChannel: (name: string) => any}} Sharing */
/** @typedef {{conversation: string, offset: number, timeMs: number, sender: string, senderSession: string, mine: boolean,
 *   to: string, id: number, contentType: string, body: Uint8Array, value: unknown}} Message */
/** @typedef {{from: string, user: string, to: string, conversation: string, contentType: string, body: Uint8Array, value: unknown}} Signal */
/** @typedef {{conversation: string, other: string, title: string, head: number, first: number, delivered: number, read: number, time_ms: number}} Conversation */

/**
 * `message`: from others and from other devices of mine; `posted`: the fate of what this device sends changed; `gap`: offsets
 * that retention has deleted; `dropped`: the relay dropped so many signals to us; `error`: nobody else is told about it.
 * `room`, `presence`, `receipt`: as in section 12, "Events".
 * @typedef {{
 *   state: {state: import("./link.js").State, error: RelayError | null, retryAtMs: number | null},
 *   message: Message, posted: Posted, signal: Signal,
 *   typing: {user: string, conversation: string, from: string},
 *   receipt: {conversation: string, user: string, delivered: number, read: number, devices: any},
 *   presence: {user: string, state: string, seen_ms: number},
 *   room: {room: string, what: string, user: string, by: string, role: string | null},
 *   gap: {conversation: string, first: number, last: number},
 *   dropped: {signals: number},
 *   error: RelayError,
 * }} Events
 */

const CALL_MS = 30000;
const OPEN_MS = 10000;
const EVENTS = new Set(["room", "presence", "receipt", "dropped"]);

export class Relay {
  /** @type {Listeners<Events>} */
  #listeners = new Listeners();
  /** @type {Engine | TabsEngine} */
  #engine;
  /** Posted and not stored, by id. @type {Map<string, Posted>} */
  #posted = new Map();
  #clockMs = 0;

  /**
   * Log in. Resolves once the relay has welcomed us; rejects if it cannot be reached or refuses. Afterwards the client connects again by
   * itself until it is closed, or the relay says that a person has to change something (state "ended").
   * @param {Options} options
   * @throws {RelayError} LOGIN_FAILED for a wrong password, LOGIN_NEEDED if there is no ticket, UNREACHABLE
   */
  static async connect(options) {
    const me = await Relay.start(options);
    try {
      await me.whenOpen({ patient: false });
    } catch (error) {
      await me.close();
      throw error;
    }
    return me;
  }

  /** As connect, but without waiting for the relay: for a page that shows what it has while it is offline. @param {Options} options */
  static async start(options) {
    const me = new Relay(await settle(options));
    await me.#engine.start();
    return me;
  }

  /** The accounts that have a ticket in this storage: those that may connect without a password. @param {import("./storage.js").Storage} [storage] */
  static async remembered(storage) {
    const found = (await (storage ?? (await defaultStorage())).entries("ticket/")).map(([key]) => key.slice("ticket/".length));
    return found.map((key) => ({ user: key.slice(0, key.indexOf("@")), device: key.slice(key.lastIndexOf("/") + 1) }));
  }

  /** @param {Settled} settled */
  constructor(settled) {
    const { account, url } = settled;
    this.user = account.user;
    this.device = account.device;
    this.address = `${this.user}/${this.device}`;
    this.url = url;
    this.#engine = makeEngine(settled, (type, event) => this.#told(type, event));
    this.#lookOut();
    const ask = (/** @type {string} */ method, /** @type {Record<string, unknown>} */ args = {}) => this.call(RELAY, method, args);
    const stand = async (/** @type {string} */ method, /** @type {Record<string, unknown>} */ args = {}) => {
      const answer = await this.#engine.stand(method, args);
      return answer && decodeBody(answer.contentType, answer.body);
    };
    this.rooms = rooms(ask);
    this.presence = presence(ask, stand);
    this.receipts = receipts(ask, stand, () => this.user);
    this.blocks = blocks(ask);
    this.devices = devices(ask);
    this.files = files({
      open: (to, service, data) => this.open(to, service, data),
      call: (to, method, args) => this.call(to, method, args),
      send: (to, value, options) => this.send(to, value, options),
      whenOpen: (options) => this.whenOpen(options),
      newId,
    });
  }

  /** @returns {import("./link.js").State} */
  get state() {
    return this.#engine.state;
  }

  /** The relay's clock, milliseconds since 1970. */
  get nowMs() {
    return Date.now() + this.#clockMs;
  }

  /** What was posted and is not stored yet, oldest first; after a reload, too. @returns {Posted[]} */
  get pending() {
    return [...this.#posted.values()];
  }

  /**
   * A handler of "message" may return a promise: the message counts as processed, and is acknowledged, once it is resolved. Messages are
   * delivered from the first such handler on, so that none comes before there is somebody to take it.
   * @template {keyof Events} T @param {T} type @param {(event: Events[T]) => unknown} handler @returns {() => void} unsubscribe
   */
  on(type, handler) {
    const remove = this.#listeners.add(type, handler);
    if (type === "message") this.#engine.receive();
    return remove;
  }

  /** Resolves when there is a connection. @param {{patient?: boolean, timeoutMs?: number}} [options] not `patient`: the first failure rejects */
  async whenOpen({ patient = true, timeoutMs = Infinity } = {}) {
    if (patient) return await this.#engine.whenOpen(timeoutMs);
    /** @type {() => void} */
    let stop = () => {};
    const failed = new Promise((_, reject) => {
      stop = this.on("state", ({ error }) => error?.reason === "UNREACHABLE" && reject(error));
    });
    await Promise.race([failed, this.#engine.whenOpen(timeoutMs)]).finally(stop);
  }

  /**
   * Send a message. Resolves when it is on the relay's disk; while there is no connection it waits, and is sent again under the same id.
   * Rejects if the relay refuses it, or when the client ends before it is stored: then it waits in the storage for the next one.
   * @param {string} to a user or a room @param {unknown} value @param {{contentType?: string}} [options]
   * @returns {Promise<import("./outgoing.js").Place>}
   */
  async send(to, value, options) {
    return await this.post(to, value, options).stored;
  }

  /** As send, for a page that shows it at once. @param {string} to @param {unknown} value @param {{contentType?: string}} [options] @returns {Posted} */
  post(to, value, { contentType } = {}) {
    const uid = newId();
    this.#engine.post({ uid, to: recipient(to, this.user), ...encodeBody(value, contentType) });
    return /** @type {Posted} */ (this.#posted.get(uid));
  }

  /** Take back what was not sent yet. @param {Posted} posted @returns {Promise<boolean>} whether it never leaves */
  async withdraw(posted) {
    return await this.#engine.withdraw(posted.id);
  }

  /** To live sessions only, at most once; nothing says whether it arrived. @param {string} to @param {unknown} value @param {{contentType?: string}} [options] */
  async signal(to, value, { contentType } = {}) {
    await this.#engine.signal(to, encodeBody(value, contentType));
  }

  /** Tell who is there that a person is typing; again every few seconds. @param {string} conversation or a user */
  async typing(conversation) {
    await this.signal(recipient(conversation, this.user), new Uint8Array(0), { contentType: TYPING });
  }

  /**
   * Ask a user, a session or the relay. An array is positional arguments, an object named ones.
   * @param {string} to @param {string} method @param {unknown} [args] @param {{timeoutMs?: number}} [options] @returns {Promise<any>}
   */
  async call(to, method, args, { timeoutMs = CALL_MS } = {}) {
    const answer = await this.#engine.call(to, method, encodeArguments(args), timeoutMs);
    return decodeBody(answer.contentType, answer.body);
  }

  /** Serve a method for calls to this user; a handler that throws a RelayError answers with it. @param {string} method @param {import("./calls.js").Method} handler */
  async serve(method, handler) {
    await this.#engine.serve(method, handler);
    return () => this.#engine.serve(method, null);
  }

  /** Open a stream; resolves when the other end has accepted. @param {string} to @param {string} service @param {unknown} [data] @param {{timeoutMs?: number, contentType?: string}} [options] */
  async open(to, service, data, { timeoutMs = OPEN_MS, contentType } = {}) {
    return await this.#engine.open(to, service, encodeBody(data, contentType), timeoutMs);
  }

  /** Offer a service for streams to this user. The stream is finished when the handler returns, and reset when it throws. @param {string} service @param {import("./streams.js").Service} handler */
  async offer(service, handler) {
    await this.#engine.offer(service, handler);
    return () => this.#engine.offer(service, null);
  }

  /** My conversations, by name. @returns {Promise<Conversation[]>} */
  async conversations() {
    const ask = (/** @type {string} */ method, /** @type {any} */ args) => this.call(RELAY, method, args);
    const all = await pages(ask, "conversations.list", {}, "conversations", "conversation");
    return all.map((one) => ({ ...one, other: otherEnd(this.user, one.conversation) }));
  }

  /**
   * A page of what is kept, ascending: behind `after`, or just below `before`, or the newest.
   * @param {string} conversation or a user @param {{after?: number, before?: number, limit?: number}} [where]
   * @returns {Promise<{conversation: string, messages: Message[], first: number, kept: number, head: number}>}
   */
  async history(conversation, where = {}) {
    const answer = await this.call(RELAY, "history.read", { conversation, ...where });
    return { ...answer, messages: answer.messages.map((/** @type {any} */ one) => this.#kept(answer.conversation, one)) };
  }

  /** @param {string} conversation @param {{offset: number, time_ms: number, packet: Uint8Array}} kept */
  #kept(conversation, { offset, time_ms: timeMs, packet }) {
    const inner = decode(packet);
    if (inner?.type !== "MESSAGE") throw new RelayError(CloseCode.BAD_PACKET, "history holds something that is no message");
    const { from, to, id, contentType, body } = inner;
    return this.#message({ conversation, offset, timeMs, from, to, id, contentType, body });
  }

  /** A person has read up to here: told to the relay within a moment. @param {string} conversation or a user @param {number} offset */
  markRead(conversation, offset) {
    this.#engine.markRead(conversationOf(this.user, conversation), offset);
  }

  /** Connect now instead of after the pause: the network is back, or the person presses "retry". */
  hurry() {
    this.#engine.hurry();
  }

  /** In a page: when the network is back or somebody looks, there is no reason to wait. */
  #lookOut() {
    if (!globalThis.document) return;
    const hurry = () => document.visibilityState === "visible" && this.hurry();
    const looks = /** @type {const} */ ([[globalThis, "online"], [document, "visibilitychange"]]);
    for (const [target, event] of looks) target.addEventListener(event, hurry);
    this.on("state", ({ state }) => state === "ended" && looks.forEach(([target, event]) => target.removeEventListener(event, hurry)));
  }

  /** Cut the connection and make a new one. */
  reconnect() {
    this.#engine.reconnect();
  }

  /** Acknowledge, say goodbye, end. What is not stored yet stays in the storage. @param {{forget?: boolean}} [options] `forget`: sign out, the ticket is deleted */
  async close(options) {
    await this.#engine.close(options);
  }

  /** @type {import("./engine.js").Tell} */
  #told(type, event) {
    /** @type {any} */
    const any = event;
    if (type === "arrived") return this.#emit("message", this.#message(any));
    if (type === "posting") return this.#follow(any);
    if (type === "signal") return this.#signalled(any);
    if (type === "trouble") return this.#emit("error", any);
    if (type === "stood") return this.#stood(any);
    if (type === "state") this.#stateTold(any);
    return this.#emit(type, any);
  }

  /** Who came or went while there was no connection. @param {import("./engine.js").EngineEvents["stood"]} event */
  #stood({ method, answer }) {
    if (method !== "presence.watch") return;
    const { users } = /** @type {any} */ (decodeBody(answer.contentType, answer.body));
    for (const user of users) this.#emit("presence", user);
  }

  /** @param {import("./engine.js").EngineEvents["state"]} event */
  #stateTold({ state, error, clockMs }) {
    this.#clockMs = clockMs;
    if (state !== "ended") return;
    const why = error ?? new RelayError(0, "the client was closed; what was not stored waits for the next one", "ENDED");
    for (const posted of this.#posted.values()) posted.abandon(why);
  }

  /** @template {keyof Events} T @param {T} type @param {Events[T]} event */
  #emit(type, event) {
    return this.#listeners.tell(type, event);
  }

  /** @param {import("./incoming.js").Arrived} arrived @returns {Message} */
  #message({ from, ...rest }) {
    const sender = userOf(from);
    return { ...rest, sender, senderSession: from, mine: sender === this.user, value: decodeBody(rest.contentType, rest.body) };
  }

  /** @param {import("./engine.js").Posting} posting */
  #follow(posting) {
    let posted = this.#posted.get(posting.uid);
    if (!posted) this.#posted.set(posting.uid, (posted = new Posted(this.user, posting)));
    posted.update(posting);
    if (posted.settled) this.#posted.delete(posting.uid);
    return this.#emit("posted", posted);
  }

  /** @param {import("./packets.js").Packet} packet SIGNAL */
  #signalled({ from, to, contentType, body }) {
    if (from === RELAY) return this.#noticed(contentType, body);
    const user = userOf(from);
    const conversation = conversationOf(this.user, to.startsWith("#") ? to : user === this.user ? to : user);
    if (contentType === TYPING) return this.#emit("typing", { user, conversation, from });
    return this.#emit("signal", { from, user, to, conversation, contentType, body, value: decodeBody(contentType, body) });
  }

  /** A notice of the relay's; unknown ones are ignored. @param {string} contentType @param {Uint8Array} body */
  #noticed(contentType, body) {
    if (contentType !== MSGPACK) return undefined;
    const { event, ...fields } = /** @type {any} */ (unpackValue(body));
    return EVENTS.has(event) ? this.#emit(event, fields) : undefined;
  }
}

/** @typedef {Omit<import("./engine.js").EngineOptions, "tell"> & {sharing: Sharing | null | true}} Settled */

/** @param {Settled} settled @param {import("./engine.js").Tell} tell */
function makeEngine({ sharing, ...settled }, tell) {
  if (!sharing) return new Engine({ ...settled, tell });
  const options = { name: settled.prefix, tab: newId(), tell, ...(sharing === true ? {} : sharing) };
  return new TabsEngine({ ...options, makeEngine: (leaderTells) => new Engine({ ...settled, tell: leaderTells }) });
}

/** The options with all that was left out. @param {Options} options @returns {Promise<Settled>} */
async function settle(options) {
  const storage = options.storage ?? (await defaultStorage());
  const user = prepareName(options.user);
  const url = options.url ?? sameOrigin();
  const webSocket = options.webSocket ?? globalThis.WebSocket;
  if (!webSocket) throw new RelayError(0, 'there is no WebSocket here; in Node: webSocket: (await import("ws")).WebSocket', "BAD_VALUE");
  const scope = `${user}@${new URL(url).host}${new URL(url).pathname}`;
  const share = options.tabs ?? (storage.lasting && canShare());
  const device = options.device ?? (await ownDevice(storage, `device/${scope}`, Boolean(share)));
  const remember = (options.remember ?? true) && storage.lasting && (storage.keepsKeys ?? true);
  const account = new Account({ user, device, password: options.password, storage, key: `ticket/${scope}/${device}`, remember });
  const sharing = share || null;
  return { url, webSocket, account, storage, sharing, prefix: `of/${scope}/${device}/`, start: options.start ?? null };
}

function sameOrigin() {
  if (!globalThis.location) throw new RelayError(0, 'a url is needed: ws://host:7450/ws', "BAD_VALUE");
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`;
}

const LETTERS = "abcdefghijklmnopqrstuvwxyz234567";

/** @param {number} size */
const randomName = (size) => Array.from(crypto.getRandomValues(new Uint8Array(size)), (byte) => LETTERS[byte % 32]).join("");

/** Never the same twice, over all devices. */
const newId = () => randomName(20);

/**
 * A device of this browser's, or a temporary one: of this program, or of this tab where tabs cannot find each other.
 * @param {import("./storage.js").Storage} storage @param {string} key @param {boolean} shared
 */
async function ownDevice(storage, key, shared) {
  const alone = globalThis.document && !shared ? globalThis.sessionStorage : null;
  const kept = alone ? alone.getItem(key) : await storage.get(key);
  if (typeof kept === "string") return kept;
  const made = storage.lasting && !alone ? `web-${randomName(8)}` : `~${randomName(8)}`;
  if (alone) alone.setItem(key, made);
  else if (storage.lasting) await storage.write(new Map([[key, made]]));
  return made;
}

/** Where a message for a conversation goes. @param {string} to @param {string} user */
function recipient(to, user) {
  return to.includes("@") ? otherEnd(user, to) : to;
}
