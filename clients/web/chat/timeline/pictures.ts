/** Pictures that others sent: fetched when their row is shown, decoded by the browser as pictures only, kept while there is room. */

import type { FileInfo } from "../model/entry"
import { plainName } from "../text/markup"
import { t } from "../words"

/** Only what browsers decode as pixels. SVG is a document, so it stays a file. */
const PICTURES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"])
/** Larger ones are fetched when somebody asks for them. */
const SHOWN_MAX_BYTES = 8_000_000
const KEPT_MAX_BYTES = 64_000_000
const WIDTH_MAX = 340
const HEIGHT_MAX = 340

interface Picture {
  url: string
  bytes: number
  width: number
  height: number
}

export const isPicture = (file: FileInfo): boolean => PICTURES.has(file.type) && file.size <= SHOWN_MAX_BYTES

export class Pictures {
  #kept = new Map<string, Promise<Picture>>()
  #local = new Map<string, Picture>()
  #bytes = 0

  constructor(private readonly get: (id: string) => Promise<Blob>) {}

  /** Fills `frame` when the picture is here; calls `instead` if there is none. */
  show(file: FileInfo, frame: HTMLElement, instead: () => void): void {
    if (!file.id) return void queueMicrotask(instead)
    const picture = this.picture(file)
    const known = this.#local.get(file.id)
    if (known) place(known, frame, file)
    else picture.then((it) => place(it, frame, file), instead)
  }

  picture(file: FileInfo): Promise<Picture> {
    const kept = this.#kept.get(file.id)
    if (kept) return kept
    return this.#keep(file, this.get(file.id))
  }

  /** A picture that this page has already. */
  know(file: FileInfo, blob: Blob): void {
    if (isPicture(file) && !this.#kept.has(file.id)) this.#keep(file, Promise.resolve(blob))
  }

  clear(): void {
    for (const picture of this.#local.values()) URL.revokeObjectURL(picture.url)
    this.#kept.clear()
    this.#local.clear()
    this.#bytes = 0
  }

  #keep(file: FileInfo, blob: Promise<Blob>): Promise<Picture> {
    const loading = this.#load(file, blob)
    this.#kept.set(file.id, loading)
    loading.catch(() => this.#kept.delete(file.id))
    return loading
  }

  async #load(file: FileInfo, blob: Promise<Blob>): Promise<Picture> {
    const got = await blob
    // The type decides how the browser reads it: one of ours, never what the sender says beyond that.
    const url = URL.createObjectURL(new Blob([got], { type: file.type }))
    const image = new Image()
    image.src = url
    try {
      await image.decode()
    } catch (problem) {
      URL.revokeObjectURL(url)
      throw problem
    }
    const picture = { url, bytes: got.size, width: image.naturalWidth, height: image.naturalHeight }
    this.#local.set(file.id, picture)
    this.#bytes += got.size
    this.#forget(file.id)
    return picture
  }

  #forget(newest: string): void {
    for (const [id, picture] of this.#local) {
      if (this.#bytes <= KEPT_MAX_BYTES || id === newest) return
      URL.revokeObjectURL(picture.url)
      this.#local.delete(id)
      this.#kept.delete(id)
      this.#bytes -= picture.bytes
    }
  }
}

function place(picture: Picture, frame: HTMLElement, file: FileInfo): void {
  const scale = Math.min(1, WIDTH_MAX / picture.width, HEIGHT_MAX / picture.height)
  frame.style.width = `${Math.max(120, Math.round(picture.width * scale))}px`
  frame.style.aspectRatio = `${Math.max(1, picture.width)} / ${Math.max(1, picture.height)}`
  frame.style.maxHeight = `${HEIGHT_MAX}px`
  const image = new Image()
  image.src = picture.url
  image.alt = t("image", { name: plainName(file.name) })
  image.draggable = false
  frame.replaceChildren(image)
}
