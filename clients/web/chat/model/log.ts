/**
 * The messages of one conversation: a sparse log by offset, filled page by page as somebody looks at it.
 *
 * Offsets are contiguous, so an offset that is missing here is either not asked for yet or under way. Nothing in here knows the
 * screen; `changed` is called with the offsets that are new.
 */

import type { Entry } from "./entry"

export interface Page {
  entries: Entry[]
  /** Lowest offset that may be read. */
  first: number
  head: number
}

export const PAGE = 100
const AT_ONCE = 2
/** Entries kept in memory; over it the pages furthest from the last one wanted are forgotten. */
const KEPT_MAX = 30_000

export class Log {
  first = 1
  head = 0
  changed: (from: number, to: number) => void = () => {}
  #entries = new Map<number, Entry>()
  #wanted: number[] = []
  #underway = new Set<number>()

  /** `fetch` reads up to PAGE entries behind an offset, in ascending order. */
  constructor(private readonly fetch: (after: number, limit: number) => Promise<Page>) {}

  get(offset: number): Entry | undefined {
    return this.#entries.get(offset)
  }

  get size(): number {
    return this.#entries.size
  }

  /** A message that arrived, or one of our own that got its place. False if it was here already. */
  add(entry: Entry): boolean {
    if (this.#entries.has(entry.offset)) return false
    this.#entries.set(entry.offset, entry)
    this.head = Math.max(this.head, entry.offset)
    if (this.#entries.size > KEPT_MAX * 1.2) this.#forget(this.head)
    this.changed(entry.offset, entry.offset)
    return true
  }

  /** The relay tells where the conversation begins and ends now. */
  reaches(first: number, head: number): void {
    const from = this.head + 1
    if (first <= this.first && head <= this.head) return
    this.first = Math.max(this.first, first)
    this.head = Math.max(this.head, head)
    this.changed(from, this.head)
  }

  take(page: Page): void {
    const moved = page.first > this.first || page.head > this.head
    this.first = Math.max(this.first, page.first)
    this.head = Math.max(this.head, page.head)
    for (const entry of page.entries) if (!this.#entries.has(entry.offset)) this.#entries.set(entry.offset, entry)
    const low = page.entries[0]?.offset ?? this.head
    if (moved || page.entries.length) this.changed(low, page.entries.at(-1)?.offset ?? low)
  }

  /** Asks for what is missing between two offsets; the latest wish is served first, older ones are dropped. */
  want(from: number, to: number): void {
    this.#wanted = []
    const low = Math.max(this.first, from)
    const high = Math.min(this.head, to)
    for (let offset = low; offset <= high; offset++) {
      if (this.#entries.has(offset)) continue
      const page = pageOf(offset)
      if (!this.#underway.has(page) && this.#wanted.at(-1) !== page) this.#wanted.push(page)
    }
    this.#next()
  }

  #next(): void {
    while (this.#underway.size < AT_ONCE) {
      const page = this.#wanted.pop()
      if (page === undefined) return
      void this.#load(page)
    }
  }

  async #load(page: number): Promise<void> {
    this.#underway.add(page)
    try {
      // A page is bounded in bytes, too: what did not fit is asked for again from where it ended.
      let after = page
      while (after < Math.min(page + PAGE, this.head)) {
        const got = await this.fetch(after, page + PAGE - after)
        this.take(got)
        const last = got.entries.at(-1)?.offset
        if (last === undefined || last <= after) break
        after = last
      }
      this.#forget(page)
    } catch {
      // Not now: whoever looks asks again when the connection is back.
    } finally {
      this.#underway.delete(page)
      this.#next()
    }
  }

  #forget(around: number): void {
    if (this.#entries.size <= KEPT_MAX) return
    const near = KEPT_MAX / 3
    for (const offset of this.#entries.keys()) {
      if (Math.abs(offset - around) > near && offset < this.head - PAGE) this.#entries.delete(offset)
    }
  }
}

/** The offset before the first of the page that holds `offset`. */
function pageOf(offset: number): number {
  return Math.floor((offset - 1) / PAGE) * PAGE
}
