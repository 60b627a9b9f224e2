/** Streams (section 11): ordered bytes both ways, each end at its own pace. */

import { CHUNK_MAX_BYTES, CREDIT_MAX_BYTES, ErrorCode, OPEN_TIMEOUT_MAX_MS } from "./codes.js";
import { RelayError, asRelayError } from "./errors.js";
import { clip } from "./link.js";
import { encode } from "./packets.js";
import { decodeBody, encodeBody } from "./values.js";

/** @typedef {import("./packets.js").Packet} Packet */
/** @typedef {import("./values.js").Body} Body */
/** @typedef {{from: string, service: string, value: unknown, contentType: string, body: Uint8Array}} Opening */
/** @typedef {(stream: Stream) => unknown} Service answers with `accept` or `reset`; to read or write accepts, too */

/** Granted ahead: what may be under way to us on one stream. */
const WINDOW_BYTES = 512 * 1024;
const GRACE_MS = 5000;
const RELAY = "relay";

/** One end of a stream. */
export class Stream {
  /** @type {Uint8Array[]} */
  #chunks = [];
  #credit = 0;
  #used = 0;
  #accepted = false;
  #finishedHere = false;
  #finishedThere = false;
  /** @type {RelayError | null} */
  #problem = null;
  /** @type {(() => void)[]} who waits for a chunk, for credit, or for the end of either */
  #waiting = [];

  /**
   * @param {Streams} table @param {string} peer the session at the other end; until it accepts, whom OPEN was sent to
   * @param {number} id as this end writes it @param {Opening} opening
   */
  constructor(table, peer, id, opening) {
    this.table = table;
    this.peer = peer;
    this.id = id;
    /** What the stream was opened with. */
    this.opening = opening;
    /** What the other end said when it accepted. @type {unknown} */
    this.answer = undefined;
  }

  get accepted() {
    return this.#accepted;
  }

  /** Whether nothing more goes either way. */
  get over() {
    return this.#problem !== null || (this.#finishedHere && this.#finishedThere);
  }

  /** Take a stream that another session opened. @param {unknown} [value] that it is told @param {string} [contentType] */
  accept(value, contentType) {
    if (this.#accepted || this.over) return;
    this.#send("ACCEPT", encodeBody(value, contentType));
    this.began(undefined);
  }

  /** For the table: both ends agree; grant what we are ready to take. @param {unknown} answer */
  began(answer) {
    this.#accepted = true;
    this.answer = answer;
    for (let granted = 0; granted < WINDOW_BYTES; granted += CREDIT_MAX_BYTES) this.#send("CREDIT", { size: CREDIT_MAX_BYTES });
    this.#wake();
  }

  /** @param {string} type @param {Record<string, any>} [fields] */
  #send(type, fields = {}) {
    this.table.send(encode(type, { from: this.table.own, to: this.peer, id: this.id, ...fields }));
  }

  #wake() {
    this.#waiting.splice(0).forEach((wake) => wake());
  }

  /** @returns {Promise<void>} */
  #news() {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** The next bytes; null once the other end has finished. @returns {Promise<Uint8Array | null>} @throws {RelayError} */
  async read() {
    if (!this.#accepted) this.accept();
    while (this.#chunks.length === 0) {
      if (this.#problem) throw this.#problem;
      if (this.#finishedThere) return null;
      await this.#news();
    }
    const chunk = /** @type {Uint8Array} */ (this.#chunks.shift());
    this.#used += chunk.length;
    while (this.#used >= CREDIT_MAX_BYTES && !this.#finishedThere && !this.over) {
      this.#used -= CREDIT_MAX_BYTES;
      this.#send("CREDIT", { size: CREDIT_MAX_BYTES });
    }
    return chunk;
  }

  /** All of it was sent when this resolves; it waits while the other end does not take more. @param {Uint8Array} bytes @throws {RelayError} */
  async write(bytes) {
    if (!this.#accepted) this.accept();
    if (this.#finishedHere) throw new RelayError(ErrorCode.BAD_STREAM, "this end has finished the stream");
    let at = 0;
    while (at < bytes.length) {
      if (this.#problem) throw this.#problem;
      const size = Math.min(this.#credit, CHUNK_MAX_BYTES, bytes.length - at);
      if (size === 0) {
        await this.#news();
        continue;
      }
      this.#credit -= size;
      this.#send("DATA", { body: bytes.subarray(at, at + size) });
      at += size;
    }
    if (this.#problem) throw this.#problem;
  }

  /** Nothing more comes from this end; the other may go on. */
  finish() {
    if (this.#finishedHere || this.#problem) return;
    if (!this.#accepted) this.accept();
    this.#finishedHere = true;
    this.#send("FINISH");
    if (this.#finishedThere) this.table.drop(this, null);
  }

  /** Done with it: finishes, and gives up what the other end may still send. */
  close() {
    this.finish();
    if (!this.over) this.reset(ErrorCode.CANCELLED, "the other end was not interested any more");
  }

  /** Over at once, both ways; also the refusal of a stream. @param {number} [code] @param {string} [sentence] */
  reset(code = ErrorCode.CANCELLED, sentence = "the other end gave up") {
    if (this.over) return;
    this.#send("RESET", { code, sentence: clip(sentence) });
    this.ended(new RelayError(code, sentence));
  }

  /** For the table. @param {RelayError} problem */
  ended(problem) {
    if (this.over) return;
    this.#problem = problem;
    this.table.drop(this, problem);
    this.#wake();
  }

  /** For the table. @param {Packet} packet */
  handle(packet) {
    if (packet.type === "DATA") this.#chunks.push(packet.body);
    else if (packet.type === "CREDIT") this.#credit += packet.size;
    else if (packet.type === "FINISH") this.#finished();
    else if (packet.type === "RESET") this.#wasReset(packet);
    this.#wake();
  }

  #finished() {
    this.#finishedThere = true;
    if (this.#finishedHere) this.table.drop(this, null);
  }

  /** @param {Packet} packet */
  #wasReset(packet) {
    // "There is no such stream" may overtake the last bytes of one that is over: they are still to come.
    const overtaken = packet.from === RELAY && packet.code === ErrorCode.NO_SUCH_STREAM && this.#finishedHere;
    if (!overtaken) this.ended(new RelayError(packet.code, packet.sentence));
  }

  /** The chunks, to the end. */
  async *[Symbol.asyncIterator]() {
    for (let chunk = await this.read(); chunk !== null; chunk = await this.read()) yield chunk;
  }
}

/** All streams of a session. */
export class Streams {
  /** Those this end opened, by their even id. @type {Map<number, Stream>} */
  #mine = new Map();
  /** Those that others opened, by opener and even id. @type {Map<string, Stream>} */
  #theirs = new Map();
  /** @type {Map<string, Service>} */
  #services = new Map();
  /** @type {Map<Stream, {resolve: (stream: Stream) => void, reject: (error: RelayError) => void, timer: ReturnType<typeof setTimeout>}>} */
  #opening = new Map();
  #nextId = 0;
  own = "";

  /** @param {(frame: Uint8Array) => void} send */
  constructor(send) {
    this.send = send;
  }

  get services() {
    return [...this.#services.keys()];
  }

  /** @param {string} own */
  opened(own) {
    this.own = own;
    // Even, and random over 2^40: neither a peer that missed our reconnect nor two openers mean the same.
    this.#nextId = 2 * Math.floor(Math.random() * 2 ** 40) + 2;
  }

  closed() {
    const all = [...this.#mine.values(), ...this.#theirs.values()];
    this.#mine.clear();
    this.#theirs.clear();
    for (const stream of all) stream.ended(new RelayError(ErrorCode.SESSION_GONE, "the connection broke, and the stream with it"));
  }

  /** @param {Stream} stream */
  #settled(stream) {
    const opening = this.#opening.get(stream);
    this.#opening.delete(stream);
    if (opening) clearTimeout(opening.timer);
    return opening;
  }

  /** @param {string} name @param {Service | null} service null: no longer */
  serve(name, service) {
    if (service) this.#services.set(name, service);
    else this.#services.delete(name);
  }

  /** @param {string} to @param {string} service @param {Body} body @param {number} timeoutMs @returns {Promise<Stream>} once it is accepted */
  open(to, service, body, timeoutMs) {
    if (!(timeoutMs >= 1 && timeoutMs <= OPEN_TIMEOUT_MAX_MS)) {
      throw new RelayError(0, `a stream waits for 1 to ${OPEN_TIMEOUT_MAX_MS} ms to be accepted, not ${timeoutMs}`, "BAD_VALUE");
    }
    const id = this.#nextId;
    this.#nextId += 2;
    const opening = { from: this.own, service, value: decodeBody(body.contentType, body.body), ...body };
    const stream = new Stream(this, to, id, opening);
    const frame = encode("OPEN", { from: this.own, to, id, service, timeoutMs: Math.round(timeoutMs), ...body });
    this.#mine.set(id, stream);
    return new Promise((resolve, reject) => {
      const late = () => stream.reset(ErrorCode.TIMED_OUT, `${to} did not accept in time`);
      this.#opening.set(stream, { resolve, reject, timer: setTimeout(late, timeoutMs + GRACE_MS) });
      this.send(frame);
    });
  }

  /** It is over. @param {Stream} stream @param {RelayError | null} problem */
  drop(stream, problem) {
    if (stream.id & 1) this.#theirs.delete(`${stream.peer} ${stream.id - 1}`);
    else this.#mine.delete(stream.id);
    if (problem) this.#settled(stream)?.reject(problem);
  }

  /** ERROR for a packet of a stream. @param {number} id @param {number} code @param {string} sentence */
  refused(id, code, sentence) {
    const error = new RelayError(code, sentence);
    for (const stream of [...this.#mine.values(), ...this.#theirs.values()]) if (stream.id === id) stream.ended(error);
  }

  /** @param {Packet} packet of the stream family, from the relay */
  handle(packet) {
    if (packet.type === "OPEN") return this.#opened(packet);
    const stream = this.#find(packet);
    if (!stream) return;
    if (packet.type === "ACCEPT") this.#accepted(stream, packet);
    else stream.handle(packet);
  }

  /** @param {Packet} packet */
  #find(packet) {
    if (packet.id % 2 === 1) return this.#mine.get(packet.id - 1);
    const stream = this.#theirs.get(`${packet.from} ${packet.id}`);
    if (stream || packet.from !== RELAY) return stream;
    return [...this.#theirs.values()].find((one) => one.id === packet.id + 1);
  }

  /** @param {Stream} stream @param {Packet} packet */
  #accepted(stream, packet) {
    stream.peer = packet.from;
    stream.began(decodeBody(packet.contentType, packet.body));
    this.#settled(stream)?.resolve(stream);
  }

  /** @param {Packet} packet OPEN */
  #opened(packet) {
    const { from, id, service: name, contentType, body } = packet;
    const opening = { from, service: name, value: decodeBody(contentType, body), contentType, body };
    const stream = new Stream(this, from, id + 1, opening);
    const service = this.#services.get(name);
    this.#theirs.set(`${from} ${id}`, stream);
    if (service) this.#serve(stream, service);
    else stream.reset(ErrorCode.NO_SUCH_SERVICE, `there is no service ${JSON.stringify(name)} here`);
  }

  /** @param {Stream} stream @param {Service} service */
  async #serve(stream, service) {
    try {
      await service(stream);
      stream.finish();
    } catch (error) {
      const { code, message } = asRelayError(error, ErrorCode.METHOD_FAILED);
      stream.reset(code || ErrorCode.METHOD_FAILED, message);
    }
  }
}
