/** The panel beside a conversation: who it is, or what was said in it. */

import { useSignal } from "@preact/signals"
import type { VNode } from "preact"
import { useEffect, useLayoutEffect, useRef } from "preact/hooks"
import type { Conversation, Member, Role } from "../model/conversation"
import type { SharedFile } from "../model/world"
import { isPicture } from "../timeline/pictures"
import { plainName } from "../text/markup"
import { clockTime, dayName, fileSize, listTime } from "../text/times"
import { isolated, t, type Word } from "../words"
import { useApp } from "./app"
import { confirm } from "./confirm"
import { ConversationFace, Face } from "./face"
import { fetchFile } from "./files"
import { Icon } from "./icons"
import { Search } from "./Search"
import { startable } from "./Side"

export function Panel(): VNode | null {
  const { world, panel } = useApp()
  const open = world.selected.value
  if (!open || !panel.value) return null
  return panel.value === "search" ? <Search key={open.key} of={open} /> : <Details key={open.key} of={open} />
}

function Details({ of }: { of: Conversation }): VNode {
  const { world, panel } = useApp()
  const close = useRef<HTMLButtonElement>(null)
  useLayoutEffect(() => close.current!.focus(), [])
  const seen = world.presence.value.get(of.address)
  return (
    <aside class="panel" aria-label={t("details")}>
      <header class="bar">
        <h2 class="grow">{t("details")}</h2>
        <button ref={close} class="icon" aria-label={t("close")} onClick={() => (panel.value = null)}><Icon name="close" /></button>
      </header>
      <div class="body scroll">
        <div class="hero">
          <ConversationFace of={of} />
          <h3><bdi>{of.name}</bdi></h3>
          {of.kind === "room" && of.title.value && <p><bdi>{of.address}</bdi></p>}
          {of.kind === "room" && <p>{t(of.isPublic.value ? "isPublic" : "isPrivate")}</p>}
          {of.kind === "direct" && seen && (
            <p>{seen.state === "offline" && seen.seenMs ? t("lastSeen", { when: `${dayName(seen.seenMs)}, ${clockTime(seen.seenMs)}` }) : t(seen.state)}</p>
          )}
        </div>
        {of.kind === "room" && <Room of={of} />}
        <Files of={of} />
        {of.kind === "direct" && <Block of={of} />}
        {of.canWrite && of.kind === "room" && <Leave of={of} />}
      </div>
    </aside>
  )
}

function Room({ of }: { of: Conversation }): VNode {
  const mayInvite = of.canWrite && (of.isPublic.value || of.role.value !== "member")
  return (
    <>
      {mayInvite && <Invite of={of} />}
      <h4>{t("members", { n: of.memberCount.value })}</h4>
      <ul>
        {(of.members.value ?? []).map((member) => <li key={member.user}><Person of={of} member={member} /></li>)}
      </ul>
    </>
  )
}

function Leave({ of }: { of: Conversation }): VNode {
  const { world } = useApp()
  const leave = async () => {
    if (await confirm(t("leaveSure", { name: isolated(of.name) }), t("leave"))) await world.leave(of)
  }
  return <button class="button danger last" onClick={() => void leave()}><Icon name="exit" size={18} />{t("leave")}</button>
}

function Block({ of }: { of: Conversation }): VNode {
  const { world } = useApp()
  const name = isolated(of.address)
  const blocked = world.blocked.value.has(of.address)
  const flip = async () => {
    if (blocked || (await confirm(t("blockSure", { name }), t("block", { name })))) await world.block(of.address, !blocked)
  }
  return (
    <>
      {blocked && <p class="wrong">{t("blocked", { name })}</p>}
      <button class={`button last${blocked ? "" : " danger"}`} onClick={() => void flip()}>{t(blocked ? "unblock" : "block", { name })}</button>
    </>
  )
}

function Files({ of }: { of: Conversation }): VNode {
  const app = useApp()
  const files = useSignal<SharedFile[]>([])
  const last = of.last.value
  // Again with each message: it may be a file.
  useEffect(() => void app.world.files(of).then((found) => (files.value = found), () => {}), [of, last?.content.kind === "file" && last.offset])
  const open = (file: SharedFile) => (isPicture(file) ? (app.viewer.value = file) : void fetchFile(app, file))
  return (
    <>
      <h4>{t("files")}</h4>
      {files.value.length === 0 && <p class="hint nothing">{t("noFiles")}</p>}
      <ul>
        {files.value.map((file) => {
          const [name, size] = [plainName(file.name), fileSize(file.size)]
          return (
            <li key={file.id}>
              <button class="shared" aria-label={t("fileFrom", { name, size, from: file.from })} onClick={() => open(file)}>
                <span class="sheet"><Icon name={isPicture(file) ? "image" : "file"} /></span>
                <span class="about">
                  <bdi class="clip">{name}</bdi>
                  <span class="hint clip">{size} · <bdi>{file.from}</bdi> · {listTime(file.time_ms)}</span>
                </span>
              </button>
            </li>
          )
        })}
      </ul>
    </>
  )
}

function Invite({ of }: { of: Conversation }): VNode {
  const { world } = useApp()
  const name = useSignal("")
  const submit = async (event: Event) => {
    event.preventDefault()
    const user = name.value.trim().toLowerCase()
    if (startable(user) && (await world.invite(of, user))) name.value = ""
  }
  return (
    <form class="inline" onSubmit={submit}>
      <input class="input" placeholder={t("invitePerson")} aria-label={t("invitePerson")} value={name.value} autocapitalize="none" spellcheck={false}
        autocomplete="off" maxLength={64} onInput={(event) => (name.value = event.currentTarget.value)} />
      <button class="button" disabled={!startable(name.value)}>{t("invite")}</button>
    </form>
  )
}

const ROLES: Record<Role, Word> = { owner: "owner", moderator: "moderator", member: "member", invited: "roleInvited" }
const RANK: Record<Role, number> = { owner: 3, moderator: 2, member: 1, invited: 0 }

function Person({ of, member }: { of: Conversation; member: Member }): VNode {
  const { world, panel } = useApp()
  const own = of.role.value ?? "invited"
  const mayRemove = member.user !== world.self && RANK[own] >= 2 && RANK[own] > RANK[member.role]
  const remove = async () => {
    const sentence = t("removeSure", { name: isolated(member.user), room: isolated(of.name) })
    if (await confirm(sentence, t("remove", { name: isolated(member.user) }))) await world.remove(of, member.user)
  }
  const talk = () => {
    world.select(world.direct(member.user))
    panel.value = null
  }
  return (
    <div class="member">
      <Face name={member.user} presence={world.presence.value.get(member.user)?.state} />
      <span class="name clip">
        {member.user === world.self ? <bdi>{member.user} ({t("you")})</bdi> : <button class="clip" onClick={talk}><bdi>{member.user}</bdi></button>}
      </span>
      {member.role !== "member" && <span class="role">{t(ROLES[member.role])}</span>}
      {mayRemove && (
        <button class="icon" aria-label={t("remove", { name: member.user })} onClick={() => void remove()}><Icon name="close" size={16} /></button>
      )}
    </div>
  )
}
