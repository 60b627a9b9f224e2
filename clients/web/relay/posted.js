/** A message that this device sends, as the page sees it: from the moment it was written to its place in the conversation. */

import { RelayError } from "./errors.js";
import { conversationOf } from "./names.js";
import { decodeBody } from "./values.js";

/** @typedef {import("./outgoing.js").Place} Place */

export class Posted {
  /** @type {(place: Place) => void} */
  #resolve = () => {};
  /** @type {(error: RelayError) => void} */
  #reject = () => {};

  /** @param {string} user @param {import("./engine.js").Posting} posting */
  constructor(user, posting) {
    /** Unique over all devices; stays the same over a reload. */
    this.id = posting.uid;
    /** The number under which the relay knows it, 0 until it was sent; as `id` of a message. */
    this.messageId = posting.id;
    this.to = posting.to;
    this.conversation = conversationOf(user, posting.to);
    this.contentType = posting.contentType;
    this.body = posting.body;
    this.value = decodeBody(posting.contentType, posting.body);
    this.postedMs = posting.postedMs;
    /** @type {import("./outgoing.js").Fate} */
    this.state = "queued";
    /** @type {number | null} its place in the conversation, once it is stored */
    this.offset = null;
    /** @type {number | null} */
    this.timeMs = null;
    /** @type {RelayError | null} why it failed */
    this.error = null;
    /** Resolves when it is on the relay's disk; rejects when the relay refuses it for good. @type {Promise<Place>} */
    this.stored = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.stored.catch(() => {}); // somebody who only looks at `state` need not wait for it
  }

  /** Whether nothing more happens to it. */
  get settled() {
    return this.state === "stored" || this.state === "failed";
  }

  /** The client ended before it was stored: it stays in the storage, for the next one. @param {RelayError} error */
  abandon(error) {
    this.#reject(error);
  }

  /** For the client. @param {import("./engine.js").Posting} posting */
  update(posting) {
    this.state = posting.fate;
    this.messageId = posting.id;
    if (posting.place) {
      this.offset = posting.place.offset;
      this.timeMs = posting.place.timeMs;
      this.#resolve(posting.place);
    }
    if (posting.fate === "failed") {
      this.error = posting.error ?? new RelayError(0, "the message was not sent", "CANCELLED");
      this.#reject(this.error);
    }
  }
}
