/**
 * A list of very many rows of unknown heights that scrolls like a short one: only what is near the window is in the document.
 *
 * Rows in the document lie in normal flow between two spacers, so they can never overlap, whatever a font or an image does. When
 * heights turn out to be other than guessed, the row at the top edge of the view (or the end, if that is where the reader is)
 * stays where it is. Everything happens in the scroll event itself, which browsers send right before they paint.
 */

import { element } from "../text/dom"
import { Heights } from "./heights"

export interface Source {
  /** Offsets of the oldest and the newest message; `head` is `first - 1` while there is none. */
  first(): number
  head(): number
  /** The row of a message, or null while the message is not here. */
  row(offset: number): HTMLElement | null
  want(from: number, to: number): void
}

export interface Hooks {
  /** The reader sees messages up to `offset`; `atEnd` while new ones are followed. */
  moved(offset: number, top: number, atEnd: boolean): void
}

/** A message of one line with the space around it. */
const ROW_GUESS = 44
const NEAR_END_PX = 48
const ROUNDS_MAX = 4

export class Timeline {
  readonly heights = new Heights(ROW_GUESS)
  #before = element("div", "spacer")
  #window = element("div", "window")
  #after = element("div", "spacer")
  #rows = new Map<number, HTMLElement>()
  #empty = new Set<number>()
  #base = 1
  #stick = true
  #height = 0
  #view = 0
  #idle = 0
  #observer: ResizeObserver
  #gone = new AbortController()

  /** `list` is inside `scroller` and gets the rows; what stands above and below it in the scroller moves along. */
  constructor(
    private readonly scroller: HTMLElement,
    private readonly list: HTMLElement,
    private readonly source: Source,
    private readonly hooks: Hooks,
  ) {
    list.replaceChildren(this.#before, this.#window, this.#after)
    const { signal } = this.#gone
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true, signal })
    this.#observer = new ResizeObserver((entries) => this.#resized(entries))
    this.#observer.observe(scroller)
    this.#base = source.first()
    this.heights.resize(source.head() - this.#base + 1)
    this.update()
  }

  destroy(): void {
    this.#gone.abort()
    this.#observer.disconnect()
    clearTimeout(this.#idle)
    this.list.replaceChildren()
  }

  get following(): boolean {
    return this.#stick
  }

  /** Messages between two offsets are new or look different now. */
  changed(from: number, to: number): void {
    if (this.source.first() !== this.#base) this.rebase()
    this.heights.resize(this.source.head() - this.#base + 1)
    // The one behind, too: whether a row begins a group or a day depends on the one before.
    const [low, high] = [from - this.#base, to + 1 - this.#base]
    for (const row of [...this.#rows.keys()]) if (row >= low && row <= high) this.#drop(row)
    this.update()
  }

  /** Every row again, where it is: the language or the day has changed. */
  redraw(): void {
    for (const row of [...this.#rows.keys()]) this.#drop(row)
    this.update()
  }

  toEnd(): void {
    this.#stick = true
    this.update()
  }

  /** Brings a message into the middle of the view, at once: a way of 100,000 rows is nothing to watch. */
  reveal(offset: number, place = 0.4): HTMLElement | null {
    const row = Math.max(0, Math.min(offset - this.#base, this.heights.count - 1))
    this.#stick = false
    for (let round = 0; round < 2; round++) {
      const shift = (this.scroller.clientHeight - this.heights.of(row)) * place
      this.#scrollTo(this.heights.top(row) - Math.max(shift, 0))
      this.update()
    }
    this.#stick = this.#nearEnd()
    return this.#rows.get(row) ?? null
  }

  #nearEnd(): boolean {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller
    return scrollHeight - scrollTop - clientHeight < NEAR_END_PX
  }

  /** The row element of an offset, if it is in the document. */
  rowAt(offset: number): HTMLElement | undefined {
    return this.#rows.get(offset - this.#base)
  }

  /** Offsets whose rows are in the document. */
  *shown(): Iterable<[number, HTMLElement]> {
    for (const [row, node] of this.#rows) yield [row + this.#base, node]
  }

  update(): void {
    const { scroller, heights } = this
    const view = scroller.clientHeight
    if (!view) return
    if (this.#stick) {
      this.#fill(heights.total - view, view, heights.count - 1)
      scroller.scrollTop = scroller.scrollHeight
    } else {
      let top = scroller.scrollTop - this.list.offsetTop
      for (let round = 0; round < ROUNDS_MAX; round++) {
        const anchor = heights.at(top)
        const shift = heights.top(anchor) - top
        const settled = this.#fill(top, view, anchor)
        const moved = heights.top(anchor) - shift - top
        if (Math.abs(moved) >= 1) this.#scrollTo((top += moved))
        if (settled) break
      }
    }
    this.#height = scroller.scrollHeight
    this.#view = view
    this.#tell()
  }

  /** Makes the rows around `top` be in the document and measured. True if nothing had to be added. */
  #fill(top: number, view: number, keep: number): boolean {
    const { heights } = this
    if (!heights.count) return true
    const margin = Math.max(view, 600)
    const from = Math.min(heights.at(top - margin), keep)
    const to = Math.max(heights.at(top + view + margin), keep)
    for (const row of this.#rows.keys()) if (row < from || row > to) this.#drop(row)
    const added: [number, HTMLElement][] = []
    let next: HTMLElement | null = null
    for (let row = to; row >= from; row--) {
      let node: HTMLElement | undefined = this.#rows.get(row)
      if (!node) {
        node = this.#make(row)
        this.#window.insertBefore(node, next)
        added.push([row, node])
      }
      next = node
    }
    this.#space(from, to)
    let moved = false
    for (const [row, node] of added) {
      if (!this.#empty.has(row)) moved = heights.measure(row, node.getBoundingClientRect().height) || moved
      this.#observer.observe(node)
    }
    if (moved) this.#space(from, to)
    if (this.#empty.size) this.source.want(from + this.#base, to + this.#base)
    return added.length === 0
  }

  #space(from: number, to: number): void {
    const { heights } = this
    setHeight(this.#before, heights.top(from))
    setHeight(this.#after, heights.total - heights.top(to + 1))
  }

  #make(row: number): HTMLElement {
    const node = this.source.row(row + this.#base) ?? this.#skeleton(row)
    this.#rows.set(row, node)
    return node
  }

  #skeleton(row: number): HTMLElement {
    this.#empty.add(row)
    const node = element("div", "row skeleton")
    node.setAttribute("aria-hidden", "true")
    node.style.height = `${this.heights.of(row)}px`
    const bubble = element("div", "bubble")
    bubble.style.width = `${28 + ((row * 37) % 40)}%`
    node.append(bubble)
    return node
  }

  #drop(row: number): void {
    const node = this.#rows.get(row)
    if (!node) return
    if (node.contains(document.activeElement)) this.scroller.focus({ preventScroll: true })
    this.#observer.unobserve(node)
    node.remove()
    this.#rows.delete(row)
    this.#empty.delete(row)
  }

  /** The source begins elsewhere: nothing of before counts. */
  rebase(): void {
    for (const row of [...this.#rows.keys()]) this.#drop(row)
    this.#base = this.source.first()
    this.heights.reset(this.source.head() - this.#base + 1)
    this.#before.style.height = this.#after.style.height = "0px"
  }

  #scrolled(): void {
    const { scroller } = this
    const { scrollHeight, clientHeight } = scroller
    // When what is in the window changed its size, it was not the reader who moved.
    const moved = scrollHeight === this.#height && clientHeight === this.#view
    this.#height = scrollHeight
    this.#view = clientHeight
    if (moved || !this.#stick) this.#stick = this.#nearEnd()
    if (this.#stick && moved) this.#keepEnd()
    else this.update()
    clearTimeout(this.#idle)
    this.#idle = window.setTimeout(() => {
      if (this.heights.settle()) this.update()
    }, 200)
  }

  /** Near the end, but not at it: the rows are there already, and the reader's finger is not fought. */
  #keepEnd(): void {
    this.#fill(this.scroller.scrollTop - this.list.offsetTop, this.scroller.clientHeight, this.heights.count - 1)
    this.#tell()
  }

  #resized(entries: ResizeObserverEntry[]): void {
    const top = this.scroller.scrollTop - this.list.offsetTop
    const anchor = this.heights.at(top)
    const shift = this.heights.top(anchor) - top
    let moved = false
    const places = new Map([...this.#rows].map(([row, node]) => [node as Element, row]))
    for (const entry of entries) {
      const row = places.get(entry.target)
      if (row === undefined || this.#empty.has(row)) continue
      moved = this.heights.measure(row, entry.borderBoxSize[0]!.blockSize) || moved
    }
    if (moved && !this.#stick) this.#scrollTo(this.heights.top(anchor) - shift)
    if (moved || entries.some((entry) => entry.target === this.scroller)) this.update()
  }

  #scrollTo(top: number): void {
    this.scroller.scrollTop = Math.round(top + this.list.offsetTop)
  }

  #tell(): void {
    const { scroller, heights } = this
    if (!heights.count) return
    const top = scroller.scrollTop - this.list.offsetTop
    const last = heights.at(top + scroller.clientHeight - 8)
    this.hooks.moved(last + this.#base, heights.at(top + 8) + this.#base, this.#stick)
  }
}

function setHeight(node: HTMLElement, height: number): void {
  const value = `${Math.max(0, height)}px`
  if (node.style.height !== value) node.style.height = value
}
