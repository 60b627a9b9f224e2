/** Both logins, byte for byte as in the document, and relays that only pretend. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { preparePassword } from "../relay/names.js";
import { Scram, TicketLogin, importKey } from "../relay/scram.js";
import { decode } from "../relay/packets.js";
import { login, loginBytes, packet } from "./document.js";

const text = new TextDecoder();
const utf8 = new TextEncoder();
/** @param {string} name */
const value = (name) => login.get(name) ?? "";
/** @param {string} title */
const fields = (title) => /** @type {import("../relay/packets.js").Packet} */ (decode(packet(title).subarray(4)));

function scram() {
  return new Scram(value("user"), value("password"), value("client_nonce"));
}

test("SCRAM as the document shows it", async () => {
  const it = scram();
  assert.equal(text.decode(it.first()), value("client_first"));
  assert.equal(text.decode(await it.answer(utf8.encode(value("server_first")))), value("client_final"));
  await it.verify(utf8.encode(value("server_final")));
});

test("the data of the document's packets are those of its login", async () => {
  const it = scram();
  assert.deepEqual(fields("HELLO").data, it.first());
  assert.deepEqual(fields("PROOF").data, await it.answer(fields("CHALLENGE").data));
  await it.verify(fields("WELCOME").data);
});

test("a user's name is escaped", () => {
  assert.match(text.decode(new Scram("a=b,c", "x", "n").first()), /^n,,n=a=3Db=2Cc,r=n$/);
});

test("a relay that does not know the password is found out", async () => {
  const it = scram();
  await it.answer(utf8.encode(value("server_first")));
  for (const data of ["", "v=", "e=other-error", `v=${btoa("x".repeat(32))}`]) {
    await assert.rejects(it.verify(utf8.encode(data)), { reason: "FORGED_RELAY" });
  }
});

const CHALLENGES = {
  "the nonce is ours only": "r=Zm9yIGV4YW1wbGU,s=AAEC,i=16384",
  "the nonce is another": "r=Xm9yIGV4YW1wbGUabc,s=AAEC,i=16384",
  "few iterations": "r=Zm9yIGV4YW1wbGUabc,s=AAEC,i=4095",
  "many iterations": "r=Zm9yIGV4YW1wbGUabc,s=AAEC,i=1000001",
  "no salt": "r=Zm9yIGV4YW1wbGUabc,i=16384",
  "something else": "hello",
};
for (const [what, challenge] of Object.entries(CHALLENGES)) {
  test(`a challenge is refused: ${what}`, async () => {
    await assert.rejects(scram().answer(utf8.encode(challenge)), { reason: "FORGED_RELAY" });
  });
}

test("a ticket as the document shows it", async () => {
  const hello = fields("HELLO with a ticket");
  const [nonce, ticket] = [hello.data.slice(0, 16), hello.data.slice(48)];
  assert.deepEqual(ticket, fields("WELCOME").ticket);
  const it = new TicketLogin(ticket, await importKey(loginBytes("server_key")), nonce);
  assert.deepEqual(await it.first(), hello.data);
  await it.verify(fields("WELCOME after a ticket").data);
  await assert.rejects(it.verify(new Uint8Array(32)), { reason: "FORGED_RELAY" });
});

test("the key that proves a ticket cannot be read out", async () => {
  const key = await importKey(loginBytes("server_key"));
  await assert.rejects(crypto.subtle.exportKey("raw", key));
});

test("passwords are prepared by SASLprep", () => {
  // RFC 4013 section 3
  assert.equal(preparePassword("I\u00adX"), "IX");
  assert.equal(preparePassword("user"), "user");
  assert.equal(preparePassword("\u00aa"), "a");
  assert.equal(preparePassword("\u2168"), "IX");
  assert.equal(preparePassword("a\u00a0b"), "a b");
  assert.throws(() => preparePassword("\u0007"), { reason: "BAD_VALUE" });
  assert.throws(() => preparePassword(""), { reason: "BAD_VALUE" });
});
