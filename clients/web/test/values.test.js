/** Bodies: what goes in comes out, and what others make up does no harm. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { conversationOf, otherEnd, prepareName } from "../relay/names.js";
import { decodeBody, encodeBody, packValue, unpackValue } from "../relay/values.js";

test("values keep their kind", () => {
  for (const value of ["", "héllo 你好 👋", 7, -1.5, true, null, [1, [2]], { a: { b: "c" } }, Uint8Array.of(0, 255), [new Uint8Array(300)]]) {
    const { contentType, body } = encodeBody(value);
    assert.deepEqual(decodeBody(contentType, body), value);
  }
  assert.equal(encodeBody("x").contentType, "text/plain");
  assert.equal(encodeBody(Uint8Array.of(1)).contentType, "");
  assert.equal(encodeBody([1]).contentType, "application/msgpack");
  assert.deepEqual(encodeBody({ a: 1 }, "application/json+x").contentType, "application/json+x");
});

test("what cannot be sent is refused here", () => {
  assert.throws(() => encodeBody(new Uint8Array(1047553)), { reason: "BAD_VALUE" });
  assert.throws(() => encodeBody(() => 1), { reason: "BAD_VALUE" });
});

test("text of another type than it claims is undefined, not an exception", () => {
  assert.equal(decodeBody("text/plain", Uint8Array.of(0xff)), undefined);
  assert.equal(decodeBody("text/plain; charset=utf-8", Uint8Array.of(0x61)), "a");
  assert.equal(decodeBody("application/msgpack", Uint8Array.of(0x92, 1)), undefined);
});

/** @param {number[]} bytes */
const bomb = (bytes) => Uint8Array.from(bytes);

test("announced elements that never come are refused before anything is made for them", () => {
  const nested = new Uint8Array(1000).fill(0xdd);
  const before = process.memoryUsage().heapUsed;
  for (const bytes of [bomb([0xdd, 0x01, 0xff, 0xff, 0xff]), bomb([0xdf, 0xff, 0xff, 0xff, 0xff]), nested, bomb([0xdc, 0xff, 0xff, ...Array(2000).fill(0xdc)])]) {
    assert.throws(() => unpackValue(bytes));
  }
  assert.ok(process.memoryUsage().heapUsed - before < 20_000_000);
});

test("nesting up to 64 levels, not deeper", () => {
  /** @type {any} */
  let value = 1;
  for (let level = 0; level < 64; level += 1) value = [value];
  const bytes = packValue(value);
  assert.deepEqual(unpackValue(bytes), value);
  assert.throws(() => unpackValue(Uint8Array.of(0x91, ...bytes)));
  assert.throws(() => unpackValue(new Uint8Array(100000).fill(0x91)));
});

test("a prototype cannot be smuggled in", () => {
  const bytes = Uint8Array.from([0x81, 0xa9, ...new TextEncoder().encode("__proto__"), 0x81, 0xa1, 0x78, 1]);
  assert.equal(decodeBody("application/msgpack", bytes), undefined);
  assert.equal(/** @type {any} */ ({}).x, undefined);
});

test("fuzz: random msgpack is a value or undefined", () => {
  let seed = 7;
  const random = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  for (let round = 0; round < 20000; round += 1) {
    decodeBody("application/msgpack", Uint8Array.from({ length: Math.floor(random() * 40) }, () => Math.floor(random() * 256)));
  }
});

test("conversations are named in code point order", () => {
  assert.equal(conversationOf("bob", "alice"), "alice@bob");
  assert.equal(conversationOf("alice", "bob/phone"), "alice@bob");
  assert.equal(conversationOf("alice", "alice"), "alice@alice");
  assert.equal(conversationOf("alice", "#ops"), "#ops");
  // U+FF5A is below U+1D44E, though not in UTF-16.
  assert.equal(conversationOf("\u{1d44e}", "\uff5a"), "\uff5a@\u{1d44e}");
  assert.equal(otherEnd("bob", "alice@bob"), "alice");
  assert.equal(otherEnd("alice", "alice@alice"), "alice");
});

test("names are prepared, and what is no name is refused", () => {
  assert.equal(prepareName("Alice"), "alice");
  assert.equal(prepareName("\uff21lice"), "alice");
  assert.equal(prepareName("Zoe\u0308"), "zo\u00eb");
  for (const name of ["", "a b", "a/b", "#a", "a@b", "a\u0000", "x".repeat(65)]) assert.throws(() => prepareName(name), { reason: "BAD_VALUE" });
});
