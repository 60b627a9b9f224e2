/** Names and addresses (section 4), and what people type made ready for the wire. */

import { NAME_MAX_BYTES } from "./codes.js";
import { RelayError } from "./errors.js";

export const RELAY = "relay";

/** @param {string} address @returns {string} the user's part, or the room */
export const userOf = (address) => address.split("/", 1)[0];

/** @param {string} address @returns {string} the device's part, "" if there is none */
export const deviceOf = (address) => address.slice(userOf(address).length + 1);

/**
 * The conversation of a user with `to`: a room, or both names in code point order.
 * @param {string} user @param {string} to a user, one of her sessions, a room, or a conversation already
 */
export function conversationOf(user, to) {
  if (to.startsWith("#") || to.includes("@")) return to;
  return [user, userOf(to)].sort(byCodePoints).join("@");
}

/** The other end of a conversation: the room, or the other user. @param {string} user @param {string} conversation */
export function otherEnd(user, conversation) {
  if (conversation.startsWith("#")) return conversation;
  const [first, second] = conversation.split("@");
  return first === user ? second : first;
}

/** JavaScript compares UTF-16 units, in which what is above U+FFFF comes too early. @param {string} a @param {string} b */
function byCodePoints(a, b) {
  const [left, right] = [[...a], [...b]];
  for (let index = 0; index < Math.min(left.length, right.length); index += 1) {
    const difference = /** @type {number} */ (left[index].codePointAt(0)) - /** @type {number} */ (right[index].codePointAt(0));
    if (difference) return difference;
  }
  return left.length - right.length;
}

/**
 * A name as people type it in the form of UsernameCaseMapped (RFC 8265 section 3.3): full-width forms become ordinary ones, upper
 * case lower, then NFC. The relay has the last word on what is a name.
 * @param {string} typed @throws {RelayError} BAD_VALUE
 */
export function prepareName(typed) {
  const name = typed.replace(/[\uFF01-\uFFEE]/g, (letter) => letter.normalize("NFKC")).toLowerCase().normalize("NFC");
  const bytes = new TextEncoder().encode(name).length;
  if (bytes < 1 || bytes > NAME_MAX_BYTES) throw new RelayError(0, `a name has 1 to ${NAME_MAX_BYTES} bytes, not ${bytes}`, "BAD_VALUE");
  if (/[\p{Z}\p{C}/#@]/u.test(name)) throw new RelayError(0, `${JSON.stringify(typed)} is no name: no spaces, controls, "/", "#" or "@"`, "BAD_VALUE");
  return name;
}

// RFC 3454, tables C.1.2 and B.1.
const SPACES = /[\u00A0\u1680\u2000-\u200B\u202F\u205F\u3000]/g;
const NOTHING = /[\u00AD\u034F\u1806\u180B-\u180D\u200C\u200D\u2060\uFE00-\uFE0F\uFEFF]/g;
// Tables C.2.1, C.2.2, C.3 to C.9, but lone surrogates, which do not survive UTF-8 anyway.
const PROHIBITED =
  /[\u0000-\u001F\u007F-\u009F\u06DD\u070F\u180E\u2028\u2029\u2061-\u2063\u206A-\u206F\uE000-\uF8FF\uFDD0-\uFDEF\uFFF9-\uFFFF\u2FF0-\u2FFB\u0340\u0341\u200E\u200F\u202A-\u202E]/;

/**
 * A password prepared by SASLprep (RFC 4013). The check of bidirectional text is left to the relay, which made it when the password was set.
 * @param {string} typed @throws {RelayError} BAD_VALUE
 */
export function preparePassword(typed) {
  const password = typed.replace(SPACES, " ").replace(NOTHING, "").normalize("NFKC");
  if (password === "" || PROHIBITED.test(password)) {
    throw new RelayError(0, "a password has at least one character, and no control characters", "BAD_VALUE");
  }
  return password;
}
