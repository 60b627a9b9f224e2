/** The face of a person or a room: letters on the name's own colour. */

import type { VNode } from "preact"
import type { Conversation } from "../model/conversation"
import type { Presence } from "../model/world"
import { hueOf, initials } from "../text/colour"
import { element } from "../text/dom"
import { Icon, iconNode } from "./icons"

export function Face({ name, room = false, presence }: { name: string; room?: boolean; presence?: Presence | undefined }): VNode {
  return (
    <span class={room ? "face room" : "face"} style={{ "--hue": hueOf(name) }} aria-hidden="true">
      {room ? <Icon name="hash" size={20} /> : initials(name)}
      {presence && <i class={`presence ${presence}`} />}
    </span>
  )
}

export function ConversationFace({ of, presence }: { of: Conversation; presence?: Presence | undefined }): VNode {
  return <Face name={of.address} room={of.kind === "room"} presence={of.kind === "direct" ? presence : undefined} />
}

export function roomFaceNode(room: string): HTMLElement {
  const node = faceNode(room)
  node.classList.add("room")
  node.replaceChildren(iconNode("hash"))
  return node
}

/** The same outside of Preact. */
export function faceNode(name: string): HTMLElement {
  const node = element("span", "face")
  node.style.setProperty("--hue", String(hueOf(name)))
  node.setAttribute("aria-hidden", "true")
  node.textContent = initials(name)
  return node
}
