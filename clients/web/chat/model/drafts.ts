/** What somebody has begun to write, for each conversation, over reloads. */

import { safely } from "../preferences"

const WRITE_AFTER_MS = 300
const keyOf = (user: string): string => `relay.drafts.${user}`

export class Drafts {
  readonly #key: string
  #texts: Record<string, string>
  #timer = 0
  #closed = new AbortController()

  constructor(user: string) {
    this.#key = keyOf(user)
    const read: unknown = safely(() => JSON.parse(localStorage.getItem(this.#key) ?? "{}"))
    const texts = typeof read === "object" && read !== null ? Object.entries(read) : []
    this.#texts = Object.fromEntries(texts.filter((pair): pair is [string, string] => typeof pair[1] === "string"))
    addEventListener("pagehide", () => this.#timer && this.#write(), { signal: this.#closed.signal })
  }

  get(conversation: string): string {
    return this.#texts[conversation] ?? ""
  }

  set(conversation: string, text: string): void {
    if (text) this.#texts[conversation] = text
    else delete this.#texts[conversation]
    clearTimeout(this.#timer)
    this.#timer = window.setTimeout(() => this.#write(), WRITE_AFTER_MS)
  }

  /** Writes what is left; nothing is kept from then on. */
  close(): void {
    if (this.#timer) this.#write()
    this.#closed.abort()
  }

  #write(): void {
    clearTimeout(this.#timer)
    this.#timer = 0
    const texts = JSON.stringify(this.#texts)
    safely(() => localStorage.setItem(this.#key, texts))
  }
}

/** Whoever signs out leaves nothing half-written behind for the next one. */
export function forgetDrafts(user: string): void {
  safely(() => localStorage.removeItem(keyOf(user)))
}
