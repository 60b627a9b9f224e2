/** One connection without its socket: bytes in, packets out, and what may come when (section 6). Pure. */

import { CloseCode, FRAME_MAX, FRAME_MAX_BEFORE_LOGIN } from "./codes.js";
import { RelayError } from "./errors.js";
import { FrameReader } from "./frames.js";
import { decode } from "./packets.js";

/** @typedef {"greeting" | "challenged" | "open" | "closed"} WireState */

/** What a client accepts, and the state that it leads to; the second table of section 6. @type {Record<WireState, Record<string, WireState>>} */
const TABLE = {
  greeting: { CHALLENGE: "challenged", WELCOME: "open", CLOSE: "closed" },
  challenged: { WELCOME: "open", CLOSE: "closed" },
  open: {
    CLOSE: "closed",
    ...Object.fromEntries(
      (
        "PING PONG ERROR SIGNAL STORED STOREDRUN DELIVERY GAP CALL RESULT FAULT OPEN ACCEPT DATA CREDIT FINISH RESET"
      ).split(" ").map((type) => [type, /** @type {WireState} */ ("open")]),
    ),
  },
  closed: {},
};

export class Wire {
  #reader = new FrameReader(FRAME_MAX_BEFORE_LOGIN);
  /** @type {WireState} */
  state = "greeting";

  /** @param {boolean} byTicket whether WELCOME may come without CHALLENGE */
  constructor(byTicket) {
    this.byTicket = byTicket;
  }

  /**
   * @param {Uint8Array} bytes @returns {import("./packets.js").Packet[]} without those of unknown types
   * @throws {RelayError} with the close code to end the connection with. What was complete before is lost: the same
   * comes again on the next connection.
   */
  receive(bytes) {
    const packets = [];
    this.#reader.push(bytes);
    for (let payload = this.#reader.next(); payload && this.state !== "closed"; payload = this.#reader.next()) {
      const packet = decode(payload);
      if (packet === null && this.state === "open") continue;
      packets.push(this.#pass(packet));
      if (this.state === "open") this.#reader.max = FRAME_MAX;
    }
    return packets;
  }

  /** @param {import("./packets.js").Packet | null} packet */
  #pass(packet) {
    const next = packet && TABLE[this.state][packet.type];
    const unproven = packet?.type === "WELCOME" && this.state === "greeting" && !this.byTicket;
    if (!packet || !next || unproven) {
      throw new RelayError(CloseCode.NOT_ALLOWED_NOW, `${packet?.type ?? "an unknown packet"} may not come in state ${this.state}`);
    }
    this.state = next;
    return packet;
  }
}
