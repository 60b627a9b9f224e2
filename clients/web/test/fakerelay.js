/**
 * A relay that does as it is told, without sockets: it logs clients in as section 7 says, and the rest is up to the test.
 * Both ends share packets.js, which has its own tests.
 */

import { createHash, createHmac, pbkdf2Sync, randomBytes } from "node:crypto";
import { FrameReader } from "../relay/frames.js";
import { decode, encode } from "../relay/packets.js";
import { packValue } from "../relay/values.js";

/** @param {Uint8Array | Buffer} key @param {(Uint8Array | string)[]} parts */
const hmac = (key, ...parts) => parts.reduce((mac, part) => mac.update(part), createHmac("sha256", key)).digest();
/** @param {Uint8Array} bytes */
const bytes = (bytes) => new Uint8Array(bytes);

/** Until it is so; every wait in these tests is for something that happens by itself. @param {() => any} condition */
export async function until(condition, what = String(condition)) {
  const deadline = Date.now() + 30000;
  for (let found = await condition(); ; found = await condition()) {
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`it never came to ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** One connection, the relay's end. */
class Connection {
  /** @type {import("../relay/packets.js").Packet[]} */
  packets = [];
  /** @type {Uint8Array[]} the payloads as they came */
  payloads = [];
  open = false;
  #reader = new FrameReader(1 << 20);
  #first = "";

  /** @param {FakeRelay} relay @param {any} socket */
  constructor(relay, socket) {
    this.relay = relay;
    this.socket = socket;
  }

  /** @param {string} type */
  of(type) {
    return this.packets.filter((packet) => packet.type === type);
  }

  /** @param {string} type @param {Record<string, any>} fields */
  send(type, fields) {
    this.sendBytes(encode(type, fields));
  }

  /** @param {Uint8Array} raw */
  sendBytes(raw) {
    const { socket } = this;
    queueMicrotask(() => socket.readyState === 1 && socket.onmessage({ data: raw.slice().buffer }));
  }

  /** @param {number} code @param {string} sentence @param {number | null} [retryMs] */
  close(code, sentence, retryMs = null) {
    this.send("CLOSE", { code, sentence, retryMs });
  }

  /** Break it without a word. */
  cut() {
    this.socket.close(1006, "");
  }

  /** @param {Uint8Array} raw */
  receive(raw) {
    this.#reader.push(raw.slice());
    for (let payload = this.#reader.next(); payload; payload = this.#reader.next()) {
      this.payloads.push(payload);
      const packet = decode(payload);
      if (packet) this.packets.push(packet);
      if (packet) this.#handle(packet);
    }
  }

  /** @param {import("../relay/packets.js").Packet} packet */
  #handle(packet) {
    if (packet.type === "HELLO") this.#hello(packet);
    else if (packet.type === "PROOF") this.#proof(packet);
    else if (packet.type === "CALL" && packet.to === "relay" && this.relay.answers) this.#answer(packet);
    else if (packet.type === "MESSAGE" && this.relay.stores) this.relay.store(this, packet);
  }

  /** @param {import("../relay/packets.js").Packet} hello */
  #hello({ user, device, mechanism, data }) {
    this.session = `${user}/${device}`;
    if (mechanism === "TICKET") return this.#ticket(data);
    this.#first = Buffer.from(data).toString().slice(3);
    const nonce = `${/r=(.+)$/.exec(this.#first)?.[1]}relay`;
    this.#challenge = `r=${nonce},s=${Buffer.from(this.relay.salt).toString("base64")},i=4096`;
    this.send("CHALLENGE", { version: 1, data: new TextEncoder().encode(this.#challenge) });
  }
  #challenge = "";

  /** @param {import("../relay/packets.js").Packet} proof */
  #proof({ data }) {
    const [final, given] = Buffer.from(data).toString().split(",p=");
    const salted = pbkdf2Sync(this.relay.password, this.relay.salt, 4096, 32, "sha256");
    const stored = createHash("sha256").update(hmac(salted, "Client Key")).digest();
    const message = `${this.#first},${this.#challenge},${final}`;
    const key = Buffer.from(given, "base64").map((byte, index) => byte ^ hmac(stored, message)[index]);
    if (!createHash("sha256").update(key).digest().equals(stored)) return this.close(4200, "wrong");
    this.relay.serverKey = hmac(salted, "Server Key");
    this.welcome(new TextEncoder().encode(`v=${hmac(this.relay.serverKey, message).toString("base64")}`));
  }

  /** @param {Uint8Array} data */
  #ticket(data) {
    const [nonce, proof, ticket] = [data.subarray(0, 16), data.subarray(16, 48), data.subarray(48)];
    const key = this.relay.serverKey;
    const good = key && hmac(key, "ticket client", nonce, ticket).equals(proof) && this.relay.tickets.delete(Buffer.from(ticket).toString("hex"));
    if (!good) return this.close(4001, "the ticket is not good");
    this.welcome(bytes(hmac(/** @type {Buffer} */ (key), "ticket relay", nonce, ticket)));
  }

  /** @param {Uint8Array} data */
  welcome(data) {
    const ticket = randomBytes(16);
    this.relay.tickets.add(ticket.toString("hex"));
    this.open = true;
    const { lastMessageId, generation } = this.relay;
    const fields = { version: 1, session: this.session, data: this.relay.lies ? new Uint8Array(32) : data, keepaliveMs: 25000, timeMs: 0 };
    this.send("WELCOME", { ...fields, lastMessageId, frameMax: 1 << 20, ticket: bytes(ticket), agent: "fake", generation });
  }

  /** @param {import("../relay/packets.js").Packet} call */
  #answer({ from, id, method }) {
    const body = packValue(this.relay.results[method] ?? {});
    this.send("RESULT", { from: "relay", to: from, id, contentType: "application/msgpack", body });
  }
}

export class FakeRelay {
  /** @type {Connection[]} */
  connections = [];
  password = "secret";
  salt = new Uint8Array(16).fill(7);
  /** @type {Buffer | null} */
  serverKey = null;
  /** @type {Set<string>} */
  tickets = new Set();
  lastMessageId = 0;
  generation = "g1";
  /** Whether it answers calls to the relay, and messages. */
  answers = true;
  stores = true;
  /** Whether it cannot prove itself. */
  lies = false;
  /** Whether nobody can connect. */
  down = false;
  /** @type {Record<string, any>} */
  results = {};
  /** Every message once: id -> offset. @type {Map<number, number>} */
  log = new Map();

  /** The connection that is there now, logged in. */
  get now() {
    const last = this.connections[this.connections.length - 1];
    return last?.open && last.socket.readyState === 1 ? last : null;
  }

  /** @param {Connection} connection @param {import("../relay/packets.js").Packet} message */
  store(connection, { id }) {
    if (!this.log.has(id)) this.log.set(id, this.log.size + 1);
    this.lastMessageId = Math.max(this.lastMessageId, id);
    connection.send("STORED", { id, conversation: "alice@bob", offset: this.log.get(id), timeMs: 1 });
  }

  /** @param {number} offset @param {string} text @param {string} [from] */
  deliver(offset, text, from = "bob/pc") {
    const message = { from, to: "alice", id: offset, contentType: "text/plain", body: new TextEncoder().encode(text) };
    const packet = encode("MESSAGE", message).slice(4);
    this.now?.send("DELIVERY", { conversation: "alice@bob", offset, timeMs: 1, packet });
  }

  /** What a client is given for a WebSocket. */
  get webSocket() {
    const relay = this;
    return class FakeSocket {
      readyState = 0;
      bufferedAmount = 0;
      binaryType = "";
      /** @type {any} */ onopen = null;
      /** @type {any} */ onmessage = null;
      /** @type {any} */ onclose = null;
      /** @type {any} */ onerror = null;

      constructor() {
        this.connection = new Connection(relay, this);
        if (!relay.down) relay.connections.push(this.connection);
        setTimeout(() => (relay.down ? this.close(1006) : ((this.readyState = 1), this.onopen?.())), 0);
      }

      /** @param {Uint8Array} data */
      send(data) {
        const copy = data.slice();
        setTimeout(() => this.readyState === 1 && this.connection.receive(copy), 0);
      }

      /** @param {number} [code] @param {string} [reason] */
      close(code = 1000, reason = "") {
        if (this.readyState === 3) return;
        this.readyState = 3;
        setTimeout(() => this.onclose?.({ code, reason }), 0);
      }
    };
  }
}
