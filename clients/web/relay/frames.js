/** Frames (section 3): a length in 4 bytes, big-endian, and as many bytes. Pure. */

import { CloseCode } from "./codes.js";
import { RelayError } from "./errors.js";

export const HEADER_BYTES = 4;

/**
 * Cuts a byte stream into payloads, however it was split on the way. Refuses a length before it waits for the bytes, and
 * holds no more than came. After it threw it is of no use.
 */
export class FrameReader {
  /** @type {Uint8Array} */
  #held = new Uint8Array(0);
  #start = 0;
  #end = 0;
  #own = false;

  /** @param {number} max the longest payload; may be raised between two payloads */
  constructor(max) {
    this.max = max;
  }

  /** Bytes that wait for the rest of their frame. */
  get waitingBytes() {
    return this.#end - this.#start;
  }

  /** @param {Uint8Array} bytes not to be changed afterwards: payloads may be views of it */
  push(bytes) {
    if (this.#start === this.#end) {
      this.#held = bytes;
      this.#start = 0;
      this.#end = bytes.length;
      this.#own = false;
    } else {
      this.#append(bytes);
    }
  }

  /** @returns {Uint8Array | null} the next payload, if all of it is there @throws {RelayError} BAD_FRAME */
  next() {
    const [bytes, start] = [this.#held, this.#start];
    if (this.#end - start < HEADER_BYTES) return null;
    const length = ((bytes[start] << 24) | (bytes[start + 1] << 16) | (bytes[start + 2] << 8) | bytes[start + 3]) >>> 0;
    if (length === 0 || length > this.max) {
      throw new RelayError(CloseCode.BAD_FRAME, `a frame of ${length} bytes; 1 to ${this.max} are allowed`);
    }
    const [first, behind] = [start + HEADER_BYTES, start + HEADER_BYTES + length];
    if (behind > this.#end) return null;
    this.#start = behind;
    return this.#own ? bytes.slice(first, behind) : bytes.subarray(first, behind);
  }

  /** Grows by doubling, so that a long frame in small pieces is copied a few times, not once per piece. @param {Uint8Array} bytes */
  #append(bytes) {
    const waiting = this.#end - this.#start;
    if (!this.#own || this.#end + bytes.length > this.#held.length) {
      const enough = this.#own && this.#held.length >= 2 * (waiting + bytes.length);
      const room = enough ? this.#held : new Uint8Array(2 * (waiting + bytes.length));
      room.set(this.#held.subarray(this.#start, this.#end));
      [this.#held, this.#start, this.#end, this.#own] = [room, 0, waiting, true];
    }
    this.#held.set(bytes, this.#end);
    this.#end += bytes.length;
  }
}

/** A payload with its length in front. @param {Uint8Array} payload */
export function frame(payload) {
  const bytes = new Uint8Array(HEADER_BYTES + payload.length);
  new DataView(bytes.buffer).setUint32(0, payload.length);
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}
