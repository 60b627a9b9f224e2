/** The emoji picker: found by English and Chinese words, walked through with arrows. */

import { useSignal } from "@preact/signals"
import type { VNode } from "preact"
import { useLayoutEffect, useRef } from "preact/hooks"
import { type Emoji, findEmoji, GROUPS } from "../text/emoji"
import { language, t } from "../words"
import { Icon } from "./icons"
import { roving } from "./roving"

const COLUMNS = 8

export function Emojis({ choose, close }: { choose: (sign: string) => void; close: () => void }): VNode {
  const wanted = useSignal("")
  const root = useRef<HTMLDivElement>(null)
  const field = useRef<HTMLInputElement>(null)
  useLayoutEffect(() => {
    field.current!.focus()
    const outside = (event: Event) => {
      const target = event.target as Element
      if (!root.current?.contains(target) && !target.closest("[data-emoji]")) close()
    }
    document.addEventListener("pointerdown", outside)
    return () => document.removeEventListener("pointerdown", outside)
  }, [])
  const pick = (sign: string, keep: boolean) => {
    choose(sign)
    if (!keep) close()
  }
  const found = wanted.value ? findEmoji(wanted.value) : null
  const onKey = (event: KeyboardEvent) => {
    if (event.key === "Escape") close()
    else if (event.key === "Enter" && found?.[0]) pick(found[0].sign, event.shiftKey)
    else if (event.key === "ArrowDown") root.current?.querySelector<HTMLElement>(".cells button")?.focus()
    else return
    event.preventDefault()
    event.stopPropagation()
  }
  return (
    <div ref={root} class="emojis" role="dialog" aria-label={t("emoji")} onKeyDown={(event) => event.key === "Escape" && onKey(event)}>
      <div class="find">
        <Icon name="search" size={18} />
        <input ref={field} class="input" type="search" placeholder={t("emojiSearch")} aria-label={t("emojiSearch")} value={wanted.value}
          onInput={(event) => (wanted.value = event.currentTarget.value)} onKeyDown={onKey} autocomplete="off" maxLength={32} />
      </div>
      <div class="grid scroll" onKeyDown={roving({ selector: ".cells button", columns: COLUMNS })}>
        {found ? <Cells emoji={found} pick={pick} /> : GROUPS.map((group) => (
          <section key={group.en} aria-label={group[language.value]}>
            <h3>{group[language.value]}</h3>
            <Cells emoji={group.emoji} pick={pick} />
          </section>
        ))}
        {found?.length === 0 && <p class="none">{t("emojiNone")}</p>}
      </div>
    </div>
  )
}

function Cells({ emoji, pick }: { emoji: Emoji[]; pick: (sign: string, keep: boolean) => void }): VNode {
  return (
    <div class="cells">
      {emoji.map(({ sign, words }) => (
        <button key={sign} tabIndex={-1} aria-label={words} title={words.split(" ")[0]} onClick={(event) => pick(sign, event.shiftKey)}>{sign}</button>
      ))}
    </div>
  )
}
