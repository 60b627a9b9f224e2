/**
 * What a device of a Node program keeps, in one file: a journal of atomic changes, written anew when it is opened. Not for
 * browsers, and so not in relay.js: `import { FileStorage } from "relay-web/relay/filestorage.js"`.
 */

import { open, readFile, rename } from "node:fs/promises";
import { decode, encode } from "@msgpack/msgpack";
import { FrameReader, frame } from "./frames.js";
import { MemoryStorage } from "./storage.js";

const RECORD_MAX_BYTES = 64 * 1024 * 1024;

/** One program at a time may use a file. */
export class FileStorage extends MemoryStorage {
  lasting = true;
  /** A ticket's key stays in memory, where it cannot be read out: a file is read too easily. */
  keepsKeys = false;
  /** @type {Promise<unknown>} */
  #written = Promise.resolve();
  /** @type {import("node:fs/promises").FileHandle} */
  #file;

  /** @param {import("node:fs/promises").FileHandle} file */
  constructor(file) {
    super();
    this.#file = file;
  }

  /** @param {string} path @returns {Promise<FileStorage>} */
  static async open(path) {
    const changes = await journal(path);
    const fresh = `${path}.new`;
    const storage = new FileStorage(await open(fresh, "w", 0o600));
    for (const change of changes) await MemoryStorage.prototype.write.call(storage, change);
    await storage.#append(new Map(await storage.entries("")));
    await rename(fresh, path);
    return storage;
  }

  /** @param {Map<string, any>} changes */
  async write(changes) {
    await super.write(changes);
    await this.#append(changes);
  }

  /** @param {Map<string, any>} changes */
  #append(changes) {
    const record = frame(new Uint8Array(encode([...changes].map(([key, value]) => (value === undefined ? [key] : [key, value])))));
    const after = this.#written.then(() => this.#file.appendFile(record));
    this.#written = after.catch(() => {});
    return after;
  }

  /** Everything is in the file when it resolves. */
  async close() {
    await this.#written;
    await this.#file.close();
  }
}

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
  for (let record = reader.next(); record; record = reader.next()) {
    const pairs = /** @type {[string, any][]} */ (decode(record));
    changes.push(new Map(pairs.map(([key, ...value]) => [key, value[0]])));
  }
  return changes;
}
