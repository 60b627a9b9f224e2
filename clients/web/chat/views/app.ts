/** What every view may reach: the world, which dialog or panel is open, and the fields that shortcuts jump to. */

import type { Signal } from "@preact/signals"
import { createContext, type RefObject } from "preact"
import { useContext } from "preact/hooks"
import type { FileInfo } from "../model/entry"
import type { Session } from "../model/session"
import type { World } from "../model/world"
import type { Pictures } from "../timeline/pictures"

export type Dialog = "new" | "settings" | "shortcuts" | null
export type Panel = "details" | "search" | null

export interface App {
  session: Session
  world: World
  pictures: Pictures
  dialog: Signal<Dialog>
  panel: Signal<Panel>
  viewer: Signal<FileInfo | null>
  emoji: Signal<boolean>
  filterField: RefObject<HTMLInputElement | null>
  writeField: RefObject<HTMLTextAreaElement | null>
  attach: RefObject<HTMLInputElement | null>
  /** Shows a message of the open conversation; set by the thread. */
  jump: { to: (offset: number) => void }
}

export const AppContext = createContext<App | null>(null)

export function useApp(): App {
  return useContext(AppContext)!
}
