/** What somebody has begun to write, for each conversation, over reloads. */

import { safely } from "../preferences"

const WRITE_AFTER_MS = 300

export class Drafts {
  readonly #key: string
  #texts: Record<string, string>
  #timer = 0

  constructor(user: string) {
    this.#key = `relay.drafts.${user}`
    const read: unknown = safely(() => JSON.parse(localStorage.getItem(this.#key) ?? "{}"))
    const texts = typeof read === "object" && read !== null ? Object.entries(read) : []
    this.#texts = Object.fromEntries(texts.filter((pair): pair is [string, string] => typeof pair[1] === "string"))
    addEventListener("pagehide", () => this.#write())
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

  #write(): void {
    const texts = JSON.stringify(this.#texts)
    safely(() => localStorage.setItem(this.#key, texts))
  }
}
