/** Who logs in, and with what: the password, or the ticket of the login before (section 7). */

import { CloseCode } from "./codes.js";
import { RelayError } from "./errors.js";
import { Scram, TicketLogin } from "./scram.js";

/** @typedef {{ticket: Uint8Array, key: import("./scram.js").ServerKey}} Ticket */
/** @typedef {{mechanism: string, login: Scram | TicketLogin}} Attempt */

export class Account {
  /** @type {Ticket | null} */
  #ticket = null;
  /** @type {string | null} held in memory only, for the day the ticket is refused */
  #password;
  #ticketsTaken = true;

  /**
   * @param {{user: string, device: string, password?: string | null, storage: import("./storage.js").Storage, key: string,
   *   remember: boolean}} options `key`: where the ticket is kept
   */
  constructor({ user, device, password, storage, key, remember }) {
    this.user = user;
    this.device = device;
    this.#password = password ?? null;
    this.storage = storage;
    this.key = key;
    this.remember = remember;
  }

  /** Read the ticket that an earlier page has left. A password that was just typed is to be checked, so it goes first. */
  async load() {
    if (this.#password === null && this.remember) this.#ticket = (await this.storage.get(this.key)) ?? null;
  }

  /** Another tab may have used the ticket up meanwhile. */
  async reload() {
    if (this.remember) this.#ticket = (await this.storage.get(this.key)) ?? this.#ticket;
  }

  /** @param {string} password typed by the person, after the ticket was refused */
  setPassword(password) {
    this.#password = password;
  }

  get hasPassword() {
    return this.#password !== null;
  }

  /** @returns {Attempt} @throws {RelayError} LOGIN_NEEDED */
  attempt() {
    if (this.#ticket && this.#ticketsTaken) return { mechanism: "TICKET", login: new TicketLogin(this.#ticket.ticket, this.#ticket.key) };
    if (this.#password === null) throw new RelayError(0, "the last login has expired; the password is needed", "LOGIN_NEEDED");
    return { mechanism: "SCRAM-SHA-256", login: new Scram(this.user, this.#password) };
  }

  /** @param {Attempt} attempt that the relay welcomed @param {Uint8Array | null} ticket of WELCOME */
  async welcomed(attempt, ticket) {
    const key = attempt.login.serverKey;
    this.#ticket = ticket && key ? { ticket: ticket.slice(), key } : null;
    if (this.remember) await this.storage.write(new Map([[this.key, this.#ticket ?? undefined]]));
  }

  /**
   * What a refusal means for the next attempt.
   * @param {Attempt} attempt @param {number} code of CLOSE @returns {Promise<boolean>} whether to try again at once, with the password
   */
  async refused(attempt, code) {
    if (attempt.mechanism !== "TICKET") return false;
    if (code !== CloseCode.TICKET_REFUSED && code !== CloseCode.UNSUPPORTED_MECHANISM) return false;
    if (code === CloseCode.UNSUPPORTED_MECHANISM) this.#ticketsTaken = false;
    await this.forget();
    return true;
  }

  async forget() {
    this.#ticket = null;
    if (this.remember) await this.storage.write(new Map([[this.key, undefined]]));
  }
}
