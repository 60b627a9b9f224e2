/**
 * Packets (sections 3 and 7 to 11): one flat msgpack array each. Written by hand, because the rules are narrower than msgpack:
 * only scalars, no float, nothing behind the array. Pure. Nothing is allocated that is only announced.
 */

import { CloseCode, FIELDS_MAX } from "./codes.js";
import { RelayError } from "./errors.js";
import { frame } from "./frames.js";

/** @typedef {number | string | Uint8Array | null | boolean} Scalar */
/** @typedef {{type: string, [field: string]: any}} Packet `type` is the packet's name; fields as in the document, in camelCase */

/** Name, number and fields of every packet of version 1. "?" allows nil. */
const TABLE = [
  "HELLO 1 versionMin:int versionMax:int user:str device:str mechanism:str data:bin agent:str",
  "CHALLENGE 2 version:int data:bin",
  "PROOF 3 data:bin",
  "WELCOME 4 version:int session:str data:bin keepaliveMs:int timeMs:int lastMessageId:int frameMax:int ticket:bin? agent:str generation:str",
  "PING 5 token:int",
  "PONG 6 token:int",
  "CLOSE 7 code:int sentence:str retryMs:int?",
  "ERROR 8 refused:int id:int? code:int sentence:str",
  "SIGNAL 16 from:str to:str id:int? contentType:str body:bin",
  "MESSAGE 17 from:str to:str id:int contentType:str body:bin",
  "STORED 18 id:int conversation:str offset:int timeMs:int",
  "DELIVERY 19 conversation:str offset:int timeMs:int packet:bin",
  "ACK 20 conversation:str delivered:int read:int?",
  "GAP 21 conversation:str first:int last:int",
  "STOREDRUN 22 id:int conversation:str offset:int timeMs:int total:int",
  "CALL 24 from:str to:str id:int method:str timeoutMs:int contentType:str body:bin",
  "RESULT 25 from:str to:str id:int contentType:str body:bin",
  "FAULT 26 from:str to:str id:int code:int sentence:str",
  "OPEN 32 from:str to:str id:int service:str timeoutMs:int contentType:str body:bin",
  "ACCEPT 33 from:str to:str id:int contentType:str body:bin",
  "DATA 34 from:str to:str id:int body:bin",
  "CREDIT 35 from:str to:str id:int size:int",
  "FINISH 36 from:str to:str id:int",
  "RESET 37 from:str to:str id:int code:int sentence:str",
];

/** @typedef {{name: string, number: number, fields: {name: string, kind: string, optional: boolean}[]}} Form */

/** @type {Form[]} */
const FORMS = TABLE.map((line) => {
  const [name, number, ...fields] = line.split(" ");
  return {
    name,
    number: Number(number),
    fields: fields.map((field) => {
      const [own, kind] = field.split(":");
      return { name: own, kind: kind.replace("?", ""), optional: kind.endsWith("?") };
    }),
  };
});
const BY_NUMBER = new Map(FORMS.map((form) => [form.number, form]));
const BY_NAME = new Map(FORMS.map((form) => [form.name, form]));

/** The number of a packet's type. @param {string} name */
export const numberOf = (name) => BY_NAME.get(name)?.number ?? 0;

const utf8 = new TextEncoder();
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * A packet as a frame, ready to be sent.
 * @param {string} type @param {Record<string, Scalar>} fields
 */
export function encode(type, fields) {
  return frame(encodePayload(type, fields));
}

/** A packet without its length. @param {string} type @param {Record<string, Scalar>} fields */
export function encodePayload(type, fields) {
  const form = BY_NAME.get(type);
  if (!form) throw new TypeError(`there is no packet ${type}`);
  const values = [form.number, ...form.fields.map((field) => checked(form, field, fields[field.name]))];
  return encodeArray(values);
}

/** @param {Form} form @param {Form["fields"][number]} field @param {any} value */
function checked(form, field, value) {
  const fits = kindOf(value) === field.kind || (field.optional && value === null);
  if (!fits) throw new TypeError(`${form.name}: ${field.name} is to be ${field.kind}, not ${value}`);
  return value;
}

/** @param {any} value */
function kindOf(value) {
  if (typeof value === "number") return Number.isSafeInteger(value) && value >= 0 ? "int" : "other";
  if (typeof value === "string") return "str";
  return value instanceof Uint8Array ? "bin" : "other";
}

/** A flat array of scalars, each in its shortest form. @param {Scalar[]} values */
export function encodeArray(values) {
  const pieces = values.map((value) => (typeof value === "string" ? utf8.encode(value) : value));
  let size = 1;
  for (const piece of pieces) size += piece instanceof Uint8Array ? 5 + piece.length : 9;
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  let at = 1;
  bytes[0] = 0x90 | values.length;
  pieces.forEach((piece, index) => {
    if (piece === null) bytes[at++] = 0xc0;
    else if (typeof piece === "boolean") bytes[at++] = piece ? 0xc3 : 0xc2;
    else if (typeof piece === "number") at = writeInt(view, at, piece);
    else {
      const raw = /** @type {Uint8Array} */ (piece);
      at = writeLength(view, at, raw.length, typeof values[index] === "string");
      bytes.set(raw, at);
      at += raw.length;
    }
  });
  return bytes.subarray(0, at);
}

/** @param {DataView} view @param {number} at @param {number} value @returns {number} behind it */
function writeInt(view, at, value) {
  if (value < 0x80) return view.setUint8(at, value), at + 1;
  if (value < 0x100) return view.setUint16(at, 0xcc00 | value), at + 2;
  if (value < 0x10000) return view.setUint8(at, 0xcd), view.setUint16(at + 1, value), at + 3;
  if (value < 0x100000000) return view.setUint8(at, 0xce), view.setUint32(at + 1, value), at + 5;
  view.setUint8(at, 0xcf);
  view.setUint32(at + 1, Math.floor(value / 0x100000000));
  view.setUint32(at + 5, value >>> 0);
  return at + 9;
}

/** @param {DataView} view @param {number} at @param {number} length @param {boolean} text @returns {number} behind it */
function writeLength(view, at, length, text) {
  if (text && length < 32) return view.setUint8(at, 0xa0 | length), at + 1;
  if (length < 0x100) return view.setUint8(at, text ? 0xd9 : 0xc4), view.setUint8(at + 1, length), at + 2;
  if (length < 0x10000) return view.setUint8(at, text ? 0xda : 0xc5), view.setUint16(at + 1, length), at + 3;
  return view.setUint8(at, text ? 0xdb : 0xc6), view.setUint32(at + 1, length), at + 5;
}

/** @param {string} sentence @returns {never} */
function refuse(sentence) {
  throw new RelayError(CloseCode.BAD_PACKET, sentence);
}

/**
 * @param {Uint8Array} payload
 * @returns {Packet | null} null for a type that this version does not know; binaries are views of `payload`
 * @throws {RelayError} BAD_PACKET, naming the rule
 */
export function decode(payload) {
  const values = decodeArray(payload);
  const number = values[0];
  if (typeof number !== "number") refuse("a packet begins with its type, an integer");
  const form = BY_NUMBER.get(/** @type {number} */ (number));
  if (!form) return null;
  if (values.length - 1 < form.fields.length) refuse(`${form.name} has ${form.fields.length} fields, not ${values.length - 1}`);
  /** @type {Packet} */
  const packet = { type: form.name };
  form.fields.forEach((field, index) => {
    const value = values[index + 1];
    if (kindOf(value) !== field.kind && !(field.optional && value === null)) refuse(`${form.name}: ${field.name} is to be ${field.kind}`);
    packet[field.name] = value;
  });
  return packet;
}

/** @param {Uint8Array} bytes @returns {Scalar[]} @throws {RelayError} BAD_PACKET */
export function decodeArray(bytes) {
  const total = bytes[0] & 0x0f;
  if (bytes.length === 0 || (bytes[0] & 0xf0) !== 0x90 || total < 1 || total > FIELDS_MAX) refuse("a packet is an array of 1 to 15 elements");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  /** @type {Scalar[]} */
  const values = [];
  let at = 1;
  for (let index = 0; index < total; index += 1) {
    const [value, next] = readScalar(bytes, view, at);
    values.push(value);
    at = next;
  }
  if (at !== bytes.length) refuse("nothing may follow a packet's array");
  return values;
}

/** Bytes of the length behind the type byte, for strings and binaries. @type {Record<number, number>} */
const LENGTHS = { 0xd9: 1, 0xda: 2, 0xdb: 4, 0xc4: 1, 0xc5: 2, 0xc6: 4 };
/** Bytes of an integer behind the type byte. @type {Record<number, number>} */
const INTEGERS = { 0xcc: 1, 0xcd: 2, 0xce: 4, 0xcf: 8, 0xd0: 1, 0xd1: 2, 0xd2: 4, 0xd3: 8 };

/** @param {Uint8Array} bytes @param {DataView} view @param {number} at @returns {[Scalar, number]} and where the next one begins */
function readScalar(bytes, view, at) {
  if (at >= bytes.length) refuse("a packet ended in the middle");
  const kind = bytes[at];
  if (kind < 0x80) return [kind, at + 1];
  if (kind === 0xc0) return [null, at + 1];
  if (kind === 0xc2 || kind === 0xc3) return [kind === 0xc3, at + 1];
  if ((kind & 0xe0) === 0xa0) return readRaw(bytes, at + 1, kind & 0x1f, true);
  if (kind in LENGTHS) {
    const width = LENGTHS[kind];
    if (at + 1 + width > bytes.length) refuse("a packet ended in the middle");
    const length = width === 1 ? view.getUint8(at + 1) : width === 2 ? view.getUint16(at + 1) : view.getUint32(at + 1);
    return readRaw(bytes, at + 1 + width, length, kind >= 0xd9);
  }
  if (kind in INTEGERS) {
    const width = INTEGERS[kind];
    if (at + 1 + width > bytes.length) refuse("a packet ended in the middle");
    return [readInt(view, at + 1, width, kind >= 0xd0), at + 1 + width];
  }
  return refuse("packets hold integers from 0, strings, binaries, booleans and nil only");
}

/** @param {Uint8Array} bytes @param {number} at @param {number} length @param {boolean} text @returns {[Scalar, number]} */
function readRaw(bytes, at, length, text) {
  if (at + length > bytes.length) refuse("a packet ended in the middle");
  const raw = bytes.subarray(at, at + length);
  if (!text) return [raw, at + length];
  try {
    return [strict.decode(raw), at + length];
  } catch {
    return refuse("a string is not valid UTF-8");
  }
}

/** @param {DataView} view @param {number} at @param {number} width @param {boolean} signed */
function readInt(view, at, width, signed) {
  if (signed && view.getInt8(at) < 0) refuse("an integer is from 0 to 9007199254740991");
  if (width === 1) return view.getUint8(at);
  if (width === 2) return view.getUint16(at);
  if (width === 4) return view.getUint32(at);
  const value = view.getUint32(at) * 0x100000000 + view.getUint32(at + 4);
  if (!Number.isSafeInteger(value)) refuse("an integer is from 0 to 9007199254740991");
  return value;
}
