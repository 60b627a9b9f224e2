/** What somebody chose for this browser: looks, language, notifications. Kept in localStorage, the same in every tab. */

import { effect, type Signal, signal } from "@preact/signals"

type Choice = string | boolean | null

/** A setting that survives reloads; `allowed` keeps out what an older page, or a person, left in storage. */
function setting<T extends Choice>(name: string, initial: T, allowed: readonly T[]): Signal<T> {
  const key = `relay.${name}`
  const read = (raw: string | null): T => allowed.find((value) => JSON.stringify(value) === raw) ?? initial
  const value = signal(read(safely(() => localStorage.getItem(key))))
  effect(() => {
    const raw = JSON.stringify(value.value)
    if (safely(() => localStorage.getItem(key)) !== raw) safely(() => localStorage.setItem(key, raw))
  })
  addEventListener("storage", (event) => {
    if (event.key === key) value.value = read(event.newValue)
  })
  return value
}

/** Storage may be forbidden altogether (private windows of some browsers): then choices last as long as the page. */
export function safely<T>(access: () => T): T | null {
  try {
    return access()
  } catch {
    return null
  }
}

export const preferences = {
  theme: setting<"light" | "dark" | null>("theme", null, ["light", "dark", null]),
  language: setting<"en" | "zh" | null>("language", null, ["en", "zh", null]),
  notify: setting<boolean>("notify", false, [true, false]),
  enterSends: setting<boolean>("enterSends", !matchMedia("(pointer: coarse)").matches, [true, false]),
}

effect(() => {
  const theme = preferences.theme.value
  if (theme) document.documentElement.dataset["theme"] = theme
  else delete document.documentElement.dataset["theme"]
})
