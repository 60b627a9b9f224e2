/** Keys that work everywhere on the page. What they are is listed in Dialogs.tsx, for people. */

import type { App } from "./app"

/** Listens until the returned function is called. */
export function shortcuts(app: App): () => void {
  const { world, dialog, panel, emoji } = app
  const step = (by: number, unreadOnly: boolean) => {
    const list = unreadOnly ? world.sorted.value.filter((it) => it.unread.value || it === world.selected.value) : world.sorted.value
    const at = world.selected.value ? list.indexOf(world.selected.value) : by > 0 ? -1 : 0
    const next = list[(at + by + list.length) % list.length]
    if (next) world.select(next)
  }
  const escape = () => {
    if (emoji.value) emoji.value = false
    else if (panel.value) panel.value = null
    app.writeField.current?.focus()
  }
  const act = (event: KeyboardEvent): boolean => {
    const mod = event.ctrlKey || event.metaKey
    const key = event.key.toLowerCase()
    if (mod && !event.altKey && key === "k") return app.filterField.current?.focus(), true
    if (mod && !event.altKey && key === "/") return (dialog.value = "shortcuts"), true
    if (mod && !event.altKey && key === "f" && world.selected.value) return (panel.value = "search"), true
    if (mod) return false
    if (event.altKey && key === "arrowdown") return step(1, event.shiftKey), true
    if (event.altKey && key === "arrowup") return step(-1, event.shiftKey), true
    // By the place of the key: with Alt some keyboards make other letters.
    if (event.altKey && event.code === "KeyN") return (dialog.value = "new"), true
    if (event.altKey && event.code === "KeyE" && world.selected.value) return (emoji.value = !emoji.value), true
    if (event.altKey && event.code === "KeyA" && world.selected.value) return app.attach.current?.click(), true
    if (event.key === "Escape") return escape(), true
    return false
  }
  const listen = (event: KeyboardEvent) => {
    if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return
    if (act(event)) event.preventDefault()
    else write(app, event)
  }
  document.addEventListener("keydown", listen)
  return () => document.removeEventListener("keydown", listen)
}

/** Somebody who types while nothing is focused means the message. */
function write(app: App, event: KeyboardEvent): void {
  if (event.key.length !== 1 || event.ctrlKey || event.metaKey || event.altKey || event.key === " ") return
  const at = document.activeElement
  if (at === document.body || at?.closest(".messages")) app.writeField.current?.focus()
}
