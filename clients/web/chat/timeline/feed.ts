/**
 * The messages of the open conversation on the screen: ties the log, what is on its way and receipts to the timeline.
 *
 * It decides what counts as seen: a message is read when its row is inside the view while the page is visible and has the focus.
 */

import { effect, untracked } from "@preact/signals"
import type { Conversation, Outgoing } from "../model/conversation"
import type { FileInfo } from "../model/entry"
import { paced } from "../model/pace"
import type { World } from "../model/world"
import { element } from "../text/dom"
import { dayName, today } from "../text/times"
import { faceNode, roomFaceNode } from "../views/face"
import { isolated, language, t } from "../words"
import type { Pictures } from "./pictures"
import { messageRow, outgoingRow, refreshFate, refreshOutgoing, retouch, type RowContext } from "./rows"
import { Timeline } from "./timeline"

export interface FeedHooks {
  openFile: (file: FileInfo) => void
  /** How many messages came below the view, and whether its end is in view. */
  place: (below: number, atEnd: boolean) => void
  /** The day at the top edge while somebody scrolls, and "" when they have stopped. */
  day: (name: string) => void
}

const DAY_SHOWN_MS = 900
/** Messages in the list at a time: browsers lay out boxes up to some 17 million pixels, a good 250,000 messages. */
const SPAN = 200_000
const EDGE = 500

export class Feed {
  #timeline: Timeline
  #context: RowContext
  #beginning = element("div", "beginning")
  #outgoing = element("div", "outgoing")
  #items = new Map<string, [Outgoing, HTMLElement]>()
  #seen = 0
  #headAtEnd = 0
  /** The part of the conversation that the list holds. */
  #low = 1
  #high = 0
  /** The newest message when the list was drawn. */
  #head = 0
  #dayTimer = 0
  #news: [number, number] | null = null
  #draw = paced(() => this.#drawNews(), 30)
  #gone = new AbortController()
  #stops: (() => void)[] = []

  constructor(
    scroller: HTMLElement,
    private readonly of: Conversation,
    private readonly world: World,
    pictures: Pictures,
    private readonly hooks: FeedHooks,
  ) {
    const { log } = of
    const unread = of.unread.peek()
    const newsAfter = unread > 0 && of.read.peek() >= log.first ? of.read.peek() : 0
    this.#context = { conversation: of, newsAfter, pictures, openFile: hooks.openFile, freshAbove: log.head }
    this.#headAtEnd = log.head
    const list = element("div", "list")
    scroller.replaceChildren(this.#beginning, list, this.#outgoing)
    this.#hold(log.head)
    this.#begin()
    this.#timeline = new Timeline(scroller, list, this.#source(), { moved: (last, top, atEnd) => this.#moved(last, top, atEnd) })
    // Somebody who was away begins to read where the news begin, if that is more than a window full.
    if (newsAfter && unread > 8) this.#timeline.reveal(newsAfter + 1, 0.15)
    log.changed = (from, to) => this.#changed(from, to)
    this.#stops = [
      follow(() => of.outgoing.value, (items) => this.#sendings(items)),
      follow(() => of.receipts.value, () => this.#fates()),
      follow(() => world.connection.value, (state) => state === "open" && this.#timeline.update()),
      follow(() => `${language.value} ${today.value}`, () => this.#redraw()),
    ]
    const { signal } = this.#gone
    for (const name of ["focus", "blur"] as const) window.addEventListener(name, () => this.#read(), { signal })
    document.addEventListener("visibilitychange", () => this.#read(), { signal })
    scroller.addEventListener("keydown", (event) => this.#key(event), { signal })
  }

  close(): void {
    this.of.log.changed = () => {}
    this.#gone.abort()
    clearTimeout(this.#dayTimer)
    for (const stop of this.#stops) stop()
    this.#timeline.destroy()
  }

  toEnd(): void {
    this.#reach(this.of.log.head)
    this.#timeline.toEnd()
  }

  jump(offset: number): void {
    this.#reach(offset)
    const show = () => {
      const row = this.#timeline.reveal(offset)
      if (!row || row.classList.contains("skeleton")) return false
      row.classList.add("found")
      row.tabIndex = -1
      return true
    }
    if (show()) return
    const until = performance.now() + 10_000
    const again = () => {
      if (this.#gone.signal.aborted || show() || performance.now() > until) return
      setTimeout(again, 60)
    }
    setTimeout(again, 60)
  }

  /** Everything again: the language or the day has changed. */
  #redraw(): void {
    this.#begin()
    this.#timeline.redraw()
    for (const [key, [item]] of this.#items) this.#place(key, item)
  }

  #source() {
    const { of } = this
    return {
      first: () => this.#low,
      head: () => this.#high,
      row: (offset: number) => {
        const entry = of.log.get(offset)
        return entry ? messageRow(entry, this.#context) : null
      },
      want: (from: number, to: number) => of.log.want(from, to),
    }
  }

  /** Chooses what the list holds: as much as it can around an offset. */
  #hold(around: number): void {
    const { first, head } = this.of.log
    this.#low = Math.max(first, Math.min(Math.round(around - SPAN / 2), head - SPAN))
    this.#high = Math.min(head, this.#low + SPAN)
    this.#head = head
    this.#beginning.hidden = this.#low > first
  }

  /** Makes the list hold an offset that it does not. */
  #reach(offset: number): void {
    if (offset >= this.#low && offset <= this.#high) return
    this.#hold(offset)
    this.#timeline.rebase()
  }

  /** Near an edge of what the list holds: it is put down again around the place that is looked at. */
  #shift(top: number): void {
    if (this.#gone.signal.aborted) return
    this.#hold(top)
    this.#timeline.rebase()
    this.#timeline.reveal(top, 0)
  }

  #begin(): void {
    const { of } = this
    const word = of.kind === "room" ? "emptyRoom" : of.kind === "notes" ? "emptyNotes" : "emptyDirect"
    const name = element("bdi", "name")
    name.textContent = of.name
    const line = element("p", "")
    line.textContent = of.log.first > 1 && of.kind !== "room" ? t("gone") : t(word, { name: isolated(of.name) })
    this.#beginning.replaceChildren(of.kind === "room" ? roomFaceNode(of.address) : faceNode(of.address), name, line)
  }

  #changed(from: number, to: number): void {
    const [low, high] = this.#news ?? [from, to]
    this.#news = [Math.min(low, from), Math.max(high, to)]
    this.#draw()
  }

  #drawNews(): void {
    if (!this.#news || this.#gone.signal.aborted) return
    const [from, to] = this.#news
    this.#news = null
    const { first, head } = this.of.log
    if (this.#high === this.#head) this.#high = head
    this.#head = head
    this.#low = Math.max(this.#low, first)
    const before = this.#timeline.rowAt(from - 1)
    const entry = this.of.log.get(from - 1)
    if (before && entry) retouch(before, entry, this.#context)
    this.#timeline.changed(from, to)
  }

  #moved(last: number, top: number, endInView: boolean): void {
    const { of } = this
    const atEnd = endInView && this.#high === this.#head
    const atEdge = (top < this.#low + EDGE && this.#low > of.log.first) || (last > this.#high - EDGE && this.#high < this.#head)
    if (atEdge) setTimeout(() => this.#shift(top))
    if (last > this.#seen && of.log.get(last)) this.#seen = last
    if (atEnd) this.#headAtEnd = of.log.head
    this.hooks.place(Math.max(0, of.log.head - Math.max(this.#headAtEnd, this.#seen)), atEnd)
    this.#read()
    const entry = of.log.get(top)
    if (atEnd || !entry) return
    this.hooks.day(dayName(entry.timeMs))
    clearTimeout(this.#dayTimer)
    this.#dayTimer = window.setTimeout(() => this.hooks.day(""), DAY_SHOWN_MS)
  }

  #read(): void {
    if (document.visibilityState === "visible" && document.hasFocus()) this.world.markRead(this.of, this.#seen)
  }

  #fates(): void {
    for (const [offset, row] of this.#timeline.shown()) {
      const entry = this.of.log.get(offset)
      if (entry?.mine) refreshFate(row, entry, this.of)
    }
  }

  #sendings(items: Outgoing[]): void {
    const keys = new Set(items.map((item) => item.key))
    for (const [key, [, node]] of this.#items) {
      if (keys.has(key)) continue
      node.remove()
      this.#items.delete(key)
    }
    let added = false
    for (const item of items) {
      const known = this.#items.get(item.key)
      if (known?.[0] === item) continue
      added ||= !known
      if (known && known[0].state === item.state && item.progress !== null && known[0].progress !== null) {
        refreshOutgoing(known[1], item)
        this.#items.set(item.key, [item, known[1]])
      } else this.#place(item.key, item)
    }
    if (added || this.#timeline.following) this.#timeline.toEnd()
  }

  #place(key: string, item: Outgoing): void {
    const known = this.#items.get(key)
    const node = outgoingRow(item, this.#context)
    if (known) known[1].replaceWith(node)
    else {
      node.classList.add("fresh")
      this.#outgoing.append(node)
    }
    refreshOutgoing(node, item)
    this.#items.set(key, [item, node])
  }

  /** Arrows walk through the messages, Home and End jump. */
  #key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    const focused = (document.activeElement as HTMLElement | null)?.closest<HTMLElement>("[role=article]")
    const { log } = this.of
    if (event.key === "Home") this.#focus(log.first)
    else if (event.key === "End") {
      this.toEnd()
      this.#focusRow(this.#timeline.rowAt(log.head))
    } else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      const at = Number(focused?.dataset["offset"] ?? 0)
      const to = at ? at + (event.key === "ArrowUp" ? -1 : 1) : this.#seen || log.head
      if (to >= log.first && to <= log.head) this.#focus(to, true)
    } else return
    event.preventDefault()
  }

  #focus(offset: number, near = false): void {
    this.#reach(offset)
    const row = this.#timeline.rowAt(offset)
    if (near && row) return this.#focusRow(row)
    this.#focusRow(this.#timeline.reveal(offset, 0.1) ?? undefined)
  }

  #focusRow(row: HTMLElement | undefined): void {
    row?.focus({ preventScroll: true })
    row?.scrollIntoView({ block: "nearest" })
  }
}

/** Calls `act` with what `read` gives, now and whenever it changes; what `act` looks at does not count. */
function follow<T>(read: () => T, act: (value: T) => void): () => void {
  return effect(() => {
    const value = read()
    untracked(() => act(value))
  })
}
