/** Looks for text in all messages of a conversation, from the newest to the oldest, a page at a time so that the page never stalls. */

import type { Conversation } from "./conversation"
import { type Entry, lineOf } from "./entry"
import type { World } from "./world"

const PAGE = 500
const HITS_MAX = 200

export interface Found {
  hits: Entry[]
  /** How many messages were looked at, and how many there are. */
  done: number
  all: number
  finished: boolean
}

/** What a search reads in a message. */
export function textOf(entry: Entry): string {
  return entry.content.kind === "text" ? entry.content.text : lineOf(entry.content)
}

/** Calls `tell` as it goes on, until everything was read, enough was found, or `signal` says stop. Rejects if a page cannot be read. */
export async function search(
  world: World,
  of: Conversation,
  wanted: string,
  tell: (found: Found) => void,
  signal: AbortSignal,
): Promise<void> {
  const needle = wanted.toLocaleLowerCase()
  const { head, first } = of.log
  const hits: Entry[] = []
  const all = Math.max(0, head - first + 1)
  for (let before = head + 1; before > first && hits.length < HITS_MAX; ) {
    const entries = await world.read(of.key, before, PAGE)
    if (signal.aborted) return
    const low = entries[0]?.offset
    if (low === undefined || low >= before) break
    for (const entry of entries.reverse()) if (textOf(entry).toLocaleLowerCase().includes(needle)) hits.push(entry)
    before = low
    tell({ hits: hits.slice(0, HITS_MAX), done: head + 1 - before, all, finished: false })
  }
  tell({ hits: hits.slice(0, HITS_MAX), done: all, all, finished: true })
}
