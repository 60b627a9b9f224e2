/** A client in Node under remote control: a JSON object a line in, what came of it out. Bytes travel as {"bytes": base64}. */

import { createHash } from "node:crypto";
import { appendFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { WebSocket } from "../../clients/web/node_modules/ws/wrapper.mjs";
import { FileStorage } from "../../clients/web/relay/filestorage.js";
import { Relay, RelayError } from "../../clients/web/relay.js";

let me = null;
let storage = null;
let sockets = [];
const received = [];
const events = [];

/** Remembers its sockets, so that they can be cut. */
class Cuttable extends WebSocket {
  constructor(url) {
    super(url);
    sockets = [this];
  }
}

const plain = (value) => {
  if (value instanceof Uint8Array) return { bytes: Buffer.from(value).toString("base64") };
  if (Array.isArray(value)) return value.map(plain);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, plain(one)]));
  return value;
};
const revive = (value) => {
  if (value === null || typeof value !== "object") return value;
  if (typeof value.bytes === "string") return new Uint8Array(Buffer.from(value.bytes, "base64"));
  if (Array.isArray(value)) return value.map(revive);
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, revive(one)]));
};
const problem = (error) => ({ code: error.code ?? 0, reason: error.reason ?? "", sentence: error.message });

/** Bytes that say where they stand, the same as in Python. */
function pattern(size, seed) {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 1) bytes[at] = (at * 31 + (at >> 8) * 7 + (at >> 16) + seed) & 255;
  return bytes;
}
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** Write on a stream and read it at the same time: what both came to. */
async function exchange(stream, size, seed) {
  const sent = pattern(size, seed);
  const writing = (async () => {
    for (let at = 0; at < size; at += 100_000) await stream.write(sent.subarray(at, at + 100_000));
    stream.finish();
  })();
  const hash = createHash("sha256");
  let total = 0;
  for await (const chunk of stream) {
    hash.update(chunk);
    total += chunk.length;
  }
  await writing;
  return { sent: sha256(sent), received: hash.digest("hex"), total };
}

const services = {
  echo: async (stream) => {
    stream.accept({ from: "node" });
    for await (const chunk of stream) await stream.write(chunk);
  },
  refuse: () => {
    throw new RelayError(1234, "not today");
  },
  /** Takes the first bytes and no more, until it is asked to go on. */
  lazy: async (stream) => {
    await stream.read();
    await new Promise((resolve) => (goOn = resolve));
    let total = 0;
    for await (const chunk of stream) total += chunk.length;
    await stream.write(new TextEncoder().encode(String(total)));
  },
};
let goOn = () => {};
const methods = {
  add: ([a, b]) => a + b,
  named: ({ a, b }) => ({ a, b }),
  whole: (args) => args,
  fail: () => {
    throw new Error("broken");
  },
  refuse: () => {
    throw new RelayError(1234, "not today");
  },
  silent: () => new Promise(() => {}),
};

const operations = {
  async connect({ file, log, listen, ...options }) {
    if (file) storage = await FileStorage.open(file);
    me = await Relay[options.patient ? "start" : "connect"]({ webSocket: Cuttable, ...(storage ? { storage } : {}), ...options });
    if (options.patient) await me.whenOpen();
    for (const type of ["state", "signal", "typing", "receipt", "presence", "room", "gap", "dropped"]) me.on(type, (event) => events.push({ type, ...plain(event) }));
    me.on("error", (error) => events.push({ type: "error", ...problem(error) }));
    const take = log ? ({ offset, value }) => appendFileSync(log, `${offset} ${value}\n`) : (message) => received.push(plain(message));
    if (listen ?? true) me.on("message", (message) => void take(message));
    return { address: me.address, pending: me.pending.map(({ value }) => value) };
  },
  send: ({ to, value, contentType }) => me.send(to, revive(value), { contentType }),
  flood: async ({ to, from, until, pauseEvery }) => {
    const places = [];
    for (let number = from; number < until; number += 1) {
      places.push(me.post(to, number).stored);
      if (number % pauseEvery === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const offsets = (await Promise.all(places)).map(({ offset }) => offset);
    return { stored: offsets.length, distinct: new Set(offsets).size, ascending: offsets.every((one, index) => index === 0 || one > offsets[index - 1]) };
  },
  drained: async () => {
    await Promise.all(me.pending.map((posted) => posted.stored));
    return null;
  },
  call: ({ to, method, args, timeoutMs }) => me.call(to, method, revive(args), { timeoutMs }),
  serve: async ({ names }) => {
    for (const name of names) await me.serve(name, methods[name]);
  },
  offer: async ({ names }) => {
    for (const name of names) await me.offer(name, services[name]);
  },
  goOn: () => void goOn(),
  open: async ({ to, service, size, seed }) => {
    const stream = await me.open(to, service, { size });
    return { answer: plain(stream.answer), ...(await exchange(stream, size, seed)) };
  },
  /** How much a stream takes while the other end does not read. */
  fill: async ({ to, service, waitMs }) => {
    const stream = await me.open(to, service);
    let written = 0;
    let stopped = false;
    const writing = (async () => {
      while (!stopped) {
        await stream.write(new Uint8Array(65536));
        written += 65536;
      }
      stream.finish();
    })();
    await new Promise((resolve) => setTimeout(resolve, waitMs));
    const before = written;
    stopped = true;
    return { before, finish: await Promise.race([writing.then(() => true), new Promise((resolve) => setTimeout(() => resolve(false), 50))]) };
  },
  signal: ({ to, value }) => me.signal(to, revive(value)),
  typing: ({ to }) => me.typing(to),
  read: ({ conversation, offset }) => me.markRead(conversation, offset),
  history: async ({ conversation, ...where }) => plain(await me.history(conversation, where)),
  ask: async ({ path, args }) => {
    const [name, ...within] = path.split(".").reverse();
    const owner = within.reduceRight((at, key) => at[key], me);
    return plain(await owner[name](...revive(args ?? [])));
  },
  sendFile: async ({ to, name, size, seed, type }) => plain(await me.files.send(to, new Blob([pattern(size, seed)], { type }), { name })),
  getFile: async ({ file: id }) => {
    const file = await me.files.get(id);
    return { name: file.name, type: file.type, size: file.size, hash: sha256(new Uint8Array(await file.arrayBuffer())) };
  },
  received: ({ from }) => received.slice(from),
  events: () => events.splice(0),
  state: () => me.state,
  cut: () => sockets.forEach((socket) => socket.terminate()),
  hurry: () => me.hurry(),
  close: async (options) => {
    await me.close(options);
    await storage?.close();
    me = storage = null;
  },
};

createInterface({ input: process.stdin }).on("line", async (line) => {
  const { id, op, ...args } = JSON.parse(line);
  let answer;
  try {
    answer = { id, result: (await operations[op](args)) ?? null };
  } catch (error) {
    answer = { id, error: problem(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}).on("close", () => process.exit(0));
