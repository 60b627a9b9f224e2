/** What opens above the page: a new conversation, settings, shortcuts. */

import { useComputed, useSignal } from "@preact/signals"
import type { ComponentChildren, VNode } from "preact"
import { useEffect, useLayoutEffect, useRef } from "preact/hooks"
import type { RoomInfo } from "../model/world"
import { permission, requestNotifications } from "../notify"
import { preferences } from "../preferences"
import { LANGUAGES, type Language, language, t, type Word } from "../words"
import { useApp } from "./app"
import { Face } from "./face"
import { Icon } from "./icons"
import { isMac, startable } from "./Side"

export function Dialogs(): VNode | null {
  const { dialog } = useApp()
  if (dialog.value === "new") return <NewConversation />
  if (dialog.value === "settings") return <Settings />
  if (dialog.value === "shortcuts") return <Shortcuts />
  return null
}

function Frame({ title, children }: { title: string; children: ComponentChildren }): VNode {
  const { dialog } = useApp()
  const frame = useRef<HTMLDialogElement>(null)
  useLayoutEffect(() => {
    const before = document.activeElement as HTMLElement | null
    frame.current!.showModal()
    return () => before?.isConnected && before.focus()
  }, [])
  // The browser tells of Escape a moment later, when another dialog may have been asked for already.
  const mine = useRef(dialog.value).current
  const close = () => {
    if (dialog.value === mine) dialog.value = null
  }
  return (
    <dialog ref={frame} aria-label={title} onClose={close} onClick={(event) => event.target === frame.current && close()}>
      <header>
        <h2>{title}</h2>
        <button class="icon" aria-label={t("close")} onClick={close}><Icon name="close" /></button>
      </header>
      <div class="body scroll">{children}</div>
    </dialog>
  )
}

/** A choice of one among a few, as a row of buttons. */
function Choices<T extends string>(props: { label: string; options: [T, string][]; value: T; choose: (value: T) => void }): VNode {
  const move = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key]
    if (!step) return
    event.preventDefault()
    const at = props.options.findIndex(([value]) => value === props.value)
    const next = (at + step + props.options.length) % props.options.length
    props.choose(props.options[next]![0])
    const buttons = (event.currentTarget as HTMLElement).querySelectorAll("button")
    buttons[next]!.focus()
  }
  return (
    <div class="tabs" role="radiogroup" aria-label={props.label} onKeyDown={move}>
      {props.options.map(([value, text]) => (
        <button key={value} type="button" role="radio" aria-checked={value === props.value} tabIndex={value === props.value ? 0 : -1}
          onClick={() => props.choose(value)}>{text}</button>
      ))}
    </div>
  )
}

function NewConversation(): VNode {
  const what = useSignal<"person" | "join" | "create">("person")
  // Only when the dialog opens: later the focus stays on the choice, so that arrows can go on.
  useLayoutEffect(() => document.querySelector<HTMLElement>("#person")!.focus(), [])
  const options: ["person" | "join" | "create", string][] = [["person", t("person")], ["join", t("joinRoom")], ["create", t("createRoom")]]
  return (
    <Frame title={t("newConversation")}>
      <Choices label={t("newConversation")} options={options} value={what.value} choose={(value) => (what.value = value)} />
      {what.value === "person" ? <Person /> : what.value === "join" ? <Join /> : <Create />}
    </Frame>
  )
}

function Person(): VNode {
  const { world, dialog } = useApp()
  const name = useSignal("")
  const submit = (event: Event) => {
    event.preventDefault()
    if (!startable(name.value)) return
    dialog.value = null
    world.select(world.direct(name.value.trim().toLowerCase()))
  }
  return (
    <form onSubmit={submit}>
      <div class="field">
        <label for="person">{t("userName")}</label>
        <input id="person" class="input" value={name.value} maxLength={64} autocapitalize="none" spellcheck={false} autocomplete="off"
          aria-describedby="person-hint" onInput={(event) => (name.value = event.currentTarget.value)} />
        <span id="person-hint" class="hint">{t("writeTheName")}</span>
      </div>
      <div class="actions"><button class="button primary" disabled={!startable(name.value)}>{t("open")}</button></div>
    </form>
  )
}

function Join(): VNode {
  const { world, dialog } = useApp()
  const name = useSignal("")
  const rooms = useSignal<RoomInfo[] | null>(null)
  useEffect(() => void world.publicRooms().then((found) => (rooms.value = found)), [])
  const join = async (room: string) => {
    const joined = await world.join(room)
    if (!joined) return
    dialog.value = null
    world.select(joined)
  }
  const submit = (event: Event) => {
    event.preventDefault()
    if (startable(plainRoom(name.value))) void join(`#${plainRoom(name.value)}`)
  }
  const others = (rooms.value ?? []).filter((room) => room.role === null || room.role === "invited")
  return (
    <>
      <form class="inline" onSubmit={submit}>
        <div class="field">
          <label for="room">{t("roomName")}</label>
          <div style={{ display: "flex", gap: "8px" }}>
            <input id="room" class="input" value={name.value} maxLength={65} autocapitalize="none" spellcheck={false} autocomplete="off"
              placeholder="#" onInput={(event) => (name.value = event.currentTarget.value)} />
            <button class="button primary" disabled={!startable(plainRoom(name.value))}>{t("join")}</button>
          </div>
        </div>
      </form>
      <div class="setting">
        <span class="label">{t("publicRooms")}</span>
        {rooms.value && others.length === 0 && <span class="hint">{t("noRooms")}</span>}
        <ul class="rooms">
          {others.map((room) => (
            <li key={room.room}>
              <Face name={room.room} room />
              <span class="about">
                <bdi class="name clip" style={{ display: "block" }}>{room.title || room.room}</bdi>
                <span class="hint"><bdi>{room.room}</bdi> · {t("members", { n: room.members })}</span>
              </span>
              <button class="button small" aria-label={`${t("join")} ${room.room}`} onClick={() => void join(room.room)}>{t("join")}</button>
            </li>
          ))}
        </ul>
      </div>
    </>
  )
}

const plainRoom = (text: string): string => text.trim().replace(/^#/, "").toLowerCase()

function Create(): VNode {
  const { world, dialog } = useApp()
  const name = useSignal("")
  const title = useSignal("")
  const isPublic = useSignal(true)
  const submit = async (event: Event) => {
    event.preventDefault()
    if (!startable(plainRoom(name.value))) return
    const made = await world.create(`#${plainRoom(name.value)}`, title.value.trim(), isPublic.value)
    if (!made) return
    dialog.value = null
    world.select(made)
  }
  return (
    <form onSubmit={submit}>
      <div class="field">
        <label for="new-room">{t("roomName")}</label>
        <input id="new-room" class="input" value={name.value} maxLength={65} autocapitalize="none" spellcheck={false} autocomplete="off"
          aria-describedby="room-hint" onInput={(event) => (name.value = event.currentTarget.value)} />
        <span id="room-hint" class="hint">{t("roomNameHint")}</span>
      </div>
      <div class="field">
        <label for="room-title">{t("roomTitle")} <span class="optional">({t("optional")})</span></label>
        <input id="room-title" class="input" value={title.value} maxLength={80} dir="auto" autocomplete="off"
          onInput={(event) => (title.value = event.currentTarget.value)} />
      </div>
      <label class="choice">
        <input type="radio" name="public" checked={isPublic.value} onChange={() => (isPublic.value = true)} /><span>{t("publicRoom")}</span>
      </label>
      <label class="choice">
        <input type="radio" name="public" checked={!isPublic.value} onChange={() => (isPublic.value = false)} /><span>{t("privateRoom")}</span>
      </label>
      <div class="actions"><button class="button primary" disabled={!startable(plainRoom(name.value))}>{t("create")}</button></div>
    </form>
  )
}

function Switch({ label, hint, on, flip }: { label: string; hint?: string | undefined; on: boolean; flip: () => void }): VNode {
  return (
    <button type="button" class="switch" role="switch" aria-checked={on} onClick={flip}>
      <span><span class="label">{label}</span>{hint && <span class="hint" style={{ display: "block" }}>{hint}</span>}</span>
      <i />
    </button>
  )
}

function Settings(): VNode {
  const { session, dialog } = useApp()
  const denied = useComputed(() => permission.value === "denied")
  const theme = preferences.theme.value ?? "system"
  const themes: ["system" | "light" | "dark", string][] = [["system", t("system")], ["light", t("light")], ["dark", t("dark")]]
  return (
    <Frame title={t("settings")}>
      <div class="setting">
        <span class="label">{t("appearance")}</span>
        <Choices label={t("appearance")} options={themes} value={theme}
          choose={(value) => (preferences.theme.value = value === "system" ? null : value)} />
      </div>
      <div class="setting">
        <span class="label">{t("languageName")}</span>
        <Choices label={t("languageName")} options={Object.entries(LANGUAGES) as [Language, string][]} value={language.value}
          choose={(value) => (preferences.language.value = value)} />
      </div>
      <Switch label={t("notifications")} hint={denied.value ? t("notificationsDenied") : undefined}
        on={preferences.notify.value && permission.value === "granted"} flip={() => void requestNotifications()} />
      <Switch label={t("enterSends")} hint={t("enterSendsLead")} on={preferences.enterSends.value}
        flip={() => (preferences.enterSends.value = !preferences.enterSends.value)} />
      <div class="actions" style={{ justifyContent: "space-between" }}>
        <button class="button plain" onClick={() => (dialog.value = "shortcuts")}><Icon name="keyboard" size={18} />{t("shortcuts")}</button>
        <button class="button danger" onClick={() => void session.signOut()}><Icon name="exit" size={18} />{t("signOut")}</button>
      </div>
    </Frame>
  )
}

const mod = isMac ? "⌘" : "Ctrl"
const SHORTCUTS: [Word, string[]][] = [
  ["keyJump", [mod, "K"]],
  ["keyNext", ["Alt", "↓"]],
  ["keyPrevious", ["Alt", "↑"]],
  ["keyUnread", ["Alt", "Shift", "↓"]],
  ["keyFind", [mod, "F"]],
  ["keyNew", ["Alt", "N"]],
  ["keyEmoji", ["Alt", "E"]],
  ["keyAttach", ["Alt", "A"]],
  ["keySend", ["Enter"]],
  ["keyLine", ["Shift", "Enter"]],
  ["keyHistory", ["↑", "↓"]],
  ["keyEnds", ["Home", "End"]],
  ["keyEscape", ["Esc"]],
  ["keyHelp", [mod, "/"]],
]

function Shortcuts(): VNode {
  return (
    <Frame title={t("shortcuts")}>
      <div class="shortcuts">
        {SHORTCUTS.map(([word, keys]) => (
          <div key={word}><span>{t(word)}</span><span class="keys">{keys.map((key) => <kbd key={key}>{key}</kbd>)}</span></div>
        ))}
      </div>
    </Frame>
  )
}
