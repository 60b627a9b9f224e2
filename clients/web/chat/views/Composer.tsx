/** Where messages are written: text of several lines, files, emoji. What is begun stays when one looks elsewhere. */

import { type Signal, useSignal } from "@preact/signals"
import type { VNode } from "preact"
import { useEffect, useLayoutEffect } from "preact/hooks"
import type { Conversation } from "../model/conversation"
import { preferences } from "../preferences"
import { plainName } from "../text/markup"
import { fileSize } from "../text/times"
import { isolated, t } from "../words"
import { useApp } from "./app"
import { Emojis } from "./Emojis"
import { Icon } from "./icons"

/** A little under what a MESSAGE may carry (docs/protocol.md section 16). */
const BODY_MAX = 1_040_000

export function Composer({ of, files }: { of: Conversation; files: Signal<File[]> }): VNode {
  const app = useApp()
  const { world, writeField: field, attach, emoji } = app
  const draft = of.draft
  useLayoutEffect(() => {
    if (matchMedia("(hover: hover)").matches) field.current?.focus()
  }, [of])
  useLayoutEffect(() => grow(field.current))
  if (!of.canWrite) return <Closed of={of} />

  const write = (text: string) => {
    world.setDraft(of, text)
    if (text.trim()) world.typing(of)
  }
  const send = () => {
    const text = draft.value.replace(/\s+$/u, "")
    const size = new TextEncoder().encode(text).length
    if (size > BODY_MAX) return world.tell(t("tooLong", { size: fileSize(size), max: fileSize(BODY_MAX) }))
    if (text.trim()) world.outbox.send(of, text)
    for (const file of files.value) world.outbox.sendFile(of, file)
    files.value = []
    world.setDraft(of, "")
    world.stoppedTyping(of)
    field.current?.focus()
  }
  const onKey = (event: KeyboardEvent) => {
    // While an input method composes, Enter chooses a word.
    if (event.isComposing || event.keyCode === 229 || event.key !== "Enter") return
    const sends = event.ctrlKey || event.metaKey || (preferences.enterSends.value && !event.shiftKey && !event.altKey)
    if (!sends) return
    event.preventDefault()
    send()
  }
  const onPaste = (event: ClipboardEvent) => {
    const pasted = [...(event.clipboardData?.files ?? [])]
    if (!pasted.length) return
    event.preventDefault()
    files.value = [...files.value, ...pasted]
  }
  const insert = (sign: string) => {
    const area = field.current!
    area.setRangeText(sign, area.selectionStart, area.selectionEnd, "end")
    write(area.value)
  }
  const empty = !draft.value.trim() && files.value.length === 0
  return (
    <div class="composer">
      {emoji.value && <Emojis choose={insert} close={() => ((emoji.value = false), field.current?.focus())} />}
      <div class="box">
        {files.value.length > 0 && <Tray files={files} />}
        <input ref={attach} type="file" multiple hidden tabIndex={-1} aria-label={t("attach")} onChange={(event) => {
          files.value = [...files.value, ...(event.currentTarget.files ?? [])]
          event.currentTarget.value = ""
          field.current?.focus()
        }} />
        <button class="icon" aria-label={t("attach")} title={t("attach")} onClick={() => attach.current!.click()}><Icon name="clip" /></button>
        <textarea ref={field} rows={1} dir="auto" value={draft.value} placeholder={t("writeTo", { name: isolated(of.name) })}
          aria-label={t("writeTo", { name: of.name })} enterkeyhint={preferences.enterSends.value ? "send" : "enter"}
          onInput={(event) => write(event.currentTarget.value)} onKeyDown={onKey} onPaste={onPaste} />
        <button class="icon" aria-label={t("emoji")} title={t("emoji")} aria-expanded={emoji.value} data-emoji onClick={() => (emoji.value = !emoji.value)}>
          <Icon name="smile" />
        </button>
        <button class="send" aria-label={t("send")} title={t("send")} disabled={empty} onPointerDown={(event) => event.preventDefault()} onClick={send}>
          <Icon name="send" />
        </button>
      </div>
    </div>
  )
}

/** Browsers that cannot size a field by its content are told how high it is. */
function grow(area: HTMLTextAreaElement | null): void {
  if (!area || CSS.supports("field-sizing", "content")) return
  area.style.height = "auto"
  area.style.height = `${area.scrollHeight}px`
}

function Tray({ files }: { files: Signal<File[]> }): VNode {
  const { writeField } = useApp()
  return (
    <ul class="tray">
      {files.value.map((file) => (
        <li key={`${file.name} ${file.size} ${file.lastModified}`}>
          <Thumb file={file} />
          <span class="about">
            <bdi class="clip" style={{ display: "block" }}>{plainName(file.name)}</bdi>
            <span class="size">{fileSize(file.size)}</span>
          </span>
          <button class="icon" aria-label={t("removeFile", { name: plainName(file.name) })} onClick={() => {
            files.value = files.value.filter((other) => other !== file)
            writeField.current?.focus()
          }}><Icon name="close" size={16} /></button>
        </li>
      ))}
    </ul>
  )
}

function Thumb({ file }: { file: File }): VNode {
  const url = useSignal("")
  useEffect(() => {
    if (!/^image\/(png|jpeg|gif|webp|avif)$/.test(file.type)) return
    url.value = URL.createObjectURL(file)
    return () => URL.revokeObjectURL(url.peek())
  }, [file])
  return url.value ? <img src={url.value} alt="" /> : <span class="sheet"><Icon name="file" /></span>
}

function Closed({ of }: { of: Conversation }): VNode {
  const { world } = useApp()
  const invited = of.role.value === "invited"
  return (
    <div class="composer">
      <div class="closed">
        {t(invited ? "invited" : "notMember")}
        <div class="actions">
          <button class="button primary small" onClick={() => void world.join(of.address)}>{t(invited ? "accept" : "join")}</button>
          {invited && <button class="button small" onClick={() => void world.leave(of)}>{t("decline")}</button>}
        </div>
      </div>
    </div>
  )
}
