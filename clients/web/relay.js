/**
 * The Relay SDK for browsers and Node.
 *
 * ```js
 * import { Relay } from "./relay.js";
 * const me = await Relay.connect({ user: "alice", password: "correct horse" });
 * me.on("message", ({ sender, value }) => console.log(sender, value));
 * await me.send("bob", "hello");
 * ```
 */

export { Relay } from "./relay/client.js";
export { CloseCode, ErrorCode, codeName } from "./relay/codes.js";
export { RelayError } from "./relay/errors.js";
export { conversationOf, otherEnd, prepareName, userOf } from "./relay/names.js";
export { Posted } from "./relay/posted.js";
export { IndexedDbStorage, MemoryStorage } from "./relay/storage.js";
export { Stream } from "./relay/streams.js";
