/** Telling somebody who looks elsewhere: the title of the page always, the system's notifications when they were asked for. */

import { effect, signal } from "@preact/signals"
import type { Conversation } from "./model/conversation"
import { type Entry, lineOf } from "./model/entry"
import type { World } from "./model/world"
import { preferences } from "./preferences"
import { t } from "./words"

type Permission = "default" | "granted" | "denied"

export const permission = signal<Permission>("Notification" in window ? Notification.permission : "denied")

const FRESH_MS = 60_000

/** Switches notifications on or off. Asks the browser, so it is called from a click and from nowhere else. */
export async function requestNotifications(): Promise<void> {
  if (preferences.notify.value && permission.value === "granted") return void (preferences.notify.value = false)
  if (permission.value === "default") permission.value = await Notification.requestPermission()
  preferences.notify.value = permission.value === "granted"
}

/** Follows a world until the returned function is called. `say` speaks to people who hear the page rather than see it. */
export function announce(world: World, say: (text: string) => void): () => void {
  world.arrived = (conversation, entry) => {
    // What was missed while the page was closed is counted, not announced one by one.
    if (world.me.nowMs - entry.timeMs > FRESH_MS) return
    const looking = document.visibilityState === "visible" && document.hasFocus()
    const line = lineOf(entry.content).slice(0, 200)
    if (!looking) return notify(world, conversation, entry, line)
    if (world.selected.value === conversation) say(t("saidBy", { name: entry.sender, text: line }))
    else say(t("newMessageFrom", { name: conversation.kind === "room" ? conversation.name : entry.sender }))
  }
  const stop = effect(() => {
    const unread = world.unread.value
    const open = world.selected.value
    const name = open ? `${open.name} · ${t("app")}` : t("app")
    document.title = unread ? `(${unread > 99 ? "99+" : unread}) ${name}` : name
    badge(unread > 0)
  })
  return () => {
    stop()
    document.title = t("app")
    badge(false)
  }
}

function notify(world: World, conversation: Conversation, entry: Entry, line: string): void {
  if (!preferences.notify.value || permission.value !== "granted") return
  const title = conversation.kind === "room" ? t("newMessageIn", { name: entry.sender, room: conversation.name }) : entry.sender
  // The same tag in every tab: a message makes one notification, and the newest of a conversation takes the place of the others.
  const shown = new Notification(title, { body: line, tag: `relay ${conversation.key}`, icon: iconHref(false) })
  shown.onclick = () => {
    window.focus()
    world.select(conversation)
    shown.close()
  }
}

const iconHref = (marked: boolean): string => document.querySelector<HTMLLinkElement>("link[rel=icon]")!.dataset[marked ? "marked" : "plain"]!

function badge(marked: boolean): void {
  const link = document.querySelector<HTMLLinkElement>("link[rel=icon]")!
  const href = iconHref(marked)
  if (link.getAttribute("href") !== href) link.setAttribute("href", href)
}
