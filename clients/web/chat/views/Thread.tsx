/** The open conversation: its head, its messages, and the field to write in. */

import { useSignal, useSignalEffect } from "@preact/signals"
import type { VNode } from "preact"
import { useEffect, useRef } from "preact/hooks"
import { type Conversation, typingSentence } from "../model/conversation"
import type { FileInfo } from "../model/entry"
import { Feed } from "../timeline/feed"
import { isPicture } from "../timeline/pictures"
import { clockTime, dayName } from "../text/times"
import { isolated, t } from "../words"
import { useApp } from "./app"
import { Composer } from "./Composer"
import { ConversationFace } from "./face"
import { fetchFile } from "./files"
import { Icon, Logo } from "./icons"
import { isMac } from "./Side"

export function Thread(): VNode {
  const { world } = useApp()
  const open = world.selected.value
  if (!open) return <Nothing />
  return <Open key={open.key} of={open} />
}

function Nothing(): VNode {
  return (
    <main class="thread">
      <div class="void">
        <Logo size={56} />
        <h2>{t("pickTitle")}</h2>
        <p>{t("pickLead", { keys: isMac ? "⌘K" : "Ctrl+K" })}</p>
      </div>
    </main>
  )
}

function Open({ of }: { of: Conversation }): VNode {
  const app = useApp()
  const dragging = useSignal(false)
  const files = useSignal<File[]>([])
  const over = useRef(0)
  const drag = (event: DragEvent) => {
    if (!of.canWrite || !event.dataTransfer?.types.includes("Files")) return
    event.preventDefault()
    if (event.type === "dragenter") over.current += 1
    if (event.type === "dragleave") over.current -= 1
    if (event.type === "drop") {
      over.current = 0
      files.value = [...files.value, ...event.dataTransfer.files]
      app.writeField.current?.focus()
    }
    dragging.value = over.current > 0
  }
  return (
    <main class="thread" aria-label={of.name} onDragEnter={drag} onDragOver={drag} onDragLeave={drag} onDrop={drag}>
      <Head of={of} />
      <Strip />
      <Messages of={of} />
      <Composer of={of} files={files} />
      {dragging.value && <div class="drop"><Icon name="file" size={36} />{t("dropHere", { name: isolated(of.name) })}</div>}
      <span class="unseen" role="status">{typingSentence(of.typing.value)}</span>
    </main>
  )
}

function Head({ of }: { of: Conversation }): VNode {
  const { world, panel } = useApp()
  const toggle = (name: "details" | "search") => (panel.value = panel.value === name ? null : name)
  const seen = world.presence.value.get(of.address)
  return (
    <header class="bar">
      <button class="icon only-phone" aria-label={t("back")} onClick={() => history.back()}><Icon name="back" /></button>
      <h2 class="grow">
        <button class="who" title={t("details")} aria-expanded={panel.value === "details"} onClick={() => toggle("details")}>
          <ConversationFace of={of} presence={seen?.state} />
          <span class="clip">
            <bdi class="name clip">{of.name}</bdi>
            <About of={of} />
          </span>
        </button>
      </h2>
      <button class="icon" aria-label={t("search")} title={t("search")} aria-pressed={panel.value === "search"} onClick={() => toggle("search")}>
        <Icon name="search" />
      </button>
      <button class="icon" aria-label={t("details")} title={t("details")} aria-pressed={panel.value === "details"} onClick={() => toggle("details")}>
        <Icon name="info" />
      </button>
    </header>
  )
}

function About({ of }: { of: Conversation }): VNode {
  const { world } = useApp()
  if (of.typing.value.length) return <span class="about typing"><span class="typing-dots" aria-hidden="true"><i /><i /><i /></span>{typingSentence(of.typing.value)}</span>
  if (of.kind === "room") return <span class="about">{t("members", { n: of.memberCount.value })}</span>
  if (of.kind === "notes") return <span class="about"><bdi>{of.address}</bdi></span>
  const seen = world.presence.value.get(of.address)
  if (!seen) return <span class="about">{"\u00A0"}</span>
  if (seen.state !== "offline" || !seen.seenMs) return <span class="about">{t(seen.state)}</span>
  return <span class="about">{t("lastSeen", { when: `${dayName(seen.seenMs)}, ${clockTime(seen.seenMs)}` })}</span>
}

/** What the connection does, when it does not do what it should. */
function Strip(): VNode | null {
  const { world } = useApp()
  const late = useSignal(false)
  // A cut of less than a second is nobody's business.
  useSignalEffect(() => {
    if (world.connection.value === "open") return void (late.value = false)
    const timer = setTimeout(() => (late.value = true), 800)
    return () => clearTimeout(timer)
  })
  if (!late.value) return null
  return (
    <div class="strip" role="status">
      <span class="spin" />
      <span>{t("offlineNow")}</span>
      <button class="button small" onClick={() => world.me.hurry()}>{t("tryNow")}</button>
    </div>
  )
}

function Messages({ of }: { of: Conversation }): VNode {
  const app = useApp()
  const scroller = useRef<HTMLDivElement>(null)
  const below = useSignal(0)
  const away = useSignal(false)
  const day = useSignal("")
  const feed = useRef<Feed | null>(null)
  const openFile = (file: FileInfo) => {
    if (isPicture(file) && file.id) app.viewer.value = file
    else if (file.id) void fetchFile(app, file)
    else app.world.tell(t("fileGone"))
  }
  useEffect(() => {
    const made = new Feed(scroller.current!, of, app.world, app.pictures, {
      openFile,
      place: (unseen, atEnd) => {
        below.value = unseen
        away.value = !atEnd
      },
      day: (name) => (day.value = name),
    })
    feed.current = made
    app.jump.to = (offset) => made.jump(offset)
    return () => made.close()
  }, [of])
  return (
    <>
      <div class={`float${day.value ? " shown" : ""}`} aria-hidden="true"><span>{day.value || "\u00A0"}</span></div>
      <div ref={scroller} class={`messages ${of.kind}`} role="feed" tabIndex={0} aria-label={t("messages", { name: of.name })} />
      <div class="anchor">
        {away.value && (
          <button class={`latest${below.value ? " news-below" : ""}`} aria-label={below.value ? t("newBelow", { n: below.value }) : t("toLatest")}
            onClick={() => feed.current!.toEnd()}>
            <Icon name="down" />
            {below.value > 0 && <span>{below.value > 99 ? "99+" : below.value}</span>}
          </button>
        )}
      </div>
    </>
  )
}
