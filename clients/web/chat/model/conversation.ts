/** One conversation as the page knows it: what the list shows, who has read how far, what waits to be sent. */

import { batch, computed, signal } from "@preact/signals"
import { t } from "../words"
import type { Content, Entry } from "./entry"
import { Log, type Page } from "./log"
import { paced } from "./pace"

export type Kind = "direct" | "room" | "notes"
export type Role = "owner" | "moderator" | "member" | "invited"
/** How far a message of ours got, as far as we were told. */
export type Fate = "stored" | "delivered" | "read"

export interface Member {
  user: string
  role: Role
}

/** A message of ours that has no place in the conversation yet. */
export interface Outgoing {
  key: string
  timeMs: number
  content: Content
  state: "queued" | "sending" | "failed"
  /** Why it failed, for people. */
  why: string
  /** Of a file: from 0 to 1. */
  progress: number | null
  retry: () => void
  discard: () => void
}

interface Cursor {
  delivered: number
  read: number
}

export class Conversation {
  readonly kind: Kind
  /** Where messages go: the other user, or the room. */
  readonly address: string
  readonly log: Log
  readonly title = signal("")
  readonly head = signal(0)
  readonly read = signal(0)
  readonly last = signal<Entry | null>(null)
  /** When something last happened, in milliseconds; orders the list. */
  readonly activityMs = signal(0)
  readonly typing = signal<string[]>([])
  readonly role = signal<Role | null>(null)
  readonly isPublic = signal(true)
  readonly memberCount = signal(0)
  readonly members = signal<Member[] | null>(null)
  readonly outgoing = signal<Outgoing[]>([])
  readonly draft = signal("")
  /** Counts up when receipts came. */
  readonly receipts = signal(0)
  readonly unread = computed(() => Math.max(0, this.head.value - this.read.value))
  #cursors = new Map<string, Cursor>()
  #typers = new Map<string, number>()
  #newest: Entry | null = null
  #publish = paced(() => this.#tell(), 40)

  constructor(readonly key: string, self: string, fetch: (key: string, after: number, limit: number) => Promise<Page>) {
    const other = key.startsWith("#") ? key : otherOf(key, self)
    this.kind = key.startsWith("#") ? "room" : other === self ? "notes" : "direct"
    this.address = other
    this.log = new Log((after, limit) => fetch(key, after, limit))
  }

  get name(): string {
    if (this.kind === "notes") return t("notes")
    return this.kind === "room" ? this.title.value || this.address : this.address
  }

  get canWrite(): boolean {
    return this.kind !== "room" || ["owner", "moderator", "member"].includes(this.role.value ?? "")
  }

  /** A message that is in the conversation. True if it was not known. */
  add(entry: Entry): boolean {
    if (!this.log.add(entry)) return false
    if (!this.#newest || entry.offset > this.#newest.offset) this.#newest = entry
    this.#publish()
    this.stopTyping(entry.sender)
    return true
  }

  #tell(): void {
    const newest = this.#newest
    batch(() => {
      this.head.value = Math.max(this.head.value, this.log.head)
      if (!newest || (this.last.value && newest.offset <= this.last.value.offset)) return
      this.last.value = newest
      this.activityMs.value = Math.max(this.activityMs.value, newest.timeMs)
    })
  }

  learn(user: string, cursor: Cursor): void {
    const known = this.#cursors.get(user)
    const delivered = Math.max(known?.delivered ?? 0, cursor.delivered, cursor.read)
    const read = Math.max(known?.read ?? 0, cursor.read)
    if (known && known.delivered === delivered && known.read === read) return
    this.#cursors.set(user, { delivered, read })
    this.receipts.value += 1
  }

  fate(offset: number): Fate {
    let fate: Fate = "stored"
    for (const cursor of this.#cursors.values()) {
      if (cursor.read >= offset) return "read"
      if (cursor.delivered >= offset) fate = "delivered"
    }
    return fate
  }

  /** Who has read, or at least got, the message at `offset`. */
  whoHas(offset: number, what: "read" | "delivered"): string[] {
    return [...this.#cursors].filter(([, cursor]) => cursor[what] >= offset).map(([user]) => user)
  }

  /** The protocol lets a sign of typing count for five seconds. */
  startTyping(user: string): void {
    clearTimeout(this.#typers.get(user))
    this.#typers.set(user, window.setTimeout(() => this.stopTyping(user), 5000))
    this.typing.value = [...this.#typers.keys()]
  }

  stopTyping(user: string): void {
    if (!this.#typers.has(user)) return
    clearTimeout(this.#typers.get(user))
    this.#typers.delete(user)
    this.typing.value = [...this.#typers.keys()]
  }
}

/** The user at the other end of `alice@bob`. */
function otherOf(key: string, self: string): string {
  const [one = "", other = ""] = key.split("@")
  return one === self ? other : one
}

/** The name of the direct conversation of two users: both in code point order (docs/protocol.md section 4). */
export function directKey(one: string, other: string): string {
  const bytes = (text: string) => [...text].map((sign) => sign.codePointAt(0)!)
  const [a, b] = [bytes(one), bytes(other)]
  const differs = a.findIndex((sign, index) => sign !== b[index])
  const before = differs < 0 ? a.length <= b.length : (b[differs] ?? -1) > a[differs]!
  return before ? `${one}@${other}` : `${other}@${one}`
}

export function typingSentence(names: string[]): string {
  if (names.length === 0) return ""
  if (names.length === 1) return t("typingOne", { name: names[0]! })
  if (names.length === 2) return t("typingTwo", { name: names[0]!, other: names[1]! })
  return t("typingMany")
}
