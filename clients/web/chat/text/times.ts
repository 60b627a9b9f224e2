/** Dates as people say them, in the language of the page. Formatters are made once: they are the slow part. */

import { effect, signal } from "@preact/signals"
import { language, t } from "../words"

let clock: Intl.DateTimeFormat, weekday: Intl.DateTimeFormat, near: Intl.DateTimeFormat
let far: Intl.DateTimeFormat, short: Intl.DateTimeFormat, full: Intl.DateTimeFormat

effect(() => {
  const locale = language.value === "zh" ? "zh-CN" : navigator.languages.find((tag) => tag.startsWith("en")) ?? "en"
  clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit" })
  // The room that the time takes at the end of a message: see styles/thread.css.
  document.documentElement.style.setProperty("--clock", clock.resolvedOptions().hour12 ? "56px" : "36px")
  weekday = new Intl.DateTimeFormat(locale, { weekday: "long" })
  near = new Intl.DateTimeFormat(locale, { weekday: "long", day: "numeric", month: "long" })
  far = new Intl.DateTimeFormat(locale, { day: "numeric", month: "long", year: "numeric" })
  short = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short" })
  full = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "medium" })
})

/** Counts up at midnight, so that what says "Today" is drawn again. */
export const today = signal(dayOf(Date.now()))
setInterval(() => (today.value = dayOf(Date.now())), 30_000)

/** Days since 1970 in local time: two messages with the same number belong under the same separator. */
export function dayOf(timeMs: number): number {
  const date = new Date(timeMs)
  return Math.floor((timeMs - date.getTimezoneOffset() * 60_000) / 86_400_000)
}

export const clockTime = (timeMs: number): string => clock.format(timeMs)
export const fullTime = (timeMs: number): string => full.format(timeMs)

export function dayName(timeMs: number): string {
  const ago = today.value - dayOf(timeMs)
  if (ago === 0) return t("today")
  if (ago === 1) return t("yesterday")
  if (ago > 1 && ago < 7) return weekday.format(timeMs)
  return (ago > 0 && ago < 300 ? near : far).format(timeMs)
}

/** For the list of conversations: a time today, a day before. */
export function listTime(timeMs: number): string {
  const ago = today.value - dayOf(timeMs)
  if (ago <= 0) return clock.format(timeMs)
  if (ago === 1) return t("yesterday")
  return ago < 7 ? weekday.format(timeMs) : short.format(timeMs)
}

const UNITS = ["B", "KB", "MB", "GB", "TB"]

export function fileSize(bytes: number): string {
  let unit = 0
  let size = bytes
  while (size >= 1000 && unit < UNITS.length - 1) {
    size /= 1000
    unit += 1
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${UNITS[unit]}`
}
