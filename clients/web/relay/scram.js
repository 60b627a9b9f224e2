/**
 * Both ways to log in (section 7): SCRAM-SHA-256, and resume tickets. WebCrypto does the work; where a page is not trusted
 * with it (plain http, not localhost) our own SHA-256 does.
 */

import { CloseCode } from "./codes.js";
import { RelayError } from "./errors.js";
import { preparePassword } from "./names.js";
import { Sha256, hmacWith, pbkdf2 } from "./sha256.js";

const ITERATIONS_MIN = 4096;
const ITERATIONS_MAX = 1000000;
const NONCE_BYTES = 18;
const TICKET_NONCE_BYTES = 16;
const HMAC = { name: "HMAC", hash: "SHA-256" };

const utf8 = new TextEncoder();
const text = new TextDecoder();

/** What proves the relay, and us with a ticket. A CryptoKey cannot be read out again, only used. @typedef {CryptoKey | Uint8Array} ServerKey */

/** @param {string} sentence @returns {RelayError} */
const forged = (sentence) => new RelayError(CloseCode.LOGIN_FAILED, sentence, "FORGED_RELAY");

const subtle = () => globalThis.crypto?.subtle;

/** @param {number} size */
export const randomBytes = (size) => globalThis.crypto.getRandomValues(new Uint8Array(size));

/** @param {Uint8Array} bytes */
const base64 = (bytes) => btoa(String.fromCharCode(...bytes));
/** @param {string} encoded */
const fromBase64 = (encoded) => Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));

/** @param {ServerKey} key @param {Uint8Array} message */
async function hmac(key, message) {
  if (!subtle()) return hmacWith(/** @type {Uint8Array} */ (key))(message);
  const usable = key instanceof Uint8Array ? await importKey(key) : key;
  return new Uint8Array(await subtle().sign("HMAC", /** @type {CryptoKey} */ (usable), /** @type {BufferSource} */ (message)));
}

/** @param {Uint8Array} raw @returns {Promise<ServerKey>} */
export async function importKey(raw) {
  return subtle() ? await subtle().importKey("raw", /** @type {BufferSource} */ (raw), HMAC, false, ["sign"]) : raw;
}

/** @param {Uint8Array} bytes */
async function hash(bytes) {
  if (!subtle()) return new Sha256().update(bytes).digest();
  return new Uint8Array(await subtle().digest("SHA-256", /** @type {BufferSource} */ (bytes)));
}

/** @param {Uint8Array} left @param {Uint8Array} right */
function same(left, right) {
  let difference = left.length ^ right.length;
  for (let index = 0; index < left.length; index += 1) difference |= left[index] ^ right[index];
  return difference === 0;
}

/** One login by password. The steps are numbered as in the document. */
export class Scram {
  /** @param {string} user @param {string} password @param {string} [nonce] for tests */
  constructor(user, password, nonce = base64(randomBytes(NONCE_BYTES))) {
    this.user = user;
    this.password = preparePassword(password);
    this.nonce = nonce;
    this.firstBare = `n=${user.replaceAll("=", "=3D").replaceAll(",", "=2C")},r=${nonce}`;
    /** @type {ServerKey | null} known once the relay was asked and answered */
    this.serverKey = null;
    /** @type {Uint8Array | null} */
    this.expected = null;
  }

  /** Step 1: the data of HELLO. */
  first() {
    return utf8.encode(`n,,${this.firstBare}`);
  }

  /**
   * Step 3: the data of PROOF.
   * @param {Uint8Array} data of CHALLENGE @throws {RelayError} FORGED_RELAY
   */
  async answer(data) {
    const challenge = text.decode(data);
    const { nonce, salt, iterations } = this.#read(challenge);
    const salted = await derive(this.password, salt, iterations);
    const clientKey = await hmac(salted, utf8.encode("Client Key"));
    const storedKey = await hash(clientKey);
    const final = `c=biws,r=${nonce}`;
    const authMessage = utf8.encode(`${this.firstBare},${challenge},${final}`);
    const signature = await hmac(storedKey, authMessage);
    const proof = clientKey.map((byte, index) => byte ^ signature[index]);
    this.serverKey = await importKey(await hmac(salted, utf8.encode("Server Key")));
    this.expected = await hmac(this.serverKey, authMessage);
    return utf8.encode(`${final},p=${base64(proof)}`);
  }

  /** @param {string} challenge */
  #read(challenge) {
    const found = /^r=([\x21-\x2b\x2d-\x7e]+),s=([A-Za-z0-9+/=]+),i=([0-9]+)(?:,|$)/.exec(challenge);
    if (!found) throw forged("the relay's challenge is not one of SCRAM");
    const [, nonce, salt, count] = found;
    if (!nonce.startsWith(this.nonce) || nonce.length === this.nonce.length) throw forged("the relay's nonce does not extend ours");
    const iterations = Number(count);
    if (iterations < ITERATIONS_MIN || iterations > ITERATIONS_MAX) {
      throw forged(`the relay asks for ${count} iterations; ${ITERATIONS_MIN} to ${ITERATIONS_MAX} are sensible`);
    }
    return { nonce, salt: fromBase64(salt), iterations };
  }

  /** Step 5. @param {Uint8Array} data of WELCOME @throws {RelayError} FORGED_RELAY */
  async verify(data) {
    const found = /^v=([A-Za-z0-9+/=]+)(?:,|$)/.exec(text.decode(data));
    if (!found || !this.expected || !same(fromBase64(found[1]), this.expected)) {
      throw forged("the relay did not prove that it knows this account; the password was not given away");
    }
  }
}

/** @param {string} password @param {Uint8Array} salt @param {number} iterations */
async function derive(password, salt, iterations) {
  if (!subtle()) return pbkdf2(utf8.encode(password), salt, iterations);
  const key = await subtle().importKey("raw", utf8.encode(password), "PBKDF2", false, ["deriveBits"]);
  const how = { name: "PBKDF2", hash: "SHA-256", salt: /** @type {BufferSource} */ (salt), iterations };
  return new Uint8Array(await subtle().deriveBits(how, key, 256));
}

/** One login by ticket. */
export class TicketLogin {
  /** @param {Uint8Array} ticket @param {ServerKey} serverKey @param {Uint8Array} [nonce] for tests */
  constructor(ticket, serverKey, nonce = randomBytes(TICKET_NONCE_BYTES)) {
    this.ticket = ticket;
    this.serverKey = serverKey;
    this.nonce = nonce;
  }

  /** @param {string} label */
  #proof(label) {
    return hmac(this.serverKey, joined(utf8.encode(label), this.nonce, this.ticket));
  }

  /** The data of HELLO. */
  async first() {
    return joined(this.nonce, await this.#proof("ticket client"), this.ticket);
  }

  /** @param {Uint8Array} data of WELCOME @throws {RelayError} FORGED_RELAY */
  async verify(data) {
    if (!same(data, await this.#proof("ticket relay"))) throw forged("the relay did not prove that it knows this account");
  }
}

/** @param {Uint8Array[]} parts */
export function joined(...parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
