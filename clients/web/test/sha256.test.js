/** Our own SHA-256 gives what Node's gives. */

import assert from "node:assert/strict";
import { createHash, createHmac, pbkdf2Sync } from "node:crypto";
import { test } from "node:test";
import { Sha256, hmacWith, pbkdf2 } from "../relay/sha256.js";

const bytes = (/** @type {number} */ size) => Uint8Array.from({ length: size }, (_, index) => (index * 31 + size) & 255);
const hex = (/** @type {Uint8Array} */ some) => Buffer.from(some).toString("hex");

test("every length around the blocks, in one piece and in many", () => {
  for (let size = 0; size < 300; size += 1) {
    const expected = createHash("sha256").update(bytes(size)).digest("hex");
    assert.equal(hex(new Sha256().update(bytes(size)).digest()), expected, `${size}`);
    const pieces = new Sha256();
    for (let at = 0; at < size; at += 7) pieces.update(bytes(size).subarray(at, at + 7));
    assert.equal(hex(pieces.digest()), expected, `${size} in pieces of 7`);
  }
});

test("a copy goes on by itself", () => {
  const first = new Sha256().update(bytes(100));
  const second = first.copy().update(bytes(50));
  assert.equal(hex(first.digest()), createHash("sha256").update(bytes(100)).digest("hex"));
  assert.equal(hex(second.digest()), createHash("sha256").update(bytes(100)).update(bytes(50)).digest("hex"));
});

test("HMAC and PBKDF2", () => {
  for (const size of [0, 1, 63, 64, 65, 200]) {
    assert.equal(hex(hmacWith(bytes(size))(bytes(90))), createHmac("sha256", bytes(size)).update(bytes(90)).digest("hex"));
  }
  assert.equal(hex(pbkdf2(bytes(11), bytes(16), 4096)), pbkdf2Sync(bytes(11), bytes(16), 4096, 32, "sha256").toString("hex"));
});
