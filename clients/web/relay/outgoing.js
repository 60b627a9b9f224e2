/**
 * Messages on their way out (section 10): numbered, kept until they are answered, sent again after a cut, in order. A message is
 * in the storage with its id before it is sent, so that a new page sends the same bytes under the same id.
 */

import { MESSAGE_WINDOW } from "./codes.js";
import { RelayError } from "./errors.js";
import { encode } from "./packets.js";

/** @typedef {{uid: string, order: number, id: number, to: string, contentType: string, body: Uint8Array, postedMs: number, remember: boolean}} Kept what the storage holds */
/** @typedef {{conversation: string, offset: number, timeMs: number}} Place */
/** @typedef {Kept & {sentIn: number, place: Place | null, error: RelayError | null, done: boolean, saved: boolean}} Entry */
/** @typedef {"queued" | "sent" | "stored" | "failed"} Fate */

const FIRST_PAUSE_MS = 250;
const MAX_PAUSE_MS = 30000;
/** Unanswered at a time: a WebSocket takes whatever it is given, and holds it in memory. */
const WINDOW_BYTES = 8 * 1024 * 1024;
/** For tabs that were asleep when their message was answered. */
const REMEMBERED_MS = 24 * 3600 * 1000;

/**
 * @typedef {object} OutgoingOptions
 * @property {import("./storage.js").Storage} storage
 * @property {string} prefix of its keys
 * @property {string} donePrefix of what is remembered of answered messages of other tabs
 * @property {(frame: Uint8Array) => void} send
 * @property {(entry: Entry, fate: Fate) => void} onFate
 * @property {(error: RelayError) => void} onTrouble the storage fails
 */

export class Outgoing {
  /** By order. Those that were numbered come first; entries[0] is the oldest that is not dealt with. @type {Entry[]} */
  #entries = [];
  /** @type {Map<number, Entry>} */
  #byId = new Map();
  /** The connection's number, 0 while there is none. */
  #now = 0;
  #connections = 0;
  #nextId = 1;
  #nextOrder = 1;
  #pumping = false;
  #pauseMs = 0;
  /** @type {ReturnType<typeof setTimeout> | null} */
  #pause = null;
  /** @type {Map<string, any>} */
  #changes = new Map();
  /** @type {Promise<void> | null} */
  #writing = null;
  #from = "";

  /** @param {OutgoingOptions} options */
  constructor(options) {
    this.options = options;
  }

  /** What an earlier page left. @returns {Promise<Entry[]>} */
  async load() {
    const kept = (await this.options.storage.entries(this.options.prefix)).map(([, entry]) => /** @type {Kept} */ (entry));
    kept.sort((a, b) => (a.id || Infinity) - (b.id || Infinity) || a.order - b.order);
    for (const entry of kept) this.#append({ ...entry, sentIn: 0, place: null, error: null, done: false, saved: true });
    await this.#forgetOld();
    this.#nextOrder = 1 + kept.reduce((highest, entry) => Math.max(highest, entry.order), 0);
    return [...this.#entries];
  }

  async #forgetOld() {
    const old = (await this.options.storage.entries(this.options.donePrefix)).filter(([, { atMs }]) => atMs < Date.now() - REMEMBERED_MS);
    if (old.length > 0) await this.options.storage.write(new Map(old.map(([key]) => [key, undefined])));
  }

  /** What is not answered, oldest first, as it is told. */
  get postings() {
    const waiting = this.#entries.filter((entry) => !entry.done);
    return waiting.map((entry) => ({ ...entry, fate: /** @type {Fate} */ (entry.sentIn ? "sent" : "queued") }));
  }

  /** What became of a message that another tab has posted, perhaps through an earlier leader: null if nobody has seen it. @param {string} uid @returns {Promise<{place: Place | null, error: RelayError | null} | "waiting" | null>} */
  async known(uid) {
    if (this.#entries.some((entry) => entry.uid === uid && !entry.done)) return "waiting";
    const done = await this.options.storage.get(`${this.options.donePrefix}${uid}`);
    if (!done) return null;
    const { place, code, sentence, reason } = done;
    return { place, error: place ? null : new RelayError(code, sentence, reason) };
  }

  /** @param {{uid: string, to: string, contentType: string, body: Uint8Array}} message @param {boolean} [remember] its end, for a while */
  add(message, remember = false) {
    /** @type {Entry} */
    const entry = { ...message, remember, order: this.#nextOrder++, id: 0, postedMs: Date.now(), sentIn: 0, place: null, error: null, done: false, saved: false };
    this.#append(entry);
    if (this.#now) this.#pump();
    else this.#save([entry]);
    return entry;
  }

  /** Take back what was not sent yet. @param {string} uid @returns {boolean} whether it never leaves */
  withdraw(uid) {
    const entry = this.#entries.find((one) => one.uid === uid);
    if (!entry || entry.id || entry.done) return false;
    this.#settle(entry, null, new RelayError(0, "the message was taken back before it was sent", "CANCELLED"));
    return true;
  }

  /** @param {Entry} entry */
  #append(entry) {
    this.#entries.push(entry);
    if (entry.id) this.#byId.set(entry.id, entry);
    this.#nextId = Math.max(this.#nextId, entry.id + 1);
  }

  /** A connection is there. @param {string} from its session @param {number} lastMessageId */
  opened(from, lastMessageId) {
    this.#from = from;
    this.#now = ++this.#connections;
    this.#nextId = Math.max(this.#nextId, lastMessageId + 1);
    this.#resume();
    this.#pump();
  }

  closed() {
    this.#now = 0;
    this.#resume();
    const unsaved = this.#entries.filter((entry) => !entry.saved && !entry.done);
    if (unsaved.length > 0) this.#save(unsaved);
  }

  /** STORED, or STOREDRUN. @param {number} id @param {Place} place of the first @param {number} total */
  stored(id, place, total) {
    this.#pauseMs = 0;
    for (let index = 0; index < total; index += 1) {
      const entry = this.#byId.get(id + index);
      if (entry && !entry.done) this.#settle(entry, { ...place, offset: place.offset + index }, null);
    }
  }

  /** ERROR for a MESSAGE. @param {number | null} id @param {number} code @param {string} sentence */
  refused(id, code, sentence) {
    const entry = id === null ? undefined : this.#byId.get(id);
    if (!entry || entry.done) return;
    if (code >= 300 && code < 400) this.#later(entry);
    else this.#settle(entry, null, new RelayError(code, sentence));
  }

  /** "Not now": this one again after a pause, and nothing new before it, so that the order holds. @param {Entry} entry */
  #later(entry) {
    entry.sentIn = 0;
    if (this.#pause !== null) return;
    this.#pauseMs = Math.min(Math.max(2 * this.#pauseMs, FIRST_PAUSE_MS), MAX_PAUSE_MS);
    this.#pause = setTimeout(() => (this.#resume(), this.#pump()), this.#pauseMs * (0.5 + Math.random() / 2));
  }

  #resume() {
    if (this.#pause !== null) clearTimeout(this.#pause);
    this.#pause = null;
  }

  /** @param {Entry} entry @param {Place | null} place @param {RelayError | null} error */
  #settle(entry, place, error) {
    entry.done = true;
    entry.place = place;
    entry.error = error;
    const { code, message: sentence, reason } = error ?? { code: 0, message: "", reason: "" };
    if (entry.remember) this.#changes.set(`${this.options.donePrefix}${entry.uid}`, { place, code, sentence, reason, atMs: Date.now() });
    this.#change(`${this.options.prefix}${entry.uid}`, undefined, entry);
    this.options.onFate(entry, place ? "stored" : "failed");
  }

  /** Send what may be sent. One run at a time, because the storage is written in between. */
  async #pump() {
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      await undefined; // gather what this turn of the event loop posts
      for (let batch = this.#ready(); batch.length > 0; batch = this.#ready()) {
        const connection = this.#now;
        await this.#number(batch);
        if (connection !== this.#now) continue;
        for (const entry of batch) this.#transmit(entry);
      }
    } finally {
      this.#pumping = false;
    }
  }

  /** What this connection has not carried yet, in order, within the window. @returns {Entry[]} */
  #ready() {
    if (!this.#now || this.#pause !== null) return [];
    const ready = [];
    let bytes = 0;
    for (const entry of this.#entries.slice(0, MESSAGE_WINDOW)) {
      if (entry.done) continue;
      bytes += entry.body.length;
      if (bytes > WINDOW_BYTES && bytes > entry.body.length) break;
      if (entry.sentIn !== this.#now) ready.push(entry);
    }
    return ready;
  }

  /** @param {Entry[]} batch */
  async #number(batch) {
    const fresh = batch.filter((entry) => entry.id === 0);
    for (const entry of fresh) {
      entry.id = this.#nextId++;
      this.#byId.set(entry.id, entry);
    }
    if (fresh.length > 0) await this.#save(fresh);
  }

  /** @param {Entry} entry */
  #transmit(entry) {
    if (entry.done) return;
    entry.sentIn = this.#now;
    const { to, id, contentType, body } = entry;
    this.options.send(encode("MESSAGE", { from: this.#from, to, id, contentType, body }));
    this.options.onFate(entry, "sent");
  }

  /** @param {Entry[]} entries */
  async #save(entries) {
    for (const entry of entries) {
      const { uid, order, id, to, contentType, body, postedMs, remember } = entry;
      entry.saved = true;
      this.#changes.set(`${this.options.prefix}${uid}`, { uid, order, id, to, contentType, body, postedMs, remember });
    }
    await this.#write();
  }

  /** @param {string} key @param {any} value @param {Entry} entry that leaves the window once this is written */
  #change(key, value, entry) {
    this.#changes.set(key, value);
    this.#write().then(() => this.#release(entry));
  }

  /**
   * An answered message counts until the storage has forgotten it: a new page must not send one that the relay has forgotten, too.
   * @param {Entry} entry
   */
  #release(entry) {
    this.#byId.delete(entry.id);
    entry.saved = false;
    let settled = 0;
    while (settled < this.#entries.length && this.#entries[settled].done && !this.#entries[settled].saved) settled += 1;
    if (settled > 0) this.#entries.splice(0, settled);
    this.#pump();
  }

  /** All changes so far are in the storage when it resolves; those of one turn go together. @returns {Promise<void>} */
  #write() {
    this.#writing ??= Promise.resolve().then(async () => {
      const changes = this.#changes;
      this.#changes = new Map();
      this.#writing = null;
      try {
        await this.options.storage.write(changes);
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        this.options.onTrouble(new RelayError(0, `what waits to be sent cannot be kept for a reload: ${why}`, "STORAGE_FAILED"));
      }
    });
    return this.#writing;
  }
}
