/** What a person may ask the relay about people (section 12): rooms, presence, receipts, blocks, devices. */

import { conversationOf } from "./names.js";

/** @typedef {(method: string, args?: Record<string, unknown>) => Promise<any>} Ask */
/** @typedef {{room: string, title: string, public: boolean, role: string | null, members: number, head: number}} Room */
/** @typedef {{user: string, role: string}} Member */
/** @typedef {{user: string, state: "online" | "away" | "offline", seen_ms: number}} Presence */
/** @typedef {{user: string, device: string, delivered: number, read: number}} Cursor */

/** All pages of an answer. @param {Ask} ask @param {string} method @param {Record<string, unknown>} args @param {string} key @param {string} name of what the next page begins behind */
export async function pages(ask, method, args, key, name) {
  /** @type {any[]} */
  const all = [];
  for (let after = ""; ; after = all[all.length - 1][name]) {
    const answer = await ask(method, { ...args, ...(after ? { after } : {}) });
    all.push(...answer[key]);
    if (!answer.more || answer[key].length === 0) return all;
  }
}

/** Room names carry their mark: "#ops". @param {Ask} ask */
export function rooms(ask) {
  /** @param {string} method @param {Record<string, unknown>} args @returns {Promise<Room>} */
  const one = async (method, args) => (await ask(method, args)).room ?? null;
  return Object.freeze({
    /** @param {string} room @param {{title?: string, public?: boolean}} [options] */
    create: (room, options = {}) => one("rooms.create", { room, ...options }),
    /** @param {string} room */
    join: (room) => one("rooms.join", { room }),
    /** Also declines an invitation. @param {string} room */
    leave: (room) => one("rooms.leave", { room }),
    /** @param {string} room @param {string} user */
    invite: (room, user) => one("rooms.invite", { room, user }),
    /** @param {string} room @param {string} user */
    remove: (room, user) => one("rooms.remove", { room, user }),
    /** @param {string} room @param {string} user */
    ban: (room, user) => one("rooms.ban", { room, user }),
    /** @param {string} room @param {string} user */
    unban: (room, user) => one("rooms.unban", { room, user }),
    /** @param {string} room @param {string} user @param {"owner" | "moderator" | "member"} role */
    setRole: (room, user, role) => one("rooms.set_role", { room, user, role }),
    /** @param {string} room @param {{title?: string, public?: boolean}} changes */
    set: (room, changes) => one("rooms.set", { room, ...changes }),
    /** Mine and those I am invited to; with `all` the public ones, too. @param {{all?: boolean}} [options] @returns {Promise<Room[]>} */
    list: (options = {}) => pages(ask, "rooms.list", options, "rooms", "room"),
    /** @param {string} room @returns {Promise<Member[]>} */
    members: (room) => pages(ask, "rooms.members", { room }, "members", "user"),
  });
}

/** `stand` makes a call now and again after each login. @param {Ask} ask @param {Ask} stand */
export function presence(ask, stand) {
  return Object.freeze({
    /** "presence" events from now on; without users: everybody in my conversations. @param {string[]} [users] @returns {Promise<Presence[]>} */
    watch: async (users) => (await stand("presence.watch", users ? { users } : {}))?.users ?? [],
    /** @param {"online" | "away"} state of this session */
    set: async (state) => void (await stand("presence.set", { state })),
    /** Who is connected now. @returns {Promise<{user: string, sessions: string[], bot: boolean}[]>} */
    list: async () => (await ask("presence.list")).users,
  });
}

/** @param {Ask} ask @param {Ask} stand @param {() => string} user */
export function receipts(ask, stand, user) {
  return Object.freeze({
    /** "receipt" events from now on, or no more. @param {boolean} [watch] */
    watch: async (watch = true) => void (await stand("receipts.watch", { watch })),
    /** @param {string} conversation or the user at its other end @returns {Promise<Cursor[]>} */
    of: async (conversation) => (await ask("receipts.of", { conversation: conversationOf(user(), conversation) })).cursors,
  });
}

/** @param {Ask} ask */
export function blocks(ask) {
  return Object.freeze({
    /** @param {string} user */
    add: async (user) => void (await ask("blocks.add", { user })),
    /** @param {string} user */
    remove: async (user) => void (await ask("blocks.remove", { user })),
    /** @returns {Promise<string[]>} */
    list: async () => (await ask("blocks.list")).users,
  });
}

/** @param {Ask} ask */
export function devices(ask) {
  return Object.freeze({
    /** @returns {Promise<{device: string, created_ms: number, seen_ms: number, online: boolean}[]>} */
    list: async () => (await ask("devices.list")).devices,
    /** @param {string} device */
    forget: async (device) => void (await ask("devices.forget", { device })),
  });
}
