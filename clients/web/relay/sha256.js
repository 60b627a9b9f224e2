/**
 * SHA-256 (FIPS 180-4), HMAC and PBKDF2 in plain JavaScript: WebCrypto cannot hash piece by piece, and is missing in pages
 * that are not a secure context (a relay in the house, over http).
 */

const BLOCK = 64;

/** The first 32 bits of the fractional parts of the roots of the first primes (section 4.2.2). @param {number} root @param {number} total */
function fractions(root, total) {
  const words = new Int32Array(total);
  for (let candidate = 2, found = 0; found < total; candidate += 1) {
    let prime = true;
    for (let divisor = 2; divisor * divisor <= candidate; divisor += 1) prime &&= candidate % divisor !== 0;
    if (prime) words[found++] = ((candidate ** (1 / root) % 1) * 0x100000000) | 0;
  }
  return words;
}

const K = fractions(3, 64);
const START = fractions(2, 8);
const schedule = new Int32Array(64);

/** One block into the state. @param {Int32Array} state @param {Uint8Array} bytes @param {number} at */
function compress(state, bytes, at) {
  const w = schedule;
  for (let i = 0; i < 16; i += 1, at += 4) w[i] = (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
  for (let i = 16; i < 64; i += 1) {
    const x = w[i - 15];
    const y = w[i - 2];
    const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
    const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
    w[i] = (w[i - 16] + s0 + w[i - 7] + s1) | 0;
  }
  let a = state[0];
  let b = state[1];
  let c = state[2];
  let d = state[3];
  let e = state[4];
  let f = state[5];
  let g = state[6];
  let h = state[7];
  for (let i = 0; i < 64; i += 1) {
    const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const t1 = (h + s1 + ((e & f) ^ (~e & g)) + K[i] + w[i]) | 0;
    const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + t1) | 0;
    d = c;
    c = b;
    b = a;
    a = (t1 + t2) | 0;
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
  state[4] += e;
  state[5] += f;
  state[6] += g;
  state[7] += h;
}

export class Sha256 {
  #state = START.slice();
  #block = new Uint8Array(BLOCK);
  #filled = 0;
  /** Bytes so far. */
  size = 0;

  /** @param {Uint8Array} bytes */
  update(bytes) {
    let at = 0;
    this.size += bytes.length;
    if (this.#filled > 0) {
      at = Math.min(BLOCK - this.#filled, bytes.length);
      this.#block.set(bytes.subarray(0, at), this.#filled);
      this.#filled += at;
      if (this.#filled < BLOCK) return this;
      compress(this.#state, this.#block, 0);
      this.#filled = 0;
    }
    for (; at + BLOCK <= bytes.length; at += BLOCK) compress(this.#state, bytes, at);
    this.#block.set(bytes.subarray(at));
    this.#filled = bytes.length - at;
    return this;
  }

  /** As it stands now, to go on from. */
  copy() {
    const other = new Sha256();
    other.#state = this.#state.slice();
    other.#block = this.#block.slice();
    other.#filled = this.#filled;
    other.size = this.size;
    return other;
  }

  /** The hash of all bytes so far; more may follow. @returns {Uint8Array} 32 bytes */
  digest() {
    const state = this.#state.slice();
    const tail = new Uint8Array(this.#filled < BLOCK - 8 ? BLOCK : 2 * BLOCK);
    tail.set(this.#block.subarray(0, this.#filled));
    tail[this.#filled] = 0x80;
    const view = new DataView(tail.buffer);
    view.setUint32(tail.length - 8, Math.floor(this.size / 0x20000000));
    view.setUint32(tail.length - 4, (this.size << 3) >>> 0);
    for (let at = 0; at < tail.length; at += BLOCK) compress(state, tail, at);
    const out = new Uint8Array(32);
    state.forEach((word, index) => new DataView(out.buffer).setInt32(4 * index, word));
    return out;
  }
}

/** A key, ready for many messages. @param {Uint8Array} key @returns {(message: Uint8Array) => Uint8Array} */
export function hmacWith(key) {
  const padded = new Uint8Array(BLOCK);
  padded.set(key.length > BLOCK ? new Sha256().update(key).digest() : key);
  const inner = new Sha256().update(padded.map((byte) => byte ^ 0x36));
  const outer = new Sha256().update(padded.map((byte) => byte ^ 0x5c));
  return (message) => outer.copy().update(inner.copy().update(message).digest()).digest();
}

/** 32 bytes of PBKDF2 with HMAC-SHA-256. @param {Uint8Array} password @param {Uint8Array} salt @param {number} iterations */
export function pbkdf2(password, salt, iterations) {
  const hmac = hmacWith(password);
  const first = new Uint8Array(salt.length + 4);
  first.set(salt);
  first[salt.length + 3] = 1;
  let block = hmac(first);
  const key = block.slice();
  for (let round = 1; round < iterations; round += 1) {
    block = hmac(block);
    for (let index = 0; index < key.length; index += 1) key[index] ^= block[index];
  }
  return key;
}
