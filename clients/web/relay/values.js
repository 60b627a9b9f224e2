/** Values and the bodies that carry them (section 13). Bodies come from others: they are looked over before they are decoded. */

import { decode as unpack, encode as pack } from "@msgpack/msgpack";
import { BODY_DEPTH_MAX, BODY_MAX } from "./codes.js";
import { RelayError } from "./errors.js";

export const TEXT = "text/plain";
export const MSGPACK = "application/msgpack";
export const BYTES = "";
export const TYPING = "application/vnd.relay.typing";
export const FILE = "application/vnd.relay.file";

/** @typedef {{contentType: string, body: Uint8Array}} Body */

const utf8 = new TextEncoder();

/**
 * A string becomes text, bytes stay bytes, undefined is an empty body, anything else msgpack. With a content type of the
 * caller's own, strings and bytes are taken as they are.
 * @param {unknown} value @param {string} [contentType] @returns {Body}
 * @throws {RelayError} BAD_VALUE
 */
export function encodeBody(value, contentType) {
  const body = bodyOf(value, contentType);
  if (body.body.length > BODY_MAX) {
    throw new RelayError(0, `a body of ${body.body.length} bytes; at most ${BODY_MAX} fit into a packet: send it as a file`, "BAD_VALUE");
  }
  return body;
}

/** @param {unknown} value @param {string} [contentType] @returns {Body} */
function bodyOf(value, contentType) {
  if (value === undefined) return { contentType: contentType ?? BYTES, body: new Uint8Array(0) };
  if (value instanceof Uint8Array) return { contentType: contentType ?? BYTES, body: value };
  if (typeof value === "string" && contentType !== MSGPACK) return { contentType: contentType ?? TEXT, body: utf8.encode(value) };
  return { contentType: contentType ?? MSGPACK, body: packValue(value) };
}

/** @param {unknown} value @returns {Uint8Array} */
export function packValue(value) {
  try {
    return new Uint8Array(pack(value, { maxDepth: BODY_DEPTH_MAX + 1, ignoreUndefined: true }));
  } catch (error) {
    throw new RelayError(0, `this value does not fit into a body: ${error instanceof Error ? error.message : error}`, "BAD_VALUE");
  }
}

/**
 * What a body says: a string, the msgpack value (of the announcement of a file, too), or the bytes themselves for any other content type.
 * @param {string} contentType @param {Uint8Array} body @returns {unknown} undefined if the body is not what its type claims
 */
export function decodeBody(contentType, body) {
  try {
    if (contentType === TEXT || contentType.startsWith(`${TEXT};`)) return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
    if (contentType === MSGPACK || contentType === FILE) return unpackValue(body);
  } catch {
    return undefined;
  }
  return body;
}

/** @param {Uint8Array} body @returns {unknown} @throws {Error} for what is not one msgpack value within the limits */
export function unpackValue(body) {
  lookOver(body);
  return unpack(body, { mapKeyConverter: keyOf });
}

const loose = new TextDecoder();

/** @param {unknown} key @returns {string} */
function keyOf(key) {
  if (typeof key === "string") return key;
  if (key instanceof Uint8Array) return loose.decode(key);
  throw new RelayError(0, "a map's keys are strings or binaries", "BAD_VALUE");
}

/** Bytes behind the type byte, for the fixed forms from 0xc0 on. @type {Record<number, number>} */
const FIXED = { 0xc0: 0, 0xc2: 0, 0xc3: 0, 0xca: 4, 0xcb: 8, 0xcc: 1, 0xcd: 2, 0xce: 4, 0xcf: 8, 0xd0: 1, 0xd1: 2, 0xd2: 4, 0xd3: 8 };
/** Bytes of a length, and whether the length counts bytes ("raw"), elements or pairs. @type {Record<number, [number, "raw" | "ext" | "array" | "map"]>} */
const LONG = {
  0xc4: [1, "raw"], 0xc5: [2, "raw"], 0xc6: [4, "raw"], 0xd9: [1, "raw"], 0xda: [2, "raw"], 0xdb: [4, "raw"],
  0xc7: [1, "ext"], 0xc8: [2, "ext"], 0xc9: [4, "ext"],
  0xdc: [2, "array"], 0xdd: [4, "array"], 0xde: [2, "map"], 0xdf: [4, "map"],
};

/**
 * Walks the headers only: a few bytes can announce millions of elements at many levels, and a decoder makes room for them.
 * Everything announced must be able to come in the bytes that are left.
 * @param {Uint8Array} body
 */
function lookOver(body) {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  /** Elements still to come, innermost level last. */
  const open = [1];
  let announced = 1;
  let at = 0;
  while (open.length > 0) {
    if (open[open.length - 1] === 0) {
      open.pop();
      continue;
    }
    open[open.length - 1] -= 1;
    announced -= 1;
    const item = header(view, at);
    at = item.next;
    if (item.elements >= 0) open.push(item.elements);
    announced += Math.max(item.elements, 0);
    if (at + announced > body.length || open.length > BODY_DEPTH_MAX + 1) throw new RelayError(0, "a body that is cut off or nested too deep", "BAD_VALUE");
  }
}

/** @param {DataView} view @param {number} at @returns {{next: number, elements: number}} -1 elements: no container */
function header(view, at) {
  const kind = view.getUint8(at);
  if (kind < 0x80 || kind >= 0xe0) return { next: at + 1, elements: -1 };
  if (kind < 0x90) return { next: at + 1, elements: 2 * (kind & 0x0f) };
  if (kind < 0xa0) return { next: at + 1, elements: kind & 0x0f };
  if (kind < 0xc0) return { next: at + 1 + (kind & 0x1f), elements: -1 };
  if (kind in FIXED) return { next: at + 1 + FIXED[kind], elements: -1 };
  if (kind >= 0xd4 && kind <= 0xd8) return { next: at + 2 + 2 ** (kind - 0xd4), elements: -1 };
  if (!(kind in LONG)) throw new RelayError(0, "0xc1 is not msgpack", "BAD_VALUE");
  const [width, what] = LONG[kind];
  const length = width === 1 ? view.getUint8(at + 1) : width === 2 ? view.getUint16(at + 1) : view.getUint32(at + 1);
  const behind = at + 1 + width;
  if (what === "raw") return { next: behind + length, elements: -1 };
  if (what === "ext") return { next: behind + 1 + length, elements: -1 };
  return { next: behind, elements: what === "map" ? 2 * length : length };
}
