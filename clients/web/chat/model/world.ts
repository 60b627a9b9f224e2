/**
 * Everything the page knows while somebody is signed in, as signals, and what can be done with it.
 *
 * The world listens to the SDK and changes; views read it and call its methods. It knows no DOM. What goes wrong with something
 * that was asked for is shown by `complain`, never swallowed.
 */

import { computed, signal } from "@preact/signals"
import type { Relay } from "../../relay.js"
import { t } from "../words"
import { Conversation, directKey, type Member, type Role } from "./conversation"
import { type Entry, entryOf, type FileInfo, type Message } from "./entry"
import { Drafts } from "./drafts"
import { Outbox } from "./outbox"
import type { Page } from "./log"

export type Presence = "online" | "away" | "offline"
export interface Seen {
  state: Presence
  seenMs: number
}

export interface SharedFile extends FileInfo {
  from: string
  time_ms: number
}

export interface Notice {
  change: (text: string) => void
  end: (afterMs?: number) => void
}

export type RoomInfo = Awaited<ReturnType<Relay["rooms"]["join"]>>

const TOLD_MS = 6000
/** A sign of typing counts for five seconds; it is sent again a little before. */
const TYPING_EVERY_MS = 3500
const PREVIEWS_AT_ONCE = 4
const FILES_LISTED = 50

export class World {
  readonly self: string
  readonly connection = signal<"connecting" | "open" | "waiting" | "ended">("connecting")
  readonly all = signal<Map<string, Conversation>>(new Map())
  readonly selected = signal<Conversation | null>(null)
  readonly presence = signal<Map<string, Seen>>(new Map())
  readonly loaded = signal(false)
  readonly blocked = signal<ReadonlySet<string>>(new Set())
  readonly toasts = signal<{ id: number; text: string }[]>([])
  readonly sorted = computed(() =>
    [...this.all.value.values()].sort((a, b) => b.activityMs.value - a.activityMs.value || (a.key < b.key ? -1 : 1)),
  )
  readonly unread = computed(() => this.sorted.value.reduce((sum, conversation) => sum + conversation.unread.value, 0))
  readonly outbox: Outbox
  /** Called for each message that arrives now, not for history. */
  arrived: (conversation: Conversation, entry: Entry) => void = () => {}
  #drafts: Drafts
  #typedAt = new Map<string, number>()
  #toast = 0
  #stop: (() => void)[] = []

  constructor(readonly me: Relay) {
    this.self = me.user
    this.#drafts = new Drafts(me.user)
    this.outbox = new Outbox(this)
    this.connection.value = me.state
    this.#stop = [
      me.on("state", () => this.#stateChanged()),
      me.on("message", (message) => this.#message(message)),
      me.on("receipt", (event) => this.#receipt(event)),
      me.on("posted", (posted) => this.outbox.follow(posted)),
      me.on("presence", (event) => this.#seen(event.user, event.state as Presence, event.seen_ms)),
      me.on("typing", (event) => event.user !== this.self && this.all.value.get(event.conversation)?.startTyping(event.user)),
      me.on("room", (event) => void this.#roomChanged(event)),
    ]
  }

  /** Somebody with whom there is a conversation now. */
  met(conversation: Conversation): void {
    if (conversation.kind === "direct" && !this.presence.value.has(conversation.address)) void this.#watchPresence()
  }

  /** What the relay knows of us, once after signing in and after every cut. */
  async load(): Promise<void> {
    const [listed, rooms] = await Promise.all([this.me.conversations(), this.me.rooms.list({})])
    for (const it of listed) {
      const conversation = this.conversation(it.conversation)
      conversation.log.reaches(it.first, it.head)
      conversation.head.value = conversation.log.head
      conversation.read.value = Math.max(conversation.read.value, it.read)
      conversation.activityMs.value = Math.max(conversation.activityMs.value, it.time_ms)
    }
    for (const room of rooms) this.#room(room)
    this.loaded.value = true
    this.outbox.restore()
    await Promise.all([this.#watch(), this.#previews(), this.#learnBlocks()])
  }

  close(): void {
    for (const stop of this.#stop) stop()
    this.#drafts.close()
  }

  /** The conversation of this key, made if it was not known. */
  conversation(key: string): Conversation {
    const known = this.all.value.get(key)
    if (known) return known
    const made: Conversation = new Conversation(key, this.self, (...asked) => this.#fetch(...asked))
    made.draft.value = this.#drafts.get(key)
    this.all.value = new Map(this.all.value).set(key, made)
    return made
  }

  direct(user: string): Conversation {
    return this.conversation(directKey(this.self, user))
  }

  select(conversation: Conversation | null): void {
    this.selected.value = conversation
    if (!conversation) return
    if (conversation.kind !== "notes") void this.#learnReceipts(conversation)
    if (conversation.kind === "room") void this.learnMembers(conversation)
  }

  setDraft(conversation: Conversation, text: string): void {
    conversation.draft.value = text
    this.#drafts.set(conversation.key, text)
  }

  /** The reader has seen everything up to `offset`. */
  markRead(conversation: Conversation, offset: number): void {
    if (offset <= conversation.read.value) return
    conversation.read.value = offset
    void this.me.markRead(conversation.key, offset)
  }

  typing(conversation: Conversation): void {
    const now = performance.now()
    if (conversation.kind === "notes" || this.connection.value !== "open") return
    if (now - (this.#typedAt.get(conversation.key) ?? -Infinity) < TYPING_EVERY_MS) return
    this.#typedAt.set(conversation.key, now)
    this.me.typing(conversation.address).catch(() => {})
  }

  stoppedTyping(conversation: Conversation): void {
    this.#typedAt.delete(conversation.key)
  }

  // Rooms: each resolves to true when the relay agreed, and tells why not otherwise.

  join(room: string): Promise<Conversation | null> {
    return this.#try(async () => this.#room(await this.me.rooms.join(room)))
  }

  create(room: string, title: string, isPublic: boolean): Promise<Conversation | null> {
    return this.#try(async () => this.#room(await this.me.rooms.create(room, { title, public: isPublic })))
  }

  async leave(conversation: Conversation): Promise<boolean> {
    const done = await this.#try(async () => {
      await this.me.rooms.leave(conversation.address)
      return true
    })
    if (done) this.#gone(conversation)
    return done ?? false
  }

  invite(conversation: Conversation, user: string): Promise<true | null> {
    return this.#try(async () => {
      await this.me.rooms.invite(conversation.address, user)
      await this.learnMembers(conversation)
      return true as const
    })
  }

  remove(conversation: Conversation, user: string): Promise<true | null> {
    return this.#try(async () => {
      await this.me.rooms.remove(conversation.address, user)
      await this.learnMembers(conversation)
      return true as const
    })
  }

  /** Refuses what somebody sends, or no longer. */
  block(user: string, on: boolean): Promise<void | null> {
    return this.#try(async () => {
      await (on ? this.me.blocks.add(user) : this.me.blocks.remove(user))
      await this.#learnBlocks()
    })
  }

  /** The newest files of a conversation. */
  async files(conversation: Conversation): Promise<SharedFile[]> {
    const { files } = await this.me.files.list({ conversation: conversation.key, limit: FILES_LISTED })
    return files as SharedFile[]
  }

  async publicRooms(): Promise<RoomInfo[]> {
    return (await this.#try(() => this.me.rooms.list({ all: true }))) ?? []
  }

  async learnMembers(conversation: Conversation): Promise<void> {
    try {
      const members = (await this.me.rooms.members(conversation.address)) as Member[]
      conversation.members.value = members
      conversation.memberCount.value = members.filter((member) => member.role !== "invited").length
      if (members.some(({ user }) => user !== this.self && !this.presence.value.has(user))) await this.#watchPresence()
    } catch {
      conversation.members.value ??= []
    }
  }

  /** The page of messages that ends just below `before`, ascending. */
  async read(key: string, before: number, limit: number): Promise<Entry[]> {
    const { messages } = await this.me.history(key, { before, limit })
    return messages.map((message) => entryOf(message, this.self))
  }

  complain(problem: unknown): void {
    const why = problem instanceof Error ? problem.message : String(problem)
    this.tell(t("somethingWrong", { why }))
  }

  /** A sentence that goes away by itself. */
  tell(text: string): void {
    this.notice(text).end(TOLD_MS)
  }

  /** A sentence that stays until it is ended. */
  notice(text: string): Notice {
    const id = ++this.#toast
    this.toasts.value = [...this.toasts.value.slice(-2), { id, text }]
    const end = () => (this.toasts.value = this.toasts.value.filter((toast) => toast.id !== id))
    return {
      change: (text) => (this.toasts.value = this.toasts.value.map((toast) => (toast.id === id ? { id, text } : toast))),
      end: (afterMs = 0) => void setTimeout(end, afterMs),
    }
  }

  async #try<T>(work: () => Promise<T>): Promise<T | null> {
    try {
      return await work()
    } catch (problem) {
      this.complain(problem)
      return null
    }
  }

  async #fetch(key: string, after: number, limit: number): Promise<Page> {
    const { messages, first, kept, head } = await this.me.history(key, { after, limit })
    return { entries: messages.map((message) => entryOf(message, this.self)), first: Math.max(first, kept), head }
  }

  async #watch(): Promise<void> {
    await Promise.all([this.#watchPresence(), this.me.receipts.watch()])
    const open = this.selected.value
    if (open) this.select(open)
  }

  /** The relay follows whom we share a conversation with when it is asked: so it is asked again when there is somebody new. */
  async #watchPresence(): Promise<void> {
    const users = await this.me.presence.watch().catch(() => [])
    for (const user of users) this.#seen(user.user, user.state, user.seen_ms)
  }

  /** The last message of each conversation, a few at a time, the liveliest first. */
  async #previews(): Promise<void> {
    const waiting = this.sorted.value.filter((it) => !it.last.value && it.head.value >= it.log.first).reverse()
    const work = async () => {
      for (let next = waiting.pop(); next; next = waiting.pop()) {
        const page = await this.#fetch(next.key, next.head.value - 1, 1).catch(() => null)
        const entry = page?.entries.at(-1)
        if (entry && !next.last.value) next.last.value = entry
      }
    }
    await Promise.all(Array.from({ length: PREVIEWS_AT_ONCE }, work))
  }

  #stateChanged(): void {
    const before = this.connection.value
    this.connection.value = this.me.state
    // Whatever a cut interrupted, the first load too, is done again.
    if (this.me.state === "open" && before !== "open") void this.load().catch(() => {})
  }

  #message(message: Message): void {
    const conversation = this.conversation(message.conversation)
    const entry = entryOf(message, this.self)
    if (!conversation.add(entry)) return
    if (entry.mine) conversation.read.value = Math.max(conversation.read.value, entry.offset)
    if (conversation.kind === "room" && conversation.role.value === null) void this.#learnRooms()
    this.met(conversation)
    if (!entry.mine) this.arrived(conversation, entry)
  }

  #receipt(event: { conversation: string; user: string; delivered: number; read: number }): void {
    const conversation = this.all.value.get(event.conversation)
    if (!conversation) return
    if (event.user === this.self) conversation.read.value = Math.max(conversation.read.value, event.read)
    else conversation.learn(event.user, event)
  }

  #seen(user: string, state: Presence, seenMs: number): void {
    const known = this.presence.value.get(user)
    if (known?.state === state && known.seenMs === seenMs) return
    this.presence.value = new Map(this.presence.value).set(user, { state, seenMs })
  }

  async #roomChanged(event: { room: string; what: string; user: string }): Promise<void> {
    const mine = event.user === this.self
    if (mine && ["left", "removed", "banned"].includes(event.what)) {
      const conversation = this.all.value.get(event.room)
      if (conversation) this.#gone(conversation)
      return
    }
    if (mine || event.what === "changed") await this.#learnRooms()
    const conversation = this.all.value.get(event.room)
    if (conversation && this.selected.value === conversation) await this.learnMembers(conversation)
  }

  async #learnRooms(): Promise<void> {
    const rooms = await this.me.rooms.list({}).catch(() => [])
    for (const room of rooms) this.#room(room)
  }

  #room(room: RoomInfo): Conversation {
    const conversation = this.conversation(room.room)
    const wasIn = conversation.canWrite
    conversation.title.value = room.title
    conversation.role.value = room.role as Role | null
    conversation.isPublic.value = room.public
    conversation.memberCount.value = room.members
    if (room.head > conversation.head.value) {
      // What was said before somebody joined is there to scroll to, and is not news.
      if (!wasIn) conversation.read.value = room.head
      conversation.log.reaches(1, room.head)
      conversation.head.value = conversation.log.head
    }
    conversation.activityMs.value ||= Date.now()
    return conversation
  }

  #gone(conversation: Conversation): void {
    const rest = new Map(this.all.value)
    rest.delete(conversation.key)
    this.all.value = rest
    if (this.selected.value === conversation) this.selected.value = null
  }

  async #learnBlocks(): Promise<void> {
    this.blocked.value = new Set(await this.me.blocks.list().catch(() => []))
  }

  async #learnReceipts(conversation: Conversation): Promise<void> {
    const cursors = await this.me.receipts.of(conversation.key).catch(() => [])
    for (const cursor of cursors) if (cursor.user !== this.self) conversation.learn(cursor.user, cursor)
  }
}
