/** The open conversation in the address of the page, so that reload, back and a bookmark do what one expects. */

import { effect } from "@preact/signals"
import type { World } from "./model/world"

/** Follows both ways until the returned function is called. */
export function followAddress(world: World): () => void {
  const read = () => {
    const key = keyIn(location.hash)
    if (key === (world.selected.value?.key ?? null)) return
    world.select(key ? (world.all.value.get(key) ?? null) : null)
  }
  let loaded = false
  const stop = effect(() => {
    const selected = world.selected.value
    if (!world.loaded.value) return
    const first = !loaded
    loaded = true
    // Somebody quick has chosen already: then the address follows, and does not lead.
    if (first && !selected) return queueMicrotask(read)
    const wanted = selected ? `#/${encodeURIComponent(selected.key)}` : ""
    if (location.hash === wanted) return
    const url = `${location.pathname}${location.search}${wanted}`
    // Between conversations nothing is gone back to; from one, "back" leads to the list.
    if (location.hash && selected) history.replaceState(null, "", url)
    else history.pushState(null, "", url)
  })
  addEventListener("popstate", read)
  return () => {
    stop()
    removeEventListener("popstate", read)
    history.replaceState(null, "", location.pathname)
  }
}

/** The key of a conversation in the fragment of an address; anybody can write one, so what cannot be decoded is none. */
export function keyIn(hash: string): string | null {
  if (!hash.startsWith("#/")) return null
  try {
    return decodeURIComponent(hash.slice(2)) || null
  } catch {
    return null
  }
}
