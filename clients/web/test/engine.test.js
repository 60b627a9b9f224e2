/** The client against a relay that does as it is told: logins, resuming, numbering, cursors, calls, streams. No sockets. */

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { MemoryStorage, Relay, RelayError } from "../relay.js";
import { MESSAGE_WINDOW } from "../relay/codes.js";
import { FakeRelay, until } from "./fakerelay.js";

/** @type {Relay[]} */
const clients = [];
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
});

class Lasting extends MemoryStorage {
  lasting = true;
}

/** @param {FakeRelay} relay @param {Partial<import("../relay/client.js").Options>} [options] */
async function connect(relay, options = {}) {
  const me = await Relay.connect({ url: "ws://relay/ws", user: "alice", password: "secret", device: "laptop", webSocket: relay.webSocket, ...options });
  clients.push(me);
  return me;
}

/** @param {FakeRelay} relay @param {Relay} me */
async function reconnected(relay, me) {
  await until(() => me.state !== "open");
  me.hurry();
  await until(() => me.state === "open" && relay.now);
}

test("login, and from then on by ticket", async () => {
  const relay = new FakeRelay();
  const me = await connect(relay);
  assert.equal(me.address, "alice/laptop");
  assert.equal(relay.now?.of("HELLO")[0].mechanism, "SCRAM-SHA-256");
  relay.now?.cut();
  await reconnected(relay, me);
  assert.equal(relay.now?.of("HELLO")[0].mechanism, "TICKET");
});

test("a wrong password ends it, and so does a relay that cannot prove itself", async () => {
  const relay = new FakeRelay();
  await assert.rejects(connect(relay, { password: "wrong" }), { reason: "LOGIN_FAILED" });
  relay.lies = true;
  await assert.rejects(connect(relay), { reason: "FORGED_RELAY" });
  relay.down = true;
  await assert.rejects(connect(relay), { reason: "UNREACHABLE" });
});

test("a refused ticket is dropped, the password takes its place at once", async () => {
  const relay = new FakeRelay();
  const me = await connect(relay);
  relay.tickets.clear();
  relay.now?.cut();
  await reconnected(relay, me);
  assert.deepEqual(relay.connections.map((one) => one.of("HELLO")[0].mechanism), ["SCRAM-SHA-256", "TICKET", "SCRAM-SHA-256"]);
});

test("a page that reloads comes back by ticket, as the same device, without a password", async () => {
  const relay = new FakeRelay();
  const storage = new Lasting();
  const first = await connect(relay, { storage, device: undefined });
  assert.match(first.device, /^web-/);
  assert.deepEqual(await Relay.remembered(storage), [{ user: "alice", device: first.device }]);
  await first.close();
  const second = await connect(relay, { storage, device: undefined, password: undefined });
  assert.equal(second.address, first.address);
  await second.close({ forget: true });
  assert.deepEqual(await Relay.remembered(storage), []);
  await assert.rejects(connect(relay, { storage, device: undefined, password: undefined }), { reason: "LOGIN_NEEDED" });
});

for (const [code, state] of [[4000, "open"], [4100, "waiting"], [4201, "ended"], [4202, "ended"], [4303, "ended"], [4999, "ended"], [4042, "open"], [4199, "waiting"]]) {
  test(`after CLOSE ${code}: ${state}`, async () => {
    const relay = new FakeRelay();
    const me = await connect(relay);
    /** @type {any[]} */
    const states = [];
    me.on("state", (event) => states.push(event));
    relay.now?.close(Number(code), "because", 60000 * Number(state === "waiting"));
    await until(() => states.length > 0 && me.state === state);
    assert.equal(states[0].error.code, code);
    assert.equal(states[0].error.message, "because");
    if (state === "waiting") assert.ok(states[0].retryAtMs - Date.now() > 50000);
  });
}

test("messages wait for a connection, are numbered once, and come again with the same bytes", async () => {
  const relay = new FakeRelay();
  relay.stores = false;
  relay.lastMessageId = 41;
  const me = await connect(relay);
  const posted = ["one", "two", "three"].map((text) => me.post("bob", text));
  const first = relay.now;
  await until(() => first?.of("MESSAGE").length === 3);
  assert.deepEqual(first?.of("MESSAGE").map(({ id }) => id), [42, 43, 44]);
  relay.now?.send("STORED", { id: 42, conversation: "alice@bob", offset: 7, timeMs: 5 });
  assert.deepEqual(await posted[0].stored, { conversation: "alice@bob", offset: 7, timeMs: 5 });
  relay.now?.cut();
  await until(() => me.state !== "open");
  const fourth = me.post("bob", "four");
  assert.equal(fourth.state, "queued");
  await reconnected(relay, me);
  await until(() => relay.now?.of("MESSAGE").length === 3);
  const payloads = (/** @type {any} */ one) => one.payloads.filter((/** @type {Uint8Array} */ payload) => payload[1] === 17).map((/** @type {Uint8Array} */ payload) => [...payload]);
  assert.deepEqual(payloads(relay.now).slice(0, 2), payloads(first).slice(1));
  assert.deepEqual(relay.now?.of("MESSAGE").map(({ id }) => id), [43, 44, 45]);
  relay.now?.send("STOREDRUN", { id: 43, conversation: "alice@bob", offset: 8, timeMs: 6, total: 3 });
  assert.equal((await fourth.stored).offset, 10);
  assert.deepEqual(me.pending, []);
});

test("no more than the window is under way, counted from the oldest that is not answered", async () => {
  const relay = new FakeRelay();
  relay.stores = false;
  const me = await connect(relay);
  for (let number = 0; number < 600; number += 1) me.post("bob", number);
  const sent = () => relay.now?.of("MESSAGE").length ?? 0;
  await until(() => sent() === MESSAGE_WINDOW);
  const stored = (/** @type {number} */ id) => relay.now?.send("STORED", { id, conversation: "alice@bob", offset: id, timeMs: 1 });
  for (let id = 2; id <= MESSAGE_WINDOW; id += 1) stored(id);
  await until(() => me.pending.length === 345);
  assert.equal(sent(), MESSAGE_WINDOW);
  stored(1);
  await until(() => sent() === 2 * MESSAGE_WINDOW);
});

test("not now: the same again after a pause, and nothing new before it", async () => {
  const relay = new FakeRelay();
  relay.stores = false;
  const me = await connect(relay);
  me.post("bob", "one");
  await until(() => relay.now?.of("MESSAGE").length === 1);
  relay.now?.send("ERROR", { refused: 17, id: 1, code: 301, sentence: "busy" });
  const refusedBefore = me.post("bob", "two");
  await until(() => (relay.now?.of("MESSAGE").length ?? 0) >= 3);
  assert.deepEqual(relay.now?.of("MESSAGE").map(({ id }) => id), [1, 1, 2]);
  relay.now?.send("ERROR", { refused: 17, id: 2, code: 200, sentence: "nobody" });
  await assert.rejects(refusedBefore.stored, { reason: "NO_SUCH_USER" });
  assert.equal(refusedBefore.state, "failed");
});

test("what was not stored survives a reload, under its id", async () => {
  const relay = new FakeRelay();
  relay.stores = false;
  const storage = new Lasting();
  const first = await connect(relay, { storage });
  first.post("bob", { n: 1 });
  await until(() => relay.now?.of("MESSAGE").length === 1);
  const before = relay.now?.payloads.filter((payload) => payload[1] === 17);
  relay.down = true;
  relay.now?.cut();
  await until(() => first.state === "waiting");
  const second = first.post("bob", "offline");
  second.stored.catch(() => {});
  await first.close();
  relay.down = false;
  const again = await connect(relay, { storage });
  assert.deepEqual(again.pending.map(({ value }) => value), [{ n: 1 }, "offline"]);
  await until(() => relay.now?.of("MESSAGE").length === 2);
  assert.deepEqual(relay.now?.payloads.filter((payload) => payload[1] === 17)[0], before?.[0]);
  assert.deepEqual(relay.now?.of("MESSAGE").map(({ id }) => id), [1, 2]);
});

/** @param {Relay} me */
function collect(me) {
  /** @type {any[]} */
  const came = [];
  me.on("message", ({ value }) => void came.push(value));
  me.on("gap", ({ first, last }) => void came.push([first, last]));
  return came;
}

test("each message once, in order; own ones only move the cursor; GAPs are told", async () => {
  const relay = new FakeRelay();
  const me = await connect(relay);
  assert.equal(relay.now?.of("CALL").length, 0);
  const came = collect(me);
  await until(() => relay.now?.of("CALL").some(({ method }) => method === "messages.receive"));
  relay.deliver(5, "five");
  relay.deliver(5, "again");
  relay.deliver(4, "before");
  relay.deliver(6, "mine", "alice/laptop");
  relay.deliver(7, "of my phone", "alice/phone");
  relay.now?.send("GAP", { conversation: "alice@bob", first: 8, last: 30 });
  relay.deliver(31, "behind");
  await until(() => came.length === 4);
  assert.deepEqual(came, ["five", "of my phone", [8, 30], "behind"]);
  await until(() => relay.now?.of("ACK").some(({ delivered }) => delivered === 31));
  me.markRead("bob", 7);
  await until(() => relay.now?.of("ACK").some(({ read, delivered }) => read === 7 && delivered === 31));
});

test("a cursor waits for a handler that takes its time, and for the storage", async () => {
  const relay = new FakeRelay();
  const storage = new Lasting();
  const me = await connect(relay, { storage });
  /** @type {() => void} */
  let finish = () => {};
  /** @type {unknown[]} */
  const came = [];
  me.on("message", ({ value }) => (came.push(value), value === "slow" ? new Promise((resolve) => (finish = () => resolve(undefined))) : undefined));
  await until(() => relay.now?.of("CALL").length);
  relay.deliver(1, "quick");
  relay.deliver(2, "slow");
  relay.deliver(3, "last");
  const cursor = async () => (await storage.entries("of/")).find(([key]) => key.endsWith("cursor/alice@bob"))?.[1];
  await until(() => relay.now?.of("ACK").length);
  assert.deepEqual(came, ["quick", "slow"]);
  assert.deepEqual(relay.now?.of("ACK").map(({ delivered }) => delivered), [1]);
  assert.equal(await cursor(), 1);
  finish();
  await until(() => relay.now?.of("ACK").some(({ delivered }) => delivered === 3));
  assert.equal(await cursor(), 3);
});

test("a hole: connect again; if it is still there, tell it and go on", async () => {
  const relay = new FakeRelay();
  const me = await connect(relay);
  const came = collect(me);
  await until(() => relay.now?.of("CALL").length);
  relay.deliver(1, "one");
  relay.deliver(5, "five");
  await reconnected(relay, me);
  relay.deliver(5, "five");
  await until(() => came.length === 3);
  assert.deepEqual(came, ["one", [2, 4], "five"]);
});

test("a device that the relay has forgotten, and a relay that was restored", async () => {
  const relay = new FakeRelay();
  const me = await connect(relay);
  const came = collect(me);
  await until(() => relay.now?.of("CALL").length);
  relay.deliver(1, "one");
  await until(() => came.length === 1);
  relay.results["messages.receive"] = { new: true };
  relay.now?.cut();
  await reconnected(relay, me);
  await until(() => relay.now?.of("CALL").length);
  relay.deliver(1, "one");
  relay.deliver(9, "nine");
  await until(() => came.length === 3);
  assert.deepEqual(came, ["one", [2, 8], "nine"]);
  relay.results = {};
  relay.generation = "g2";
  relay.now?.cut();
  await reconnected(relay, me);
  relay.deliver(3, "three, another one");
  await until(() => came.length === 4);
  assert.equal(came[3], "three, another one");
});

test("a call is answered once; a refusal, a fault and a cut are errors", async () => {
  const relay = new FakeRelay();
  const me = await connect(relay);
  const ask = async () => {
    const call = me.call("bob", "add", [2, 3], { timeoutMs: 5000 });
    call.catch(() => {});
    const before = relay.now?.of("CALL").length ?? 0;
    await until(() => (relay.now?.of("CALL").length ?? 0) > before);
    return { call, id: relay.now?.of("CALL").at(-1)?.id };
  };
  const first = await ask();
  relay.now?.send("RESULT", { from: "bob/pc", to: "alice/laptop", id: first.id, contentType: "application/msgpack", body: Uint8Array.of(5) });
  assert.equal(await first.call, 5);
  const second = await ask();
  assert.ok(second.id > first.id);
  relay.now?.send("FAULT", { from: "relay", to: "alice/laptop", id: second.id, code: 203, sentence: "no" });
  await assert.rejects(second.call, { reason: "NO_SUCH_METHOD" });
  const third = await ask();
  relay.now?.send("ERROR", { refused: 24, id: third.id, code: 104, sentence: "large" });
  await assert.rejects(third.call, { reason: "TOO_LARGE" });
  const fourth = await ask();
  relay.now?.cut();
  await assert.rejects(fourth.call, { reason: "SESSION_GONE" });
});

test("a served method answers every call, also one that it does not have", async () => {
  const relay = new FakeRelay();
  const me = await connect(relay);
  await me.serve("add", ([a, b]) => a + b);
  await me.serve("fail", () => {
    throw new RelayError(1001, "no milk");
  });
  assert.equal(relay.now?.of("CALL").length, 2);
  const call = { from: "bob/pc", to: "alice/laptop", timeoutMs: 1000, contentType: "application/msgpack" };
  relay.now?.send("CALL", { ...call, id: 1, method: "add", body: Uint8Array.of(0x92, 2, 3) });
  relay.now?.send("CALL", { ...call, id: 2, method: "fail", body: Uint8Array.of(0x90) });
  relay.now?.send("CALL", { ...call, id: 3, method: "none", body: Uint8Array.of(0x90) });
  relay.now?.send("CALL", { ...call, id: 4, method: "add", body: Uint8Array.of(0x92) });
  await until(() => relay.now?.of("FAULT").length === 3 && relay.now.of("RESULT").length === 1);
  assert.deepEqual(relay.now?.of("RESULT").map(({ to, id, body }) => [to, id, ...body]), [["bob/pc", 1, 5]]);
  assert.deepEqual(relay.now?.of("FAULT").map(({ id, code }) => [id, code]).sort(), [[2, 1001], [3, 203], [4, 105]]);
  relay.now?.cut();
  await reconnected(relay, me);
  await until(() => relay.now?.of("CALL").some(({ method }) => method === "methods.announce"));
});

test("a stream sends what it has credit for, and grants as it is read", async () => {
  const relay = new FakeRelay();
  const me = await connect(relay);
  const opening = me.open("bob", "echo", "hi");
  await until(() => relay.now?.of("OPEN").length);
  const { id } = /** @type {any} */ (relay.now?.of("OPEN")[0]);
  assert.equal(id % 2, 0);
  const there = { from: "bob/pc", to: "alice/laptop", id: id + 1 };
  relay.now?.send("ACCEPT", { ...there, contentType: "text/plain", body: new TextEncoder().encode("yes") });
  const stream = await opening;
  assert.equal(stream.answer, "yes");
  assert.equal(stream.peer, "bob/pc");
  const granted = () => relay.now?.of("CREDIT").reduce((sum, { size }) => sum + size, 0) ?? 0;
  await until(() => granted() === 512 * 1024);
  let written = false;
  const writing = stream.write(new Uint8Array(100_000)).then(() => (written = true));
  relay.now?.send("CREDIT", { ...there, size: 65536 });
  relay.now?.send("CREDIT", { ...there, size: 1000 });
  await until(() => relay.now?.of("DATA").length === 2);
  assert.deepEqual(relay.now?.of("DATA").map(({ body }) => body.length), [65536, 1000]);
  assert.equal(written, false);
  relay.now?.send("CREDIT", { ...there, size: 65536 });
  await writing;
  relay.now?.send("DATA", { ...there, body: new Uint8Array(65536) });
  relay.now?.send("FINISH", there);
  assert.equal((await stream.read())?.length, 65536);
  assert.equal(await stream.read(), null);
  stream.finish();
  await until(() => relay.now?.of("FINISH").length === 1);
  assert.equal(granted(), 512 * 1024);
});

test("a stream that is refused, reset, or cut", async () => {
  const relay = new FakeRelay();
  const me = await connect(relay);
  const refused = me.open("bob", "echo");
  await until(() => relay.now?.of("OPEN").length === 1);
  const reset = (/** @type {number} */ nth, /** @type {string} */ from, /** @type {number} */ code) =>
    relay.now?.send("RESET", { from, to: "alice/laptop", id: relay.now.of("OPEN")[nth].id + 1, code, sentence: "no" });
  reset(0, "relay", 209);
  await assert.rejects(refused, { reason: "NO_SUCH_SERVICE" });
  const opening = me.open("bob", "echo");
  await until(() => relay.now?.of("OPEN").length === 2);
  const id = relay.now?.of("OPEN")[1].id + 1;
  relay.now?.send("ACCEPT", { from: "bob/pc", to: "alice/laptop", id, contentType: "", body: new Uint8Array(0) });
  const stream = await opening;
  stream.finish();
  reset(1, "relay", 210); // overtakes the end, and is ignored
  relay.now?.send("DATA", { from: "bob/pc", to: "alice/laptop", id, body: Uint8Array.of(7) });
  assert.deepEqual(await stream.read(), Uint8Array.of(7));
  relay.now?.cut();
  await assert.rejects(stream.read(), { reason: "SESSION_GONE" });
});

test("what comes from the relay and cannot be right ends the connection with its code", async () => {
  for (const [bytes, code] of [[[0, 0, 0, 0], 4302], [[0, 0, 0, 2, 0x92, 0xc1], 4303], [[0, 0, 0, 2, 0x91, 0x01], 4303]]) {
    const relay = new FakeRelay();
    const me = await connect(relay);
    const connection = relay.now;
    connection?.sendBytes(Uint8Array.from(/** @type {number[]} */ (bytes)));
    await until(() => connection?.of("CLOSE").length);
    assert.equal(connection?.of("CLOSE")[0].code, code);
    await until(() => me.state === "ended");
  }
});

test("notices of the relay's are events; unknown ones are nothing", async () => {
  const relay = new FakeRelay();
  const me = await connect(relay);
  /** @type {any[]} */
  const events = [];
  for (const type of /** @type {const} */ (["presence", "receipt", "room", "dropped", "typing", "signal"])) me.on(type, (event) => events.push([type, event]));
  const { packValue } = await import("../relay/values.js");
  const notice = (/** @type {any} */ value, from = "relay", contentType = "application/msgpack") =>
    relay.now?.send("SIGNAL", { from, to: "alice/laptop", id: null, contentType, body: packValue(value) });
  notice({ event: "news", x: 1 });
  notice({ event: "presence", user: "bob", state: "online", seen_ms: 1 });
  notice({ event: "dropped", signals: 3 });
  notice({ event: "presence", user: "eve", state: "online" }, "eve/pc");
  notice(0, "bob/pc", "application/vnd.relay.typing");
  notice("x", "relay", "text/plain");
  await until(() => events.length === 4);
  assert.deepEqual(events.slice(0, 2), [["presence", { user: "bob", state: "online", seen_ms: 1 }], ["dropped", { signals: 3 }]]);
  assert.equal(events[2][0], "signal");
  assert.deepEqual(events[3], ["typing", { user: "bob", conversation: "alice@bob", from: "bob/pc" }]);
});

test("large messages wait for each other, and are all sent", async () => {
  const relay = new FakeRelay();
  relay.stores = false;
  const me = await connect(relay);
  for (let number = 0; number < 20; number += 1) me.post("bob", new Uint8Array(1_000_000));
  const sent = () => relay.now?.of("MESSAGE").length ?? 0;
  await until(() => sent() === 8);
  for (let id = 1; id <= 20; id += 1) {
    await until(() => sent() >= id);
    relay.now?.send("STORED", { id, conversation: "alice@bob", offset: id, timeMs: 1 });
  }
  await until(() => me.pending.length === 0);
});

test("what is watched is watched again after a cut, and who came meanwhile is told", async () => {
  const relay = new FakeRelay();
  const me = await connect(relay);
  relay.results["presence.watch"] = { users: [{ user: "bob", state: "offline", seen_ms: 1 }] };
  assert.equal((await me.presence.watch())[0].state, "offline");
  /** @type {any[]} */
  const told = [];
  me.on("presence", (event) => void told.push(event.state));
  relay.results["presence.watch"] = { users: [{ user: "bob", state: "online", seen_ms: 2 }] };
  relay.now?.cut();
  await reconnected(relay, me);
  await until(() => told.length === 1);
  assert.deepEqual(told, ["online"]);
});

test("a ping is answered", async () => {
  const relay = new FakeRelay();
  await connect(relay);
  relay.now?.send("PING", { token: 99 });
  await until(() => relay.now?.of("PONG")[0]?.token === 99);
});
