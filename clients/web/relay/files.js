/** Files that the relay keeps: sent, announced in the conversation, fetched; each over as many connections as it takes. */

import { RelayError } from "./errors.js";
import { RELAY, userOf } from "./names.js";
import { Fetching, Sending } from "./records.js";
import { FILE, packValue } from "./values.js";

/** @typedef {{id: string, name: string, size: number, hash: Uint8Array, type: string}} FileInfo */
/** @typedef {{bytes: number, total: number}} Progress `bytes` are stored by the other end, or verified here */
/** @typedef {{name?: string, type?: string, upload?: string, announce?: boolean, onProgress?: (progress: Progress) => void, signal?: AbortSignal}} SendOptions */
/** @typedef {{onProgress?: (progress: Progress) => void, signal?: AbortSignal}} GetOptions */
/** What files need of the client. @typedef {{
 *   open(to: string, service: string, data: unknown): Promise<any>,
 *   call(to: string, method: string, args?: unknown): Promise<any>,
 *   send(to: string, value: unknown, options: {contentType: string}): Promise<import("./outgoing.js").Place>,
 *   whenOpen(options?: {timeoutMs?: number}): Promise<void>,
 *   newId(): string,
 * }} Needs */

/** What a browser may show by itself, in this page's name; anything else is only bytes to be saved. */
const SHOWN = /^(image\/(png|jpeg|gif|webp|avif|bmp)|audio\/[\w.+-]+|video\/[\w.+-]+|text\/plain)$/;
/** A cut is no reason to give up, and neither is a relay that is busy for a while. */
const TRIES_WITHOUT_PROGRESS = 10;
const BUSY_PAUSE_MS = 1000;

/** @param {Needs} needs */
export function files(needs) {
  const ask = (/** @type {string} */ method, /** @type {Record<string, unknown>} */ args = {}) => needs.call(RELAY, method, args);
  return Object.freeze({
    /**
     * Upload a file for a user or a room, then say so in the conversation (content type application/vnd.relay.file). A cut connection is
     * waited for, and the upload goes on where the relay has it. The same `upload` (1 to 64 bytes, for the same file) also goes on after a reload.
     * @param {string} to @param {File | Blob} blob @param {SendOptions} [options]
     * @returns {Promise<FileInfo & {place: import("./outgoing.js").Place | null}>}
     */
    async send(to, blob, options = {}) {
      const name = fileName(options.name ?? /** @type {File} */ (blob).name ?? "file");
      const type = options.type ?? blob.type;
      const done = await upload(needs, to, blob, { ...options, name, type });
      const info = { id: done.id, name, size: done.size, hash: done.hash, type };
      const place = options.announce === false ? null : await needs.send(to, packValue(info), { contentType: FILE });
      return { ...info, place };
    },

    /**
     * Download a file, verified. A File (a Blob with a name); its type is "application/octet-stream" unless a browser can show it harmlessly.
     * @param {string} id @param {GetOptions} [options] @returns {Promise<File>}
     */
    get: (id, options = {}) => download(needs, id, options),

    /** What I may fetch, newest first. @param {{conversation?: string, after?: any, limit?: number}} [where] @returns {Promise<{files: any[], more: boolean}>} */
    list: (where = {}) => ask("files.list", where),
    /** @param {string} file its id @returns {Promise<any>} */
    info: (file) => ask("files.info", { file }),
    /** One of mine. @param {string} file its id */
    remove: async (file) => void (await ask("files.remove", { file })),
    /** @returns {Promise<any>} bytes used, and how many are allowed */
    usage: () => ask("files.usage"),
  });
}

/** @param {string} name of a file: a last path component, never silently changed @throws {RelayError} BAD_VALUE */
export function fileName(name) {
  const bytes = new TextEncoder().encode(name).length;
  const bad = bytes < 1 || bytes > 255 || name === "." || name === ".." || /[/\\\p{Cc}\u2028\u2029]/u.test(name);
  if (bad) throw new RelayError(0, `${JSON.stringify(name.slice(0, 80))} is no name for a file`, "BAD_VALUE");
  return name;
}

/**
 * @param {Needs} needs @param {string} to @param {Blob} blob @param {SendOptions & {name: string, type: string}} options
 * @returns {Promise<import("./records.js").Done>}
 */
async function upload(needs, to, blob, { name, type, upload: known, onProgress, signal }) {
  const sending = new Sending(blob);
  const opening = { upload: known ?? needs.newId(), to: to.includes("#") ? to : userOf(to), name, size: blob.size, type, hash: null };
  let stored = 0;
  const report = (/** @type {number} */ bytes) => (stored = bytes, onProgress?.({ bytes, total: blob.size }));
  return await patiently(needs, signal, () => stored, async () => {
    const stream = await needs.open(RELAY, "files.put", opening);
    return await lend(stream, signal, async () => {
      const { offset, done } = stream.answer ?? {};
      report(offset);
      return done ? Sending.known(done) : await sending.run(stream, offset, report, signal);
    });
  });
}

/** @param {Needs} needs @param {string} id @param {GetOptions} options @returns {Promise<File>} */
async function download(needs, id, { onProgress, signal }) {
  const fetching = new Fetching();
  return await patiently(needs, signal, () => fetching.size, async () => {
    const stream = await needs.open(RELAY, "files.get", { file: id, offset: fetching.size });
    return await lend(stream, signal, async () => {
      const { name, size, type } = stream.answer;
      await fetching.run(stream, size, (bytes) => onProgress?.({ bytes, total: size }), signal);
      return new File(/** @type {BlobPart[]} */ (fetching.pieces), name, { type: SHOWN.test(type) ? type : "application/octet-stream" });
    });
  });
}

/** @template T @param {any} stream @param {AbortSignal | undefined} signal @param {() => Promise<T>} work @returns {Promise<T>} */
async function lend(stream, signal, work) {
  const abort = () => stream.reset();
  signal?.addEventListener("abort", abort);
  try {
    const result = await work();
    stream.finish();
    return result;
  } catch (error) {
    stream.reset();
    throw error;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

/**
 * Again after a cut, as long as it gets anywhere.
 * @template T @param {Needs} needs @param {AbortSignal | undefined} signal @param {() => number} reached @param {() => Promise<T>} attempt
 * @returns {Promise<T>}
 */
async function patiently(needs, signal, reached, attempt) {
  for (let [tries, best] = [0, -1]; ; tries += 1) {
    signal?.throwIfAborted();
    await needs.whenOpen();
    try {
      return await attempt();
    } catch (error) {
      if (signal?.aborted) throw new RelayError(0, "the transfer was cancelled", "CANCELLED");
      if (reached() > best) [tries, best] = [0, reached()];
      if (!(error instanceof RelayError) || !error.temporary || tries >= TRIES_WITHOUT_PROGRESS) throw error;
      await new Promise((resolve) => setTimeout(resolve, BUSY_PAUSE_MS * Math.random()));
    }
  }
}
