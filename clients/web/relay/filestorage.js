/**
 * What a device of a Node program keeps, in one file: a journal of atomic changes, written anew when it is opened and when it
 * has grown. Not for browsers, and so not in relay.js.
 */

import { open, readFile, rename } from "node:fs/promises";
import { decode, encode } from "@msgpack/msgpack";
import { FrameReader, frame } from "./frames.js";
import { MemoryStorage } from "./storage.js";

const RECORD_MAX_BYTES = 256 * 1024 * 1024;
/** A journal of this size is written anew, unless most of it is still wanted. */
const GROWN_BYTES = 16 * 1024 * 1024;

/** @typedef {import("node:fs/promises").FileHandle} FileHandle */

/** One program at a time may use a file. */
export class FileStorage extends MemoryStorage {
  lasting = true;
  /** A ticket's key stays in memory, where it cannot be read out: a file is read too easily. */
  keepsKeys = false;
  /** @type {Promise<unknown>} */
  #written = Promise.resolve();
  /** @type {FileHandle | null} */
  #file = null;
  #bytes = 0;
  #limitBytes;

  /** @param {string} path @param {number} grownBytes */
  constructor(path, grownBytes) {
    super();
    this.path = path;
    this.grownBytes = this.#limitBytes = grownBytes;
  }

  /** @param {string} path @param {number} [grownBytes] @returns {Promise<FileStorage>} */
  static async open(path, grownBytes = GROWN_BYTES) {
    const storage = new FileStorage(path, grownBytes);
    for (const change of await journal(path)) await MemoryStorage.prototype.write.call(storage, change);
    await storage.#rewrite();
    return storage;
  }

  /** @param {Map<string, any>} changes */
  async write(changes) {
    await super.write(changes);
    await this.#after(() => this.#append(changes));
  }

  /** @param {() => Promise<unknown>} step */
  #after(step) {
    const done = this.#written.then(step);
    this.#written = done.catch(() => {}); // told to whoever wrote
    return done;
  }

  /** @param {Map<string, any>} changes */
  async #append(changes) {
    if (this.#bytes > this.#limitBytes) return await this.#rewrite(); // which holds these changes, too
    const bytes = record(changes);
    this.#bytes += bytes.length;
    await /** @type {FileHandle} */ (this.#file).appendFile(bytes);
  }

  /** All of it in a new file, which takes the place of the old one at once. */
  async #rewrite() {
    const fresh = await open(`${this.path}.new`, "w", 0o600);
    const bytes = record(new Map(await this.entries("")));
    await fresh.appendFile(bytes);
    await rename(`${this.path}.new`, this.path);
    await this.#file?.close();
    this.#file = fresh;
    this.#bytes = bytes.length;
    this.#limitBytes = Math.max(this.grownBytes, 2 * bytes.length);
  }

  /** Everything is in the file when it resolves. */
  async close() {
    await this.#written;
    await this.#file?.close();
  }
}

/** @param {Map<string, any>} changes */
const record = (changes) => frame(new Uint8Array(encode([...changes].map(([key, value]) => (value === undefined ? [key] : [key, value])))));

/** The changes that are in a file, up to one that was cut off. @param {string} path @returns {Promise<Map<string, any>[]>} */
async function journal(path) {
  const reader = new FrameReader(RECORD_MAX_BYTES);
  try {
    reader.push(new Uint8Array(await readFile(path)));
  } catch (error) {
    if (/** @type {any} */ (error).code === "ENOENT") return [];
    throw error;
  }
  const changes = [];
  for (let bytes = reader.next(); bytes; bytes = reader.next()) {
    const pairs = /** @type {[string, any][]} */ (decode(bytes));
    changes.push(new Map(pairs.map(([key, ...value]) => [key, value[0]])));
  }
  return changes;
}
