/**
 * Several tabs of one device: one of them, the leader, has the engine and with it the only connection; the others go
 * through it. A Web Lock decides who leads; when the leader is closed the next tab takes over from the storage.
 *
 * What a tab posts is the tab's until it is settled: it is told to each new leader again, which knows from the storage what
 * came of it. A message reaches each tab once: by its offset a tab knows what it has seen, and what it missed while the lead
 * changed it reads from the history.
 */

import { ErrorCode } from "./codes.js";
import { RelayError, asRelayError } from "./errors.js";
import { RELAY } from "./names.js";
import { decode } from "./packets.js";
import { TabChannel } from "./tabchannel.js";
import { Lent, TabStream } from "./tabstreams.js";
import { decodeBody, encodeBody } from "./values.js";

/** @typedef {import("./engine.js").Engine} Engine */
/** @typedef {import("./engine.js").Tell} Tell */
/** @typedef {import("./values.js").Body} Body */
/** @typedef {{uid: string, to: string, contentType: string, body: Uint8Array}} Message */
/** The part of Web Locks that is used. @typedef {{request(name: string, options: {signal?: AbortSignal}, held: () => Promise<unknown>): Promise<unknown>}} Locks */
/** @typedef {import("./engine.js").EngineEvents["state"]} StateEvent */

const HISTORY_MS = 30000;
const ENDED_PAUSE_MS = 500;

/** Whether tabs can find each other here. */
export const canShare = () => Boolean(globalThis.navigator?.locks && globalThis.BroadcastChannel && globalThis.document);

export class TabsEngine {
  /** @type {Engine | null} what only the leader has */
  #engine = null;
  /** @type {TabChannel} */
  #channel;
  /** @type {string | null} the leader's tab */
  #leader = null;
  /** @type {StateEvent} */
  #mirror = { state: "connecting", error: null, retryAtMs: null, session: "", clockMs: 0 };
  /** Posted here and not settled. @type {Map<string, Message>} */
  #unsettled = new Map();
  /** The last offset this tab was told, or knew of when it came. @type {Map<string, number>} */
  #seen = new Map();
  /** @type {Map<string, import("./calls.js").Method>} */
  #methods = new Map();
  /** @type {Map<string, import("./streams.js").Service>} */
  #services = new Map();
  /** @type {Map<string, unknown>} */
  #standing = new Map();
  #receiving = false;
  #lent = new Lent();
  /** Tabs that are watched for their end. @type {Set<string>} */
  #watched = new Set();
  /** Methods that other tabs serve. @type {Map<string, string>} */
  #servedFor = new Map();
  /** @type {Set<() => void>} */
  #waiting = new Set();
  #abort = new AbortController();
  /** Gives the lead away. */
  #release = () => {};
  #over = false;
  #closing = false;
  /** Posts of other tabs, one after the other. @type {Promise<unknown>} */
  #posts = Promise.resolve();

  /**
   * @param {object} options
   * @param {(tell: Tell) => Engine} options.makeEngine
   * @param {string} options.name of the device, the same in all its tabs
   * @param {string} options.tab of this tab, unique
   * @param {Tell} options.tell
   * @param {Locks} [options.locks]
   * @param {(name: string) => import("./tabchannel.js").Channel} [options.openChannel]
   */
  constructor({ makeEngine, name, tab, tell, locks, openChannel }) {
    this.makeEngine = makeEngine;
    this.name = `relay/${name}`;
    this.tab = tab;
    this.tell = tell;
    this.locks = locks ?? /** @type {Locks} */ (navigator.locks);
    const channel = openChannel ? openChannel(this.name) : new BroadcastChannel(this.name);
    this.#channel = new TabChannel(channel, tab, this.#answers());
  }

  get state() {
    return this.#mirror.state;
  }

  get session() {
    return this.#mirror.session;
  }

  get leads() {
    return this.#engine !== null;
  }

  /** Resolves once this tab leads, or knows who does. */
  async start() {
    // Held for as long as this tab lives, so that others notice its end.
    this.#hold(`${this.name}/${this.tab}`, () => new Promise((resolve) => this.#abort.signal.addEventListener("abort", resolve)));
    this.#hold(this.name, () => this.#lead());
    this.#channel.tell(null, "hello");
    while (this.#leader === null && !this.#over) await this.#news();
  }

  /** @param {string} name @param {() => Promise<unknown>} held */
  #hold(name, held) {
    this.locks.request(name, { signal: this.#abort.signal }, held).catch((error) => {
      if (!this.#abort.signal.aborted) this.tell("trouble", new RelayError(0, `the tabs cannot agree: ${error}`, "TABS"));
    });
  }

  #news() {
    return new Promise((resolve) => this.#waiting.add(() => resolve(undefined)));
  }

  #wake() {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    waiting.forEach((wake) => wake());
  }

  /** This tab has the lock: it holds the connection until it is closed. */
  async #lead() {
    if (this.#over) return;
    const engine = this.makeEngine((type, event) => this.#leaderTells(type, event));
    this.#engine = engine;
    this.#channel.fail(lost());
    const done = new Promise((resolve) => (this.#release = () => resolve(undefined)));
    try {
      await engine.start();
    } catch (error) {
      return void this.#stateTold({ ...this.#mirror, state: "ended", error: asRelayError(error, 0) });
    }
    this.#follow(this.tab, engine.incoming.cursors);
    this.#channel.tell(null, "leader", this.#snapshot());
    await done;
  }

  /** @type {Tell} */
  #leaderTells(type, event) {
    if (!(this.#closing && type === "state")) this.#channel.tell(null, "event", type, event);
    return this.#told(type, event);
  }

  #snapshot() {
    return { mirror: this.#mirror, cursors: this.#engine?.incoming.cursors, postings: this.#engine?.outgoing.postings };
  }

  /** Who leads is known: tell it what is ours. @param {string} leader @param {Map<string, number>} cursors how far the device is */
  #follow(leader, cursors) {
    const first = this.#leader === null;
    this.#leader = leader;
    if (first) for (const [conversation, offset] of cursors) this.#seen.set(conversation, offset);
    else this.#catchUp(cursors);
    this.#say("receive", this.#receiving);
    for (const method of this.#methods.keys()) this.#say("serve", method, true);
    for (const service of this.#services.keys()) this.#say("offer", service, true);
    for (const [method, args] of this.#standing) this.#say("stand", method, args);
    for (const message of this.#unsettled.values()) this.#say("post", message, true);
    this.#wake();
  }

  /** Ask the leader, wherever it is. @param {string} name @param {any[]} args @returns {Promise<any>} */
  async #ask(name, ...args) {
    while (this.#leader === null && !this.#over) await this.#news();
    if (this.#over) throw this.#mirror.error ?? new RelayError(0, "the client was closed", "ENDED");
    if (this.#leader === this.tab) return await this.#answers()[name](this.tab, ...args);
    return await this.#channel.ask(/** @type {string} */ (this.#leader), name, ...args);
  }

  /** As ask, for what is said again to the next leader anyway. @param {string} name @param {any[]} args */
  #say(name, ...args) {
    this.#ask(name, ...args).catch((error) => {
      if (error.reason !== "SESSION_GONE" && error.reason !== "ENDED") this.tell("trouble", error);
    });
  }

  /** What a tab may say to another one. @returns {Record<string, import("./tabchannel.js").Answerer>} */
  #answers() {
    return {
      hello: (from) => void (this.#engine && this.#leader && this.#channel.tell(from, "leader", this.#snapshot())),
      leader: (from, snapshot) => this.#newLeader(from, snapshot),
      event: (from, type, event) => void (this.#engine || this.#told(/** @type {any} */ (type), event)),
      receive: (_, wanted) => void (wanted && this.#engine?.receive()),
      post: (from, message, again) => this.#postFor(from, message, again),
      withdraw: (_, uid) => this.#engine?.withdraw(uid),
      signal: (_, to, body) => this.#engine?.signal(to, body),
      call: (_, to, method, args, timeoutMs) => this.#engine?.call(to, method, args, timeoutMs),
      stand: (_, method, args) => this.#engine?.stand(method, args),
      markRead: (_, conversation, offset) => this.#engine?.markRead(conversation, offset),
      hurry: () => this.#engine?.hurry(),
      reconnect: () => this.#engine?.reconnect(),
      signOut: () => this.close({ forget: true }),
      serve: (from, method, on) => this.#serveFor(from, method, on),
      offer: (from, service, on) => this.#offerFor(from, service, on),
      open: (from, ...args) => this.#openFor(from, /** @type {any} */ (args)),
      stream: (from, key, step, args) => this.#lent.step(from, key, step, args),
      run: (_, method, args, call) => this.#methods.get(method)?.(args, call),
      attend: (_, service, ticket) => this.#attend(service, ticket),
    };
  }

  /** @param {string} from @param {any} snapshot */
  #newLeader(from, { mirror, cursors, postings }) {
    if (this.#engine || this.#leader === from) return;
    this.#channel.fail(lost());
    for (const posting of postings ?? []) this.#told("posting", posting);
    this.#told("state", mirror);
    this.#follow(from, cursors);
  }

  /** @type {Tell} */
  #told(type, event) {
    /** @type {any} */
    const any = event;
    if (type === "state") return this.#stateTold(any);
    if (type === "posting" && (any.fate === "stored" || any.fate === "failed")) this.#unsettled.delete(any.uid);
    if (type === "arrived") {
      if (any.offset <= (this.#seen.get(any.conversation) ?? 0)) return undefined;
      this.#seen.set(any.conversation, any.offset);
    }
    return this.tell(type, event);
  }

  /** @param {StateEvent} event */
  #stateTold(event) {
    if (this.#over) return;
    this.#mirror = event;
    this.tell("state", event);
    if (event.state === "ended") this.#end();
    this.#wake();
  }

  /** The device has given up, or this tab was closed. */
  #end() {
    if (this.#over) return;
    this.#over = true;
    this.#channel.fail(new RelayError(0, "the client was closed", "ENDED"));
    this.#abort.abort();
    // The others are to know that it is over before the lock makes one of them the next leader.
    setTimeout(() => this.#release(), this.#closing ? 0 : ENDED_PAUSE_MS);
    // What was told last is still on its way to the other tabs.
    setTimeout(() => this.#channel.close(), 0);
    this.#wake();
  }

  /** The device went on while nobody told this tab: read what it missed. @param {Map<string, number>} cursors */
  #catchUp(cursors) {
    for (const [conversation, cursor] of cursors) {
      const seen = this.#seen.get(conversation);
      if (seen !== undefined && seen < cursor) this.#readMissed(conversation, seen, cursor).catch((error) => this.tell("trouble", error));
    }
  }

  /** @param {string} conversation @param {number} after @param {number} until */
  async #readMissed(conversation, after, until) {
    for (let at = after; at < until; ) {
      const { contentType, body } = await this.#ask("call", RELAY, "history.read", encodeBody({ conversation, after: at }), HISTORY_MS);
      const { messages } = /** @type {any} */ (decodeBody(contentType, body));
      if (messages.length === 0) return;
      for (const { offset, time_ms: timeMs, packet } of messages) {
        const { type, ...message } = /** @type {any} */ (decode(packet));
        if (offset <= until && message.from !== this.session) this.#told("arrived", { conversation, offset, timeMs, ...message });
        at = offset;
      }
    }
  }

  // What a page asks for, as of an engine.

  receive() {
    this.#receiving = true;
    if (this.#leader !== null) this.#say("receive", true);
  }

  /** @param {Message} message */
  post(message) {
    if (this.#over) throw this.#mirror.error ?? new RelayError(0, "the client was closed", "ENDED");
    this.#unsettled.set(message.uid, message);
    this.#told("posting", { ...message, id: 0, postedMs: Date.now(), fate: "queued", place: null, error: null });
    if (this.#leader !== null) this.#say("post", message, false);
  }

  /** @param {string} uid @returns {Promise<boolean>} */
  withdraw(uid) {
    return this.#ask("withdraw", uid);
  }

  /** @param {string} to @param {Body} body */
  signal(to, body) {
    return this.#ask("signal", to, body);
  }

  /** @param {string} to @param {string} method @param {Body} args @param {number} timeoutMs @returns {Promise<Body>} */
  call(to, method, args, timeoutMs) {
    return this.#ask("call", to, method, args, timeoutMs);
  }

  /** @param {string} method @param {unknown} args @returns {Promise<Body | null>} */
  stand(method, args) {
    this.#standing.set(method, args);
    return this.#ask("stand", method, args);
  }

  /** @param {string} name @param {import("./calls.js").Method | null} method */
  async serve(name, method) {
    if (method) this.#methods.set(name, method);
    else this.#methods.delete(name);
    await this.#ask("serve", name, method !== null);
  }

  /** @param {string} name @param {import("./streams.js").Service | null} service */
  async offer(name, service) {
    if (service) this.#services.set(name, service);
    else this.#services.delete(name);
    await this.#ask("offer", name, service !== null);
  }

  /** @param {string} to @param {string} service @param {Body} body @param {number} timeoutMs @returns {Promise<any>} a Stream, or what does as one */
  async open(to, service, body, timeoutMs) {
    while (this.#leader === null && !this.#over) await this.#news();
    if (this.#engine) return await this.#engine.open(to, service, body, timeoutMs);
    return new TabStream((name, ...args) => this.#ask(name, ...args), await this.#ask("open", to, service, body, timeoutMs));
  }

  /** @param {string} conversation @param {number} offset */
  markRead(conversation, offset) {
    this.#say("markRead", conversation, offset);
  }

  hurry() {
    this.#say("hurry");
  }

  reconnect() {
    this.#say("reconnect");
  }

  /** @param {number} [timeoutMs] @returns {Promise<void>} */
  async whenOpen(timeoutMs = Infinity) {
    const deadline = Date.now() + timeoutMs;
    while (this.#mirror.state !== "open") {
      if (this.#over) throw this.#mirror.error ?? new RelayError(0, "the client was closed", "ENDED");
      const leftMs = deadline - Date.now();
      if (leftMs <= 0) throw new RelayError(0, "there is no connection to the relay", "NOT_CONNECTED");
      const timer = Number.isFinite(leftMs) ? setTimeout(() => this.#wake(), leftMs) : undefined;
      await this.#news();
      clearTimeout(timer);
    }
  }

  /** This tab is done; the others go on, but for `forget`: that signs the device out. @param {{forget?: boolean}} [options] */
  async close({ forget = false } = {}) {
    if (this.#over || this.#closing) return;
    if (forget && this.#leader !== null && !this.#engine) return void (await this.#ask("signOut").catch(() => {}));
    this.#closing = true;
    for (const method of this.#methods.keys()) await this.#engine?.serve(method, null).catch(() => {});
    await this.#engine?.close({ forget });
    const ended = { ...this.#mirror, state: /** @type {const} */ ("ended"), error: null, retryAtMs: null };
    if (forget) this.#channel.tell(null, "event", "state", ended);
    if (!this.#over) this.#stateTold(ended);
  }

  // What the leader does for other tabs.

  /** @param {string} from @param {Message} message @param {boolean} again an earlier leader may have had it */
  async #postFor(from, message, again) {
    const done = this.#posts.then(() => this.#engine?.take(message, { again, remember: from !== this.tab }));
    this.#posts = done.catch(() => {});
    await done;
  }

  /** @param {string} from @param {string} method @param {boolean} on */
  async #serveFor(from, method, on) {
    this.#watch(from);
    const here = from === this.tab;
    const run = here ? this.#methods.get(method) : (/** @type {any} */ args, /** @type {any} */ call) => this.#channel.ask(from, "run", method, args, call);
    if (!here) this.#servedFor.set(method, from);
    await this.#engine?.serve(method, on && run ? run : null);
  }

  /** @param {string} from @param {string} service @param {boolean} on */
  async #offerFor(from, service, on) {
    this.#watch(from);
    const away = async (/** @type {import("./streams.js").Stream} */ stream) => {
      await this.#channel.ask(from, "attend", service, this.#lent.lend(stream, from));
    };
    const attend = from === this.tab ? this.#services.get(service) : away;
    await this.#engine?.offer(service, on && attend ? attend : null);
  }

  /** A stream that the leader holds for this tab. @param {string} service @param {import("./tabstreams.js").Ticket} ticket */
  async #attend(service, ticket) {
    const attend = this.#services.get(service);
    if (!attend) throw new RelayError(ErrorCode.NO_SUCH_SERVICE, `there is no service ${JSON.stringify(service)} here`);
    await attend(/** @type {any} */ (new TabStream((name, ...args) => this.#ask(name, ...args), ticket)));
  }

  /** @param {string} from @param {[string, string, Body, number]} args */
  async #openFor(from, args) {
    this.#watch(from);
    const stream = await this.#engine?.open(...args);
    return stream && this.#lent.lend(stream, from);
  }

  /** A tab's own lock comes free when the tab is gone. @param {string} tab */
  #watch(tab) {
    if (tab === this.tab || this.#watched.has(tab)) return;
    this.#watched.add(tab);
    this.#hold(`${this.name}/${tab}`, async () => {
      this.#watched.delete(tab);
      this.#lent.abandon(tab);
      this.#channel.fail(lost(), tab);
      for (const [method, owner] of this.#servedFor) if (owner === tab) await this.#engine?.serve(method, null).catch(() => {});
    });
  }
}

const lost = () => new RelayError(ErrorCode.SESSION_GONE, "the tab that held the connection was closed before it answered");
