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
  /** @type {Promise<IDBDatabase>} */
  #database;

  /** @param {string} [name] of the database */
  constructor(name = "relay") {
    this.#database = open(name);
    this.#database.catch(() => {}); // told to whoever uses it
  }

  /** @param {string} key */
  async get(key) {
    const store = (await this.#database).transaction(STORE).objectStore(STORE);
    return await done(store.get(key));
  }

  /** @param {string} prefix @returns {Promise<[string, any][]>} */
  async entries(prefix) {
    const store = (await this.#database).transaction(STORE).objectStore(STORE);
    const range = IDBKeyRange.bound(prefix, `${prefix}\uffff`);
    const [keys, values] = await Promise.all([done(store.getAllKeys(range)), done(store.getAll(range))]);
    return keys.map((key, index) => [String(key), values[index]]);
  }

  /** @param {Map<string, any>} changes */
  async write(changes) {
    const transaction = (await this.#database).transaction(STORE, "readwrite");
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

/** @param {string} name @returns {Promise<IDBDatabase>} */
function open(name) {
  const request = indexedDB.open(name, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE);
  return done(request);
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** IndexedDB where there is one, else memory. @returns {Storage} */
export const defaultStorage = () => (globalThis.indexedDB ? new IndexedDbStorage() : new MemoryStorage());
