/**
 * The connection of one device over its whole life: connects, logs in, keeps alive, connects again. It knows no verbs: packets
 * of an open connection are handed up in their order, frames are taken down.
 */

import { Backoff } from "./backoff.js";
import { CloseCode, VERSION } from "./codes.js";
import { RelayError, asRelayError } from "./errors.js";
import { encode } from "./packets.js";
import { Scram } from "./scram.js";
import { Wire } from "./wire.js";

/** @typedef {import("./packets.js").Packet} Packet */
/** @typedef {"connecting" | "open" | "waiting" | "ended"} State */
/** The part of the WebSocket interface that is used; `ws` offers it, too. @typedef {{
 *   binaryType: string, readyState: number, bufferedAmount: number,
 *   onopen: any, onmessage: any, onclose: any, onerror: any,
 *   send(bytes: any): void, close(code?: number, reason?: string): void }} Socket */

const AGENT = "relay.js/0.1";
/** Over connecting and login together; the relay may let a login wait for its turn for 10 s. */
const LOGIN_DEADLINE_MS = 20000;
const SILENCE_MS = 10000;
const GOODBYE_MS = 1000;
const PROBE_MS = 5000;
/** Of one WebSocket message; boundaries mean nothing, so long frames are cut. */
const PIECE_BYTES = 65536;

/**
 * @typedef {object} LinkOptions
 * @property {string} url
 * @property {new (url: string) => Socket} webSocket
 * @property {import("./account.js").Account} account
 * @property {(welcome: Packet) => void} onOpen
 * @property {(packet: Packet) => void} onPacket a RelayError it throws ends the connection with its code
 * @property {() => void} onDown an open connection is gone
 * @property {(state: State, error: RelayError | null, retryAtMs: number | null) => void} onState
 */

export class Link {
  /** @type {State} */
  state = "connecting";
  /** @type {Socket | null} */
  #socket = null;
  /** @type {Uint8Array[]} */
  #out = [];
  #outBytes = 0;
  #flushing = false;
  #open = false;
  #ending = false;
  #backoff = new Backoff();
  /** @type {(() => void) | null} ends the pause before the next attempt */
  #wake = null;
  /** @type {((code: number, sentence: string, retryMs: number | null) => void) | null} ends the connection that is there */
  #drop = null;
  /** @type {(() => void) | null} */
  #probe = null;

  /** @param {LinkOptions} options */
  constructor(options) {
    this.options = options;
  }

  get isOpen() {
    return this.#open;
  }

  /** Connect, again and again, until it is closed or has to give up. Resolves then. */
  async run() {
    /** @type {RelayError | null} */
    let problem = null;
    while (!this.#ending) {
      this.#become("connecting", problem, null);
      const { end, openMs, again } = await this.#connection();
      problem = end.error;
      if (this.#ending) break;
      const pauseMs = again ? 0 : this.#backoff.after(end, openMs);
      if (pauseMs === null || problem?.reason === "LOGIN_NEEDED" || problem?.reason === "FORGED_RELAY") break;
      if (pauseMs > 0) await this.#pause(pauseMs, problem);
    }
    this.#become("ended", this.#ending ? null : problem, null);
  }

  /** The network is back, or somebody looks at the page: connect now rather than later, and find out whether a connection still lives. */
  hurry() {
    this.#backoff.restart();
    this.#wake?.();
    this.#probe?.();
  }

  /** Cut the connection; the next one is made by the rules. @param {number} code @param {string} sentence */
  drop(code, sentence) {
    this.#drop?.(code, sentence, null);
  }

  /** Say goodbye and end for good. */
  close() {
    this.#ending = true;
    this.#wake?.();
    this.#drop?.(CloseCode.NORMAL, "goodbye", null);
  }

  /** @param {Uint8Array} frame leaves with all others of this turn of the event loop */
  send(frame) {
    if (!this.#open) return;
    this.#push(frame);
  }

  /** @param {Uint8Array} frame */
  #push(frame) {
    this.#out.push(frame);
    this.#outBytes += frame.length;
    if (this.#outBytes >= PIECE_BYTES) this.#flush();
    else if (!this.#flushing) {
      this.#flushing = true;
      queueMicrotask(() => this.#flush());
    }
  }

  #flush() {
    this.#flushing = false;
    const [frames, size, socket] = [this.#out, this.#outBytes, this.#socket];
    [this.#out, this.#outBytes] = [[], 0];
    if (size === 0 || !socket || socket.readyState !== 1) return;
    const bytes = frames.length === 1 ? frames[0] : gather(frames, size);
    for (let at = 0; at < size; at += PIECE_BYTES) socket.send(bytes.subarray(at, at + PIECE_BYTES));
  }

  /** @param {State} state @param {RelayError | null} problem @param {number | null} retryAtMs */
  #become(state, problem, retryAtMs) {
    this.state = state;
    this.options.onState(state, problem, retryAtMs);
  }

  /** @param {number} pauseMs @param {RelayError | null} problem */
  async #pause(pauseMs, problem) {
    this.#become("waiting", problem, Date.now() + pauseMs);
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, pauseMs);
      this.#wake = () => (clearTimeout(timer), resolve(undefined));
    });
    this.#wake = null;
  }

  /**
   * One connection from its beginning to its end. Never rejects.
   * @returns {Promise<{end: {code: number, retryMs: number | null, error: RelayError | null}, openMs: number, again: boolean}>}
   */
  async #connection() {
    /** @type {import("./account.js").Attempt} */
    let attempt;
    try {
      attempt = this.options.account.attempt();
    } catch (error) {
      return { end: { code: 0, retryMs: null, error: asRelayError(error, 0) }, openMs: 0, again: false };
    }
    const life = new Life(this, attempt);
    this.#drop = (code, sentence, retryMs) => life.fail(new RelayError(code, sentence), retryMs);
    this.#probe = () => life.probe();
    const end = await life.ended;
    this.#drop = this.#probe = null;
    this.#open = false;
    [this.#out, this.#outBytes, this.#socket] = [[], 0, null];
    if (life.openedAt !== null) this.options.onDown();
    const again = !this.#ending && (await this.options.account.refused(attempt, end.code));
    return { end, openMs: life.openedAt === null ? 0 : performance.now() - life.openedAt, again };
  }

  /** @param {Socket} socket @param {Uint8Array} frame during the login */
  sendFirst(socket, frame) {
    this.#socket = socket;
    this.#push(frame);
  }

  /** @param {Packet} welcome */
  opened(welcome) {
    this.#open = true;
    this.#become("open", null, null);
    this.options.onOpen(welcome);
  }

  /** What was sent so far leaves before the socket is closed. @param {Uint8Array} frame */
  sendLast(frame) {
    this.#push(frame);
    this.#flush();
    this.#open = false;
  }
}

/** One connection. Packets are worked on one after the other, because the steps of a login wait for WebCrypto. */
class Life {
  /** @type {Packet[]} */
  #inbox = [];
  #busy = false;
  #over = false;
  #heardAt = performance.now();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {(end: {code: number, retryMs: number | null, error: RelayError | null}) => void} */
  #resolve = () => {};
  /** @type {number | null} */
  openedAt = null;

  /** @param {Link} link @param {import("./account.js").Attempt} attempt */
  constructor(link, attempt) {
    this.link = link;
    this.attempt = attempt;
    this.wire = new Wire(attempt.mechanism === "TICKET");
    /** @type {Promise<{code: number, retryMs: number | null, error: RelayError | null}>} */
    this.ended = new Promise((resolve) => (this.#resolve = resolve));
    this.#timer = setTimeout(() => this.fail(unreachable("the relay did not answer the login in time")), LOGIN_DEADLINE_MS);
    try {
      this.socket = new link.options.webSocket(link.options.url);
    } catch (error) {
      this.fail(unreachable(`${link.options.url}: ${error instanceof Error ? error.message : error}`));
      return;
    }
    const { socket } = this;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#step(() => this.#hello());
    socket.onmessage = (/** @type {{data: ArrayBuffer}} */ event) => this.#receive(event.data);
    socket.onerror = () => {};
    socket.onclose = (/** @type {{code: number, reason: string}} */ event) => this.#socketClosed(event);
  }

  async #hello() {
    const { account } = this.link.options;
    const data = await this.attempt.login.first();
    const fields = { versionMin: VERSION, versionMax: VERSION, user: account.user, device: account.device };
    this.#say(encode("HELLO", { ...fields, mechanism: this.attempt.mechanism, data, agent: AGENT }));
  }

  /** @param {Uint8Array} frame */
  #say(frame) {
    if (this.socket && !this.#over) this.link.sendFirst(this.socket, frame);
  }

  /** @param {ArrayBuffer | string} data */
  #receive(data) {
    if (this.#over) return;
    this.#heardAt = performance.now();
    this.#step(() => {
      if (typeof data === "string") throw new RelayError(CloseCode.BAD_FRAME, "a text message; the relay sends binary ones");
      this.#inbox.push(...this.wire.receive(new Uint8Array(data)));
      return this.#work();
    });
  }

  async #work() {
    if (this.#busy) return;
    this.#busy = true;
    while (this.#inbox.length > 0 && !this.#over) {
      if (this.openedAt === null) await this.#greet(/** @type {Packet} */ (this.#inbox.shift()));
      else this.#inbox.splice(0).forEach((packet) => this.#over || this.#handle(packet));
    }
    this.#busy = false;
  }

  /** A packet of the login. @param {Packet} packet */
  async #greet(packet) {
    const { login } = this.attempt;
    if (packet.type === "CLOSE") return this.#closed(packet);
    if (packet.version !== VERSION) throw new RelayError(CloseCode.UNSUPPORTED_VERSION, `the relay chose version ${packet.version}`);
    if (packet.type === "CHALLENGE") {
      if (!(login instanceof Scram)) throw new RelayError(CloseCode.NOT_ALLOWED_NOW, "a challenge in answer to a ticket");
      return this.#say(encode("PROOF", { data: await login.answer(packet.data) }));
    }
    await login.verify(packet.data);
    await this.link.options.account.welcomed(this.attempt, packet.ticket);
    if (this.#over) return;
    this.openedAt = performance.now();
    this.silentAfterMs = packet.keepaliveMs + SILENCE_MS;
    clearTimeout(this.#timer);
    this.#watch();
    this.link.opened(packet);
  }

  /** @param {Packet} packet of an open connection */
  #handle(packet) {
    if (packet.type === "PING") this.link.send(encode("PONG", { token: packet.token }));
    else if (packet.type === "CLOSE") this.#closed(packet);
    else if (packet.type !== "PONG") this.link.options.onPacket(packet);
  }

  /** Timers of a page in the background run late: silence is judged by the clock. */
  #watch() {
    const leftMs = this.#heardAt + (this.silentAfterMs ?? 0) - performance.now();
    if (leftMs <= 0) this.fail(new RelayError(0, "nothing was heard from the relay", "UNREACHABLE"));
    else this.#timer = setTimeout(() => this.#watch(), Math.max(leftMs, 100));
  }

  /** A computer that slept does not know how long: something has to be heard now. */
  probe() {
    if (this.openedAt === null || this.#over) return;
    const heardAt = this.#heardAt;
    this.link.send(encode("PING", { token: 0 }));
    setTimeout(() => this.#heardAt === heardAt && this.fail(unreachable("the relay does not answer")), PROBE_MS);
  }

  /** @param {() => any} action whose failure ends the connection, with a code for the relay if we have one */
  async #step(action) {
    try {
      await action();
    } catch (error) {
      this.fail(asRelayError(error, CloseCode.INTERNAL_ERROR));
    }
  }

  /** @param {Packet} packet CLOSE */
  #closed(packet) {
    const error = new RelayError(packet.code, packet.sentence);
    this.socket?.close();
    this.#end({ code: packet.code, retryMs: packet.retryMs, error });
  }

  /** @param {{code: number, reason: string}} event */
  #socketClosed(event) {
    const last = this.#inbox.find((packet) => packet.type === "CLOSE");
    if (last) return this.#closed(last);
    const known = event.code >= 4000 && event.code < 5000;
    const sentence = this.openedAt === null ? "the relay cannot be reached" : "the connection to the relay broke";
    const error = known ? new RelayError(event.code, event.reason || sentence) : unreachable(sentence);
    this.#end({ code: known ? event.code : 0, retryMs: null, error });
  }

  /** We end it: the relay is told why. @param {RelayError} error @param {number | null} [retryMs] */
  fail(error, retryMs = null) {
    if (this.#over) return;
    const code = error.code >= 4000 && error.code < 5000 ? error.code : CloseCode.NORMAL;
    if (this.socket?.readyState === 1) this.link.sendLast(encode("CLOSE", { code, sentence: clip(error.message), retryMs: null }));
    const socket = this.socket;
    if (socket) {
      const timer = setTimeout(() => socket.close(), this.openedAt === null ? 0 : GOODBYE_MS);
      socket.onclose = () => clearTimeout(timer);
    }
    // What broke here is the relay's fault or the network's: the code decides, an unknown cause connects again.
    const ours = code === CloseCode.NORMAL && error.reason !== "FORGED_RELAY";
    this.#end({ code: ours || code === CloseCode.INTERNAL_ERROR ? 0 : code, retryMs, error });
  }

  /** @param {{code: number, retryMs: number | null, error: RelayError | null}} end */
  #end(end) {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    this.#resolve(end);
  }
}

/** @param {string} sentence */
const unreachable = (sentence) => new RelayError(0, sentence, "UNREACHABLE");

const utf8 = new TextEncoder();
const loose = new TextDecoder();

/** A sentence of at most 256 bytes. @param {string} sentence */
export function clip(sentence) {
  const bytes = utf8.encode(sentence);
  if (bytes.length <= 256) return sentence;
  let end = 253;
  while ((bytes[end] & 0xc0) === 0x80) end -= 1;
  return `${loose.decode(bytes.subarray(0, end))}...`;
}

/** @param {Uint8Array[]} frames @param {number} size */
function gather(frames, size) {
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const frame of frames) {
    bytes.set(frame, at);
    at += frame.length;
  }
  return bytes;
}
