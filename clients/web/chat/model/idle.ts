/** Tells the relay that nobody is here when no tab of this browser was touched for a while. */

import { safely } from "../preferences"
import type { World } from "./world"

const AWAY_AFTER_MS = 5 * 60_000
const LOOK_EVERY_MS = 30_000
/** All tabs share it: one that is looked at keeps the others from saying that nobody is. */
const TOUCHED = "relay.touched"

/** Until the returned function is called. */
export function watchIdle(world: World): () => void {
  let state: "online" | "away" = "online"
  let touched = 0
  const say = (next: "online" | "away") => {
    if (state === next) return
    state = next
    world.me.presence.set(next).catch(() => {})
  }
  const touch = () => {
    const now = Date.now()
    if (now - touched < 1000) return
    touched = now
    safely(() => localStorage.setItem(TOUCHED, String(now)))
    say("online")
  }
  const look = () => {
    const last = Math.max(touched, Number(safely(() => localStorage.getItem(TOUCHED))) || 0)
    say(Date.now() - last > AWAY_AFTER_MS ? "away" : "online")
  }
  const gone = new AbortController()
  for (const name of ["keydown", "pointermove", "pointerdown", "wheel", "focus"]) {
    addEventListener(name, touch, { passive: true, signal: gone.signal })
  }
  const timer = setInterval(look, LOOK_EVERY_MS)
  touch()
  return () => {
    gone.abort()
    clearInterval(timer)
  }
}
