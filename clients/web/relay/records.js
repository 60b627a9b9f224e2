/** A file over a stream, as records (section 11, "Files over a stream"): what both directions share. Knows streams by read and write only. */

import { ErrorCode } from "./codes.js";
import { RelayError } from "./errors.js";
import { FrameReader, frame } from "./frames.js";
import { decodeArray, encodeArray } from "./packets.js";
import { Sha256 } from "./sha256.js";

export const CHUNK_BYTES = 1048576;
const RECORD_MAX_BYTES = CHUNK_BYTES + 1024;
const CHUNK = 1;
const END = 2;
const HAVE = 3;
const DONE = 4;

/** @typedef {{read(): Promise<Uint8Array | null>, write(bytes: Uint8Array): Promise<void>}} Lane */
/** @typedef {{id: string, size: number, hash: Uint8Array}} Done */

/** @param {Uint8Array} bytes @returns {Promise<Uint8Array>} */
async function sha256(bytes) {
  const subtle = globalThis.crypto?.subtle;
  if (!subtle) return new Sha256().update(bytes).digest();
  return new Uint8Array(await subtle.digest("SHA-256", /** @type {BufferSource} */ (bytes)));
}

/** @param {Uint8Array} left @param {Uint8Array} right */
const same = (left, right) => left.length === right.length && left.every((byte, index) => byte === right[index]);

/** @param {string} sentence @param {number} [code] @returns {never} */
function refuse(sentence, code = ErrorCode.BAD_CHUNK) {
  throw new RelayError(code, sentence);
}

/** The records that come on a lane, to its end. @param {Lane} lane @returns {AsyncGenerator<any[]>} */
async function* records(lane) {
  const reader = new FrameReader(RECORD_MAX_BYTES);
  for (let bytes = await lane.read(); bytes !== null; bytes = await lane.read()) {
    reader.push(bytes);
    for (let record = reader.next(); record; record = reader.next()) yield decodeArray(record);
  }
}

/** A file that is sent; its whole hash is made while its bytes pass, however often it is resumed. */
export class Sending {
  #whole = new Sha256();

  /** @param {Blob} blob */
  constructor(blob) {
    this.blob = blob;
  }

  /**
   * Send what is behind `offset`, and wait until the keeper has all of it.
   * @param {Lane} lane @param {number} offset @param {(bytes: number) => void} onStored @param {AbortSignal | undefined} signal
   * @returns {Promise<Done>}
   */
  async run(lane, offset, onStored, signal) {
    const answer = this.#answer(lane, onStored);
    answer.catch(() => {}); // it is awaited below, or the writing failed for the same reason
    for (let at = offset; at < this.blob.size; at += CHUNK_BYTES) {
      signal?.throwIfAborted();
      const body = await this.#piece(at);
      await lane.write(frame(encodeArray([CHUNK, at, await sha256(body), body])));
    }
    await this.#hashUpTo(this.blob.size);
    await lane.write(frame(encodeArray([END, this.blob.size, this.#whole.digest()])));
    const done = await answer;
    if (done.size !== this.blob.size || !same(done.hash, this.#whole.digest())) refuse("the keeper has another file than the one sent", ErrorCode.WRONG_HASH);
    return done;
  }

  /** The keeper's word that it has the whole file already. @param {any[]} done */
  static known([id, size, hash]) {
    return { id, size, hash };
  }

  /** @param {number} at @returns {Promise<Uint8Array>} */
  async #piece(at) {
    await this.#hashUpTo(at);
    const bytes = new Uint8Array(await this.blob.slice(at, at + CHUNK_BYTES).arrayBuffer());
    if (this.#whole.size === at) this.#whole.update(bytes);
    return bytes;
  }

  /** A new page that resumes an upload has not seen its beginning. @param {number} offset */
  async #hashUpTo(offset) {
    for (let at = this.#whole.size; at < offset; at = this.#whole.size) {
      this.#whole.update(new Uint8Array(await this.blob.slice(at, Math.min(at + CHUNK_BYTES, offset)).arrayBuffer()));
    }
  }

  /** @param {Lane} lane @param {(bytes: number) => void} onStored @returns {Promise<Done>} */
  async #answer(lane, onStored) {
    for await (const [type, ...fields] of records(lane)) {
      if (type === HAVE) onStored(fields[0]);
      if (type === DONE) return { id: fields[0], size: fields[1], hash: fields[2] };
    }
    return refuse("the keeper finished without saying that it has the file");
  }
}

/** A file that is fetched; what was verified stays over a cut. */
export class Fetching {
  #whole = new Sha256();
  /** @type {Uint8Array[]} */
  pieces = [];
  /** Bytes that are here and verified. */
  size = 0;

  /** @param {Lane} lane @param {number} total @param {(bytes: number) => void} onBytes @param {AbortSignal | undefined} signal */
  async run(lane, total, onBytes, signal) {
    for await (const [type, ...fields] of records(lane)) {
      signal?.throwIfAborted();
      if (type === CHUNK) await this.#chunk(/** @type {any} */ (fields), total);
      if (type === CHUNK) onBytes(this.size);
      if (type === END) return this.#end(fields[0], fields[1]);
    }
    return refuse("the relay finished before the file was complete");
  }

  /** @param {[number, Uint8Array, Uint8Array]} fields @param {number} total */
  async #chunk([offset, hash, body], total) {
    const expected = Math.min(CHUNK_BYTES, total - this.size);
    if (offset !== this.size || body.length !== expected) refuse(`${body.length} bytes at ${offset} came; ${expected} at ${this.size} were to come`);
    if (!same(hash, await sha256(body))) refuse(`the chunk at ${offset} is damaged`, ErrorCode.WRONG_HASH);
    this.#whole.update(body);
    this.pieces.push(body);
    this.size += body.length;
  }

  /** @param {number} size @param {Uint8Array} hash */
  #end(size, hash) {
    if (size !== this.size) refuse(`${this.size} of ${size} bytes came`);
    if (!same(hash, this.#whole.digest())) refuse("the file is damaged: its hash is another", ErrorCode.WRONG_HASH);
  }
}
