/** The list of conversations, with a field that finds among them. One tab stop: arrows move inside. */

import { useComputed, useSignal } from "@preact/signals"
import type { VNode } from "preact"
import { useRef } from "preact/hooks"
import { type Conversation, typingSentence } from "../model/conversation"
import { lineOf } from "../model/entry"
import { listTime } from "../text/times"
import { isolated, t } from "../words"
import { useApp } from "./app"
import { ConversationFace, Face } from "./face"
import { Icon } from "./icons"
import { roving } from "./roving"

export function Side(): VNode {
  const { world, dialog, filterField } = useApp()
  const filter = useSignal("")
  const list = useRef<HTMLUListElement>(null)
  const found = useComputed(() => {
    const wanted = filter.value.trim().toLowerCase()
    if (!wanted) return world.sorted.value
    return world.sorted.value.filter((it) => it.name.toLowerCase().includes(wanted) || it.address.toLowerCase().includes(wanted))
  })
  const choose = (conversation: Conversation) => {
    filter.value = ""
    world.select(conversation)
  }
  const onKey = (event: KeyboardEvent) => {
    if (event.isComposing) return
    if (event.key === "Enter" && found.value[0]) choose(found.value[0])
    else if (event.key === "Enter" && startable(filter.value)) choose(world.direct(filter.value.trim().toLowerCase()))
    else if (event.key === "ArrowDown") list.current?.querySelector("button")?.focus()
    else if (event.key === "Escape" && filter.value) filter.value = ""
    else return
    event.preventDefault()
    event.stopPropagation()
  }
  const name = filter.value.trim().toLowerCase()
  return (
    <aside class="side" aria-label={t("conversations")}>
      <header class="bar">
        <h1 class="grow">{t("app")}</h1>
        <button class="icon" aria-label={t("newConversation")} title={t("newConversation")} onClick={() => (dialog.value = "new")}>
          <Icon name="plus" size={22} />
        </button>
      </header>
      <div class="find" role="search">
        <Icon name="search" size={18} />
        <input ref={filterField} class="input" type="search" placeholder={t("filter")} aria-label={t("filter")} value={filter.value}
          onInput={(event) => (filter.value = event.currentTarget.value)} onKeyDown={onKey} maxLength={64} autocomplete="off" spellcheck={false} />
        <kbd aria-hidden="true">{isMac ? "⌘K" : "Ctrl K"}</kbd>
      </div>
      <nav class="scroll" aria-label={t("conversations")}>
        <ul ref={list} onKeyDown={roving({ selector: ".talk, .start" })}>
          {found.value.map((conversation, index) => (
            <li key={conversation.key}><Talk of={conversation} first={index === 0} choose={choose} /></li>
          ))}
          {name && startable(name) && !found.value.some((it) => it.address === name) && (
            <li>
              <button class="start" onClick={() => choose(world.direct(name))}>
                <Face name={name} />
                <span class="clip">{t("startWith", { name: isolated(name) })}</span>
              </button>
            </li>
          )}
        </ul>
        {found.value.length === 0 && world.loaded.value && (
          <div class="none">
            {name ? <span>{t("noMatch", { text: isolated(filter.value.trim()) })}</span> : (
              <><strong>{t("noConversations")}</strong><span>{t("noConversationsLead")}</span></>
            )}
          </div>
        )}
      </nav>
      <Self />
    </aside>
  )
}

export const isMac = /Mac|iPhone|iPad/.test(navigator.platform)

/** A name that a user could have; the relay has the last word. */
export const startable = (text: string): boolean => /^[^\s/#@]{1,64}$/u.test(text.trim())

function Talk({ of, first, choose }: { of: Conversation; first: boolean; choose: (conversation: Conversation) => void }): VNode {
  const { world } = useApp()
  const current = world.selected.value === of
  const unread = of.unread.value
  const presence = of.kind === "direct" ? world.presence.value.get(of.address)?.state : undefined
  // One tab stop for the whole list: the open conversation, or the first.
  const stop = current || (first && !world.selected.value)
  return (
    <button class={`talk${unread ? " fresh" : ""}`} aria-current={current} tabIndex={stop ? 0 : -1} data-key={of.key} onClick={() => choose(of)}>
      <ConversationFace of={of} presence={presence} />
      <span class="clip">
        <span class="line">
          <bdi class="name clip">{of.name}</bdi>
          {of.activityMs.value > 0 && <time>{listTime(of.activityMs.value)}</time>}
        </span>
        <span class="line">
          <LastLine of={of} />
          {unread > 0 && <span class="badge"><span aria-hidden="true">{unread > 99 ? "99+" : unread}</span><span class="unseen">{t("unread", { n: unread })}</span></span>}
        </span>
      </span>
      {presence && presence !== "offline" && <span class="unseen">{t(presence)}</span>}
    </button>
  )
}

function LastLine({ of }: { of: Conversation }): VNode {
  const { world } = useApp()
  if (of.typing.value.length) return <span class="last live clip">{typingSentence(of.typing.value)}</span>
  if (of.role.value === "invited") return <span class="last live clip">{t("invited")}</span>
  if (of.draft.value && world.selected.value !== of) return <span class="last clip">{t("draftPrefix", { text: of.draft.value.slice(0, 200) })}</span>
  const waiting = of.outgoing.value.at(-1)
  const last = of.last.value
  if (waiting) return <bdi class="last clip">{t("youPrefix", { text: lineOf(waiting.content) })}</bdi>
  if (!last) return <span class="last clip">{"\u00A0"}</span>
  const line = lineOf(last.content)
  if (last.mine && of.kind !== "notes") return <bdi class="last clip">{t("youPrefix", { text: isolated(line) })}</bdi>
  return <bdi class="last clip">{of.kind === "room" ? t("saidBy", { name: isolated(last.sender), text: isolated(line) }) : line}</bdi>
}

function Self(): VNode {
  const { world, dialog } = useApp()
  const state = world.connection.value
  return (
    <footer class="self">
      <Face name={world.self} presence={state === "open" ? "online" : "offline"} />
      <div class="grow">
        <div class="name clip"><bdi>{world.self}</bdi></div>
        <div class="state" role="status">{t(state === "open" ? "connected" : "reconnecting")}</div>
      </div>
      <button class="icon" aria-label={t("settings")} title={t("settings")} onClick={() => (dialog.value = "settings")}>
        <Icon name="gear" />
      </button>
    </footer>
  )
}
