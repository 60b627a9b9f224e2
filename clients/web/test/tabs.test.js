/** Several tabs of one device: one connection, each message once in each tab, and what happens when a tab is closed or dies. */

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { MemoryStorage, Relay } from "../relay.js";
import { encode } from "../relay/packets.js";
import { packValue } from "../relay/values.js";
import { FakeRelay, until } from "./fakerelay.js";

class Lasting extends MemoryStorage {
  lasting = true;
}

/** Web Locks, as far as they are used: exclusive, first come first served, gone with their tab. */
class Locks {
  /** @type {Map<string, {tab: Tab, held: () => Promise<unknown>, running: boolean, settle: [(value: any) => void, (error: any) => void]}[]>} */
  #queues = new Map();

  /** @param {Tab} tab @param {string} name @param {{signal?: AbortSignal}} options @param {() => Promise<unknown>} held */
  request(tab, name, { signal }, held) {
    return new Promise((resolve, reject) => {
      const queue = this.#queues.get(name) ?? [];
      this.#queues.set(name, queue);
      const job = { tab, held, running: false, settle: /** @type {any} */ ([resolve, reject]) };
      queue.push(job);
      signal?.addEventListener("abort", () => {
        if (job.running || !queue.includes(job)) return;
        queue.splice(queue.indexOf(job), 1);
        reject(new DOMException("aborted", "AbortError"));
      });
      this.#next(name);
    });
  }

  /** @param {string} name */
  #next(name) {
    const queue = this.#queues.get(name) ?? [];
    const job = queue[0];
    if (!job || job.running) return;
    job.running = true;
    const over = () => {
      if (queue[0] === job) queue.shift();
      this.#next(name);
    };
    queueMicrotask(() => job.held().then(job.settle[0], job.settle[1]).finally(over));
  }

  /** @param {Tab} tab */
  die(tab) {
    for (const [name, queue] of this.#queues) {
      queue.splice(0, queue.length, ...queue.filter((job) => job.tab !== tab));
      this.#next(name);
    }
  }
}

/** A browser with one relay, one storage, and tabs. */
class Browser {
  relay = new FakeRelay();
  storage = new Lasting();
  locks = new Locks();
  name = Math.random();
  /** @type {Tab[]} */
  tabs = [];

  async open(options = {}) {
    const tab = new Tab(this);
    this.tabs.push(tab);
    const { relay, storage } = this;
    const start = { url: "ws://relay/ws", user: "alice", password: "secret", webSocket: tab.webSocket, storage, tabs: tab.sharing, ...options };
    tab.me = await Relay.connect(start);
    for (const type of /** @type {const} */ (["message", "gap"])) {
      tab.me.on(type, (event) => void tab.came.push(type === "gap" ? /** @type {any} */ (event).first : /** @type {any} */ (event).value));
    }
    await until(() => relay.now?.of("CALL").some(({ method }) => method === "messages.receive"));
    return tab;
  }
}

/** One tab; it can die, and is then never heard of again. */
class Tab {
  /** @type {any[]} */
  came = [];
  /** @type {any} */
  me = null;
  dead = false;
  /** @type {any[]} */
  #mine = [];

  /** @param {Browser} browser */
  constructor(browser) {
    this.browser = browser;
  }

  get sharing() {
    const { locks, name } = this.browser;
    return {
      locks: { request: (/** @type {string} */ lock, /** @type {any} */ options, /** @type {any} */ held) => locks.request(this, lock, options, held) },
      openChannel: (/** @type {string} */ channel) => {
        const opened = new BroadcastChannel(`${channel} ${name}`);
        this.#mine.push(opened);
        return opened;
      },
    };
  }

  get webSocket() {
    const tab = this;
    return class extends this.browser.relay.webSocket {
      constructor() {
        if (tab.dead) throw new Error("a dead tab connects no more");
        super();
        tab.#mine.push(this);
      }
    };
  }

  /** The tab crashes: no goodbye, no handler runs any more. */
  die() {
    this.dead = true;
    const sockets = this.#mine.filter((one) => "readyState" in one);
    const channels = this.#mine.filter((one) => !sockets.includes(one));
    for (const channel of channels) {
      channel.onmessage = null;
      channel.postMessage = () => {};
      channel.close();
    }
    for (const socket of sockets) {
      const { onclose } = socket;
      socket.onmessage = socket.onclose = socket.onopen = null;
      socket.close();
      onclose?.({ code: 1006, reason: "" });
    }
    this.browser.locks.die(this);
  }
}

/** @type {Browser[]} */
const browsers = [];
const browser = () => {
  const made = new Browser();
  browsers.push(made);
  return made;
};
afterEach(async () => {
  for (const { tabs } of browsers.splice(0)) {
    for (const tab of tabs) await tab.me.close();
  }
});

const logins = (/** @type {FakeRelay} */ relay) => relay.connections.filter((one) => one.of("HELLO").length).length;

test("two tabs, one connection; each gets every message once and sees what the other posts", async () => {
  const it = browser();
  const { relay } = it;
  const [one, two] = [await it.open(), await it.open({ password: undefined })];
  assert.equal(logins(relay), 1);
  assert.equal(one.me.address, two.me.address);
  relay.deliver(1, "hello");
  await until(() => one.came.length === 1 && two.came.length === 1);
  /** @type {string[]} */
  const fates = [];
  one.me.on("posted", (/** @type {any} */ posted) => void fates.push(`${posted.value} ${posted.state}`));
  assert.equal((await two.me.send("bob", "from two")).offset, 1);
  await until(() => fates.includes("from two stored"));
  assert.deepEqual([...relay.log.keys()], [1]);
});

test("a tab that comes later knows what waits, and a refusal reaches who posted", async () => {
  const it = browser();
  it.relay.stores = false;
  const one = await it.open();
  one.me.post("bob", "waits");
  await until(() => it.relay.now?.of("MESSAGE").length === 1);
  const two = await it.open({ password: undefined });
  assert.deepEqual(two.me.pending.map((/** @type {any} */ posted) => posted.value), ["waits"]);
  const refused = two.me.send("bob", "no");
  await until(() => it.relay.now?.of("MESSAGE").length === 2);
  it.relay.now?.send("ERROR", { refused: 17, id: 2, code: 200, sentence: "nobody" });
  await assert.rejects(refused, { name: "RelayError", reason: "NO_SUCH_USER" });
});

for (const how of /** @type {const} */ (["close", "die"])) {
  test(`the leader's end (${how}): the next tab takes over, nothing is lost or doubled`, async () => {
    const it = browser();
    const [one, two] = [await it.open(), await it.open({ password: undefined })];
    const posted = [];
    for (let number = 0; number < 100; number += 1) {
      posted.push(two.me.send("bob", number));
      if (number === 50) how === "die" ? one.die() : one.me.close();
      if (number % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 0));
    }
    const offsets = (await Promise.all(posted)).map(({ offset }) => offset);
    assert.equal(new Set(offsets).size, 100);
    assert.equal(it.relay.log.size, 100);
    assert.deepEqual(offsets, offsets.slice().sort((a, b) => a - b));
    assert.equal(it.relay.now?.of("HELLO")[0].mechanism, "TICKET");
    it.relay.deliver(500, "later");
    await until(() => two.came.at(-1) === "later");
  });
}

test("an answer that got lost with the leader is remembered", async () => {
  const it = browser();
  it.relay.stores = false;
  const [one, two] = [await it.open(), await it.open({ password: undefined })];
  const posted = two.me.post("bob", "once");
  await until(() => it.relay.now?.of("MESSAGE").length === 1);
  // The leader stores the answer, and dies before it can tell.
  const channel = BroadcastChannel.prototype.postMessage;
  BroadcastChannel.prototype.postMessage = () => {};
  it.relay.store(/** @type {any} */ (it.relay.now), it.relay.now?.of("MESSAGE")[0] ?? assert.fail());
  await until(() => one.me.pending.length === 0);
  await until(async () => (await it.storage.entries("of/")).some(([key]) => key.includes("/done/")));
  one.die();
  BroadcastChannel.prototype.postMessage = channel;
  assert.equal((await posted.stored).offset, 1);
  assert.equal(it.relay.log.size, 1);
  await until(() => two.me.state === "open");
  assert.equal(it.relay.connections.flatMap((one) => one.of("MESSAGE")).length, 1);
});

test("what a tab was not told it reads from the history", async () => {
  const it = browser();
  const [one, two] = [await it.open(), await it.open({ password: undefined })];
  it.relay.deliver(1, "one");
  await until(() => one.came.length === 1 && two.came.length === 1);
  const channel = BroadcastChannel.prototype.postMessage;
  BroadcastChannel.prototype.postMessage = () => {};
  it.relay.deliver(2, "two");
  await until(() => it.relay.now?.of("ACK").some(({ delivered }) => delivered === 2));
  const message = { from: "bob/pc", to: "alice", id: 2, contentType: "text/plain", body: new TextEncoder().encode("two") };
  const kept = { offset: 2, time_ms: 1, packet: encode("MESSAGE", message).slice(4) };
  it.relay.results["history.read"] = { conversation: "alice@bob", first: 1, kept: 1, head: 2, messages: [kept] };
  one.die();
  BroadcastChannel.prototype.postMessage = channel;
  await until(() => two.came.length === 2);
  assert.deepEqual(two.came, ["one", "two"]);
});

for (const [how, end] of /** @type {[string, (it: Browser) => any][]} */ ([
  ["signing out in the leader", (it) => it.tabs[0].me.close({ forget: true })],
  ["signing out in another tab", (it) => it.tabs[1].me.close({ forget: true })],
  ["REPLACED", (it) => it.relay.now?.close(4202, "elsewhere")],
])) {
  test(`${how} ends all tabs, and none of them connects again`, async () => {
    const it = browser();
    await it.open();
    await it.open({ password: undefined });
    await it.open({ password: undefined });
    await end(it);
    await until(() => it.tabs.every((tab) => tab.me.state === "ended"));
    await new Promise((resolve) => setTimeout(resolve, 700));
    assert.equal(logins(it.relay), 1);
    const again = await it.open();
    assert.equal(again.me.state, "open");
  });
}

test("methods and streams of a tab that does not lead, until it dies", async () => {
  const it = browser();
  const [, two] = [await it.open(), await it.open({ password: undefined })];
  await two.me.serve("twice", ([n]) => 2 * n);
  await two.me.offer("echo", async (/** @type {any} */ stream) => {
    stream.accept("hi");
    for await (const chunk of stream) await stream.write(chunk);
  });
  const call = { from: "bob/pc", to: "alice/x", id: 9, timeoutMs: 1000, contentType: "application/msgpack" };
  it.relay.now?.send("CALL", { ...call, method: "twice", body: packValue([21]) });
  await until(() => it.relay.now?.of("RESULT").length);
  assert.deepEqual([...it.relay.now?.of("RESULT")[0].body], [42]);
  const there = { from: "bob/pc", to: "alice/x", id: 4 };
  it.relay.now?.send("OPEN", { ...there, service: "echo", timeoutMs: 1000, contentType: "", body: new Uint8Array(0) });
  await until(() => it.relay.now?.of("ACCEPT").length);
  it.relay.now?.send("CREDIT", { ...there, size: 65536 });
  it.relay.now?.send("DATA", { ...there, body: Uint8Array.of(1, 2, 3) });
  await until(() => it.relay.now?.of("DATA").length);
  assert.deepEqual([...it.relay.now?.of("DATA")[0].body], [1, 2, 3]);
  two.die();
  await until(() => it.relay.now?.of("RESET").length);
  it.relay.now?.send("CALL", { ...call, id: 10, method: "twice", body: packValue([21]) });
  await until(() => it.relay.now?.of("FAULT").some(({ id }) => id === 10));
});
