/** Frames and packets against the bytes of the document, and against bytes that nobody should send. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { CloseCode, ErrorCode } from "../relay/codes.js";
import { RelayError } from "../relay/errors.js";
import { FrameReader } from "../relay/frames.js";
import { decode, decodeArray, encode, encodeArray, numberOf } from "../relay/packets.js";
import { camelCase, codes, forms, packets } from "./document.js";

/** @param {Uint8Array} bytes */
function payloads(bytes, max = 1048576) {
  const reader = new FrameReader(max);
  reader.push(bytes);
  const found = [];
  for (let payload = reader.next(); payload; payload = reader.next()) found.push(payload);
  return found;
}

/** @param {string} what a note says of a field @param {any} value that was decoded */
function agrees(what, value) {
  if (value instanceof Uint8Array) return what.startsWith(`${value.length} byte`);
  if (typeof value === "string") return what === JSON.stringify(value);
  return what === (value === null ? "nil" : String(value));
}

test("the document has examples of every packet", () => {
  assert.ok(packets.length > 30);
  for (const name of forms.keys()) assert.ok(packets.some(({ title }) => title.split(" ")[0] === name), name);
});

for (const { title, bytes, notes } of packets.filter(({ title }) => title !== "packet of an unknown type" && !/^of an unknown/.test(title))) {
  test(`the document's ${title}: read, and written again`, () => {
    const [payload, ...others] = payloads(bytes);
    assert.deepEqual(others, []);
    const packet = decode(payload);
    assert.ok(packet);
    const [[, type], ...fields] = notes;
    assert.equal(type, `${numberOf(packet.type)}, ${packet.type}`);
    const known = fields.filter(([name]) => name !== "unknown" && !name.startsWith("unknown"));
    assert.deepEqual(known.map(([name]) => camelCase(name)), Object.keys(packet).slice(1));
    for (const [name, what] of known) if (name !== "packet") assert.ok(agrees(what, packet[camelCase(name)]), `${name}: ${what}`);
    if (!title.includes("later version")) assert.deepEqual(encode(packet.type, packet), bytes);
  });
}

test("a packet of an unknown type is nothing, and no error", () => {
  const found = packets.find(({ title }) => title.includes("unknown type"));
  assert.ok(found);
  assert.equal(decode(payloads(found.bytes)[0]), null);
});

test("the tables of fields are those of the document", () => {
  for (const [name, { number, fields }] of forms) {
    assert.equal(numberOf(name), number);
    const sample = Object.fromEntries(fields.map(([field, type]) => [camelCase(field), valueOf(type)]));
    const packet = decode(payloads(encode(name, sample))[0]);
    assert.deepEqual(packet, { type: name, ...sample }, name);
    for (const [field, type] of fields) {
      const withNil = () => encode(name, { ...sample, [camelCase(field)]: null });
      if (type.endsWith("or nil")) withNil();
      else assert.throws(withNil, TypeError, `${name} ${field}`);
    }
  }
});

/** @param {string} type */
function valueOf(type) {
  if (type.startsWith("int")) return 7;
  return type.startsWith("str") ? "x" : Uint8Array.of(1);
}

test("the codes are those of the document", () => {
  // Those that the document adds later are judged by their range.
  for (const [name, code] of [...Object.entries(ErrorCode), ...Object.entries(CloseCode)]) {
    assert.ok(codes.some((row) => row.name === name && row.code === code), `${name} ${code}`);
  }
});

test("frames are the same however the stream is split", () => {
  const all = packets.map(({ bytes }) => [...bytes]).flat();
  const stream = Uint8Array.from(all);
  const whole = payloads(stream).map((payload) => [...payload]);
  assert.equal(whole.length, packets.length);
  for (const size of [1, 2, 3, 5, 7, 64, 1000]) {
    const reader = new FrameReader(4096);
    const found = [];
    for (let at = 0; at < stream.length; at += size) {
      reader.push(stream.slice(at, at + size));
      for (let payload = reader.next(); payload; payload = reader.next()) found.push([...payload]);
    }
    assert.deepEqual(found, whole, `in pieces of ${size}`);
    assert.equal(reader.waitingBytes, 0);
  }
});

test("a length of 0 or over the limit is refused before its bytes are there", () => {
  for (const header of [[0, 0, 0, 0], [0, 0, 0x10, 1], [0xff, 0xff, 0xff, 0xff]]) {
    assert.throws(() => payloads(Uint8Array.from(header), 4096), { code: CloseCode.BAD_FRAME });
  }
  assert.deepEqual(payloads(Uint8Array.of(0, 0, 0x10, 0), 4096), []);
});

test("what was announced is not allocated", () => {
  const before = process.memoryUsage().arrayBuffers;
  for (let round = 0; round < 200; round += 1) payloads(Uint8Array.of(0, 0x10, 0, 0, 0x91));
  assert.ok(process.memoryUsage().arrayBuffers - before < 10_000_000);
});

const WRONG = {
  empty: [],
  "an array of nothing": [0x90],
  "a long array": [0xdc, 0, 1, 5],
  "a map": [0x81, 5, 5],
  "a float": [0x92, 5, 0xcb, 0, 0, 0, 0, 0, 0, 0, 0],
  "a nested array": [0x92, 5, 0x90],
  "a nested map": [0x92, 5, 0x80],
  "an extension": [0x92, 5, 0xd4, 1, 1],
  "a negative integer": [0x92, 5, 0xff],
  "a negative long integer": [0x92, 5, 0xd3, 0xff, 0, 0, 0, 0, 0, 0, 0],
  "an integer of 2^53": [0x92, 5, 0xcf, 0, 0x20, 0, 0, 0, 0, 0, 0],
  "bad UTF-8": [0x92, 5, 0xa1, 0xff],
  "too few fields": [0x91, 5],
  "a field of another type": [0x92, 5, 0xa1, 0x61],
  "a bool for an integer": [0x92, 5, 0xc3],
  "cut off": [0x92, 5],
  "a string cut off": [0x92, 5, 0xa5, 0x61],
  "a length cut off": [0x92, 5, 0xda, 0],
  "something behind": [0x92, 5, 1, 1],
  "a type that is no integer": [0x92, 0xa1, 0x61, 1],
  "the byte that is not msgpack": [0x92, 5, 0xc1],
};
for (const [what, bytes] of Object.entries(WRONG)) {
  test(`refused: ${what}`, () => {
    assert.throws(() => decode(Uint8Array.from(bytes)), { code: CloseCode.BAD_PACKET });
  });
}

test("every form of an integer is taken, the shortest is written", () => {
  const forms = [[7], [0xcc, 7], [0xcd, 0, 7], [0xce, 0, 0, 0, 7], [0xcf, 0, 0, 0, 0, 0, 0, 0, 7], [0xd0, 7], [0xd1, 0, 7], [0xd2, 0, 0, 0, 7], [0xd3, 0, 0, 0, 0, 0, 0, 0, 7]];
  for (const form of forms) assert.equal(decode(Uint8Array.of(0x92, 5, ...form))?.token, 7);
  for (const value of [0, 127, 128, 255, 256, 65535, 65536, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER]) {
    assert.deepEqual(decodeArray(encodeArray([1, value])), [1, value]);
  }
});

test("strings keep their byte order mark, and every length has its form", () => {
  for (const text of ["\ufeffx", "", "a".repeat(31), "b".repeat(32), "c".repeat(255), "d".repeat(256), "e".repeat(65536)]) {
    assert.deepEqual(decodeArray(encodeArray([1, text])), [1, text]);
  }
});

test("fuzz: changed and random bytes are read or refused, never anything else", () => {
  let seed = 20261121;
  const random = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  let [read, refused] = [0, 0];
  for (let round = 0; round < 20000; round += 1) {
    const bytes = packets[Math.floor(random() * packets.length)].bytes.slice();
    for (let change = 0; change < 1 + random() * 4; change += 1) bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
    const cut = random() < 0.2 ? bytes.slice(0, Math.floor(random() * bytes.length)) : bytes;
    try {
      for (const payload of payloads(cut, 4096)) {
        const packet = decode(payload);
        if (packet) assert.deepEqual(decode(payloads(encode(packet.type, packet))[0]), packet);
      }
      read += 1;
    } catch (error) {
      assert.ok(error instanceof RelayError, String(error));
      assert.ok(error.code === CloseCode.BAD_FRAME || error.code === CloseCode.BAD_PACKET);
      refused += 1;
    }
  }
  assert.ok(read > 1000 && refused > 1000, `${read} read, ${refused} refused`);
});
