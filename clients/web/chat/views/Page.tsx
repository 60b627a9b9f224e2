/** The page: the door, or the world behind it; and the keys that work everywhere. */

import { signal, useSignal } from "@preact/signals"
import type { VNode } from "preact"
import { createRef } from "preact"
import { useEffect, useLayoutEffect, useMemo } from "preact/hooks"
import { watchIdle } from "../model/idle"
import type { Session } from "../model/session"
import type { World } from "../model/world"
import { announce } from "../notify"
import { followAddress } from "../address"
import { Pictures } from "../timeline/pictures"
import { t } from "../words"
import { type App, AppContext } from "./app"
import { Dialogs } from "./Dialogs"
import { Logo } from "./icons"
import { shortcuts } from "./shortcuts"
import { Panel } from "./Panel"
import { Side } from "./Side"
import { SignIn } from "./SignIn"
import { Thread } from "./Thread"
import { Viewer } from "./Viewer"

export function Page({ session }: { session: Session }): VNode {
  const world = session.world.value
  if (world === undefined) return <Starting />
  return world ? <Inside session={session} world={world} /> : <SignIn session={session} />
}

const PATIENCE_MS = 4000

function Starting(): VNode {
  const late = useSignal(false)
  useEffect(() => {
    const timer = setTimeout(() => (late.value = true), PATIENCE_MS)
    return () => clearTimeout(timer)
  }, [])
  return (
    <main class="starting" aria-busy="true">
      <Logo size={64} />
      <p role="status">{t(late.value ? "startingLate" : "starting")}</p>
    </main>
  )
}

function makeApp(session: Session, world: World): App {
  const pictures = new Pictures((id) => world.me.files.get(id))
  world.outbox.uploaded = (info, blob) => pictures.know(info, blob)
  return {
    session,
    world,
    pictures,
    dialog: signal(null),
    panel: signal(null),
    viewer: signal(null),
    emoji: signal(false),
    filterField: createRef(),
    writeField: createRef(),
    attach: createRef(),
    jump: { to: () => {} },
  }
}

function Inside({ session, world }: { session: Session; world: World }): VNode {
  const app = useMemo(() => makeApp(session, world), [world])
  const said = useSignal("")
  // Before the page is painted: whoever sees it may press a key.
  useLayoutEffect(() => {
    const stops = [announce(world, (text) => (said.value = text)), followAddress(world), shortcuts(app), watchIdle(world)]
    return () => {
      for (const stop of stops) stop()
      app.pictures.clear()
    }
  }, [world])
  return (
    <AppContext.Provider value={app}>
      <div class="shell" data-pane={world.selected.value ? "thread" : "list"}>
        <Side />
        <Thread />
        <Panel />
      </div>
      <Dialogs />
      <Viewer />
      <div class="toasts" role="status">{world.toasts.value.map((toast) => <div key={toast.id} class="toast">{toast.text}</div>)}</div>
      <div class="unseen" role="log" aria-live="polite">{said.value}</div>
    </AppContext.Provider>
  )
}
