/** Search in the open conversation, as a panel that stays while one looks at what it found. */

import { useSignal } from "@preact/signals"
import type { VNode } from "preact"
import { useEffect, useLayoutEffect, useRef } from "preact/hooks"
import type { Conversation } from "../model/conversation"
import type { Entry } from "../model/entry"
import { type Found, search, textOf } from "../model/search"
import { hueOf } from "../text/colour"
import { clockTime, fullTime, listTime, today, dayOf } from "../text/times"
import { t } from "../words"
import { useApp } from "./app"
import { Icon } from "./icons"
import { roving } from "./roving"

const PAUSE_MS = 250
const AROUND = 60

export function Search({ of }: { of: Conversation }): VNode {
  const { world, panel, jump } = useApp()
  const wanted = useSignal("")
  const found = useSignal<Found | null>(null)
  const field = useRef<HTMLInputElement>(null)
  const hits = useRef<HTMLUListElement>(null)
  useLayoutEffect(() => field.current!.focus(), [])
  useEffect(() => {
    const text = wanted.value.trim()
    found.value = null
    if (!text) return
    const stop = new AbortController()
    const timer = setTimeout(() => {
      search(world, of, text, (it) => (found.value = it), stop.signal).catch((problem) => world.complain(problem))
    }, PAUSE_MS)
    return () => {
      clearTimeout(timer)
      stop.abort()
    }
  }, [wanted.value])
  const onKey = (event: KeyboardEvent) => {
    if (event.key === "ArrowDown") hits.current?.querySelector("button")?.focus()
    else if (event.key === "Enter" && found.value?.hits[0]) jump.to(found.value.hits[0].offset)
    else return
    event.preventDefault()
  }
  const go = (entry: Entry) => {
    jump.to(entry.offset)
    if (matchMedia("(max-width: 720px)").matches) panel.value = null
  }
  const it = found.value
  return (
    <aside class="panel" aria-label={t("search")}>
      <header class="bar">
        <div class="find">
          <Icon name="search" size={18} />
          <input ref={field} class="input" type="search" placeholder={t("search")} aria-label={t("search")} value={wanted.value}
            onInput={(event) => (wanted.value = event.currentTarget.value)} onKeyDown={onKey} autocomplete="off" maxLength={200} />
        </div>
        <button class="icon" aria-label={t("close")} onClick={() => (panel.value = null)}><Icon name="close" /></button>
      </header>
      <div class="searched" role="status">
        <p>{!it ? t("searchHint") : !it.finished ? t("searching", { done: it.done, all: it.all }) : it.done < it.all || it.hits.length >= 200 ? t("foundMost", { n: it.hits.length }) : t("found", { n: it.hits.length })}</p>
        {it && !it.finished && <div class="progress" aria-hidden="true"><i style={{ transform: `scaleX(${it.done / Math.max(1, it.all)})` }} /></div>}
      </div>
      <ul ref={hits} class="hits scroll" onKeyDown={roving({ selector: ".hit" })}>
        {(it?.hits ?? []).map((entry, index) => (
          <li key={entry.offset}>
            <button class="hit" tabIndex={index ? -1 : 0} onClick={() => go(entry)}>
              <span class="line">
                <bdi class="name clip" style={{ "--hue": hueOf(entry.sender) }}>{entry.mine ? t("you") : entry.sender}</bdi>
                <time title={fullTime(entry.timeMs)}>{when(entry.timeMs)}</time>
              </span>
              <p dir="auto"><Marked text={textOf(entry)} wanted={wanted.value.trim()} /></p>
            </button>
          </li>
        ))}
      </ul>
    </aside>
  )
}

const when = (timeMs: number): string =>
  dayOf(timeMs) === today.value ? clockTime(timeMs) : `${listTime(timeMs)}, ${clockTime(timeMs)}`

/** The neighbourhood of what was found, with it marked. */
function Marked({ text, wanted }: { text: string; wanted: string }): VNode {
  const at = text.toLocaleLowerCase().indexOf(wanted.toLocaleLowerCase())
  if (at < 0) return <>{text.slice(0, 2 * AROUND)}</>
  const begin = Math.max(0, at - AROUND)
  const end = at + wanted.length
  return (
    <>
      {begin > 0 && "…"}
      {text.slice(begin, at)}
      <mark>{text.slice(at, end)}</mark>
      {text.slice(end, end + 2 * AROUND)}
    </>
  )
}
