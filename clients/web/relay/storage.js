/** Where a device keeps what must outlive a page: its name, cursors, messages that wait, its ticket. */

/**
 * `entries` gives what begins with a prefix, by key. `write` is atomic: all of it or nothing; undefined deletes. It resolves when
 * a new page would see it. Values are structured-cloneable; `keepsKeys` (true) says whether CryptoKeys are, too.
 * @typedef {{
 *   get(key: string): Promise<any>,
 *   entries(prefix: string): Promise<[string, any][]>,
 *   write(changes: Map<string, any>): Promise<void>,
 *   lasting: boolean,
 *   keepsKeys?: boolean,
 * }} Storage
 */

/** Gone with the program. @implements {Storage} */
export class MemoryStorage {
  lasting = false;
  /** @type {Map<string, any>} */
  #values = new Map();

  /** @param {string} key */
  async get(key) {
    return this.#values.get(key);
  }

  /** @param {string} prefix @returns {Promise<[string, any][]>} */
  async entries(prefix) {
    return [...this.#values].filter(([key]) => key.startsWith(prefix)).sort(([a], [b]) => (a < b ? -1 : 1));
  }

  /** @param {Map<string, any>} changes */
  async write(changes) {
    for (const [key, value] of changes) {
      if (value === undefined) this.#values.delete(key);
      else this.#values.set(key, value);
    }
  }
}

const STORE = "entries";

/** In the browser's IndexedDB. @implements {Storage} */
export class IndexedDbStorage {
  lasting = true;
  /** @type {Promise<IDBDatabase> | null} */
  #database = null;

  /** @param {string} [name] of the database */
  constructor(name = "relay") {
    this.name = name;
  }

  /** @param {IDBTransactionMode} mode @returns {Promise<IDBTransaction>} */
  async #transaction(mode) {
    this.#database ??= open(this.name, () => (this.#database = null));
    try {
      return (await this.#database).transaction(STORE, mode);
    } catch (error) {
      this.#database = null; // opened again for the next one
      throw error;
    }
  }

  /** @param {string} key */
  async get(key) {
    return await done((await this.#transaction("readonly")).objectStore(STORE).get(key));
  }

  /** @param {string} prefix @returns {Promise<[string, any][]>} */
  async entries(prefix) {
    const store = (await this.#transaction("readonly")).objectStore(STORE);
    const range = IDBKeyRange.bound(prefix, `${prefix}\uffff`);
    const [keys, values] = await Promise.all([done(store.getAllKeys(range)), done(store.getAll(range))]);
    return keys.map((key, index) => [String(key), values[index]]);
  }

  /** @param {Map<string, any>} changes */
  async write(changes) {
    const transaction = await this.#transaction("readwrite");
    const store = transaction.objectStore(STORE);
    for (const [key, value] of changes) {
      if (value === undefined) store.delete(key);
      else store.put(value, key);
    }
    await new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(undefined);
      transaction.onabort = () => reject(transaction.error);
    });
  }
}

/** @param {string} name @param {() => void} onClose the browser closed it, say because its data were deleted @returns {Promise<IDBDatabase>} */
async function open(name, onClose) {
  const request = indexedDB.open(name, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE);
  const database = await done(request);
  database.onclose = onClose;
  return database;
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** IndexedDB where there is one that works, else memory. @returns {Promise<Storage>} */
export async function defaultStorage() {
  if (!globalThis.indexedDB) return new MemoryStorage();
  const storage = new IndexedDbStorage();
  return await storage.get("").then(() => storage, () => new MemoryStorage());
}
