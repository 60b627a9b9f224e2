/** A picture as large as the window allows. */

import { useSignal } from "@preact/signals"
import type { VNode } from "preact"
import { useLayoutEffect, useRef } from "preact/hooks"
import type { FileInfo } from "../model/entry"
import { plainName } from "../text/markup"
import { t } from "../words"
import { useApp } from "./app"
import { fetchFile } from "./files"
import { Icon } from "./icons"

export function Viewer(): VNode | null {
  const { viewer } = useApp()
  return viewer.value && <Open key={viewer.value.id} file={viewer.value} />
}

function Open({ file }: { file: FileInfo }): VNode {
  const app = useApp()
  const frame = useRef<HTMLDialogElement>(null)
  const url = useSignal("")
  const close = () => (app.viewer.value = null)
  useLayoutEffect(() => {
    const before = document.activeElement as HTMLElement | null
    frame.current!.showModal()
    app.pictures.picture(file).then((it) => (url.value = it.url), close)
    return () => before?.isConnected && before.focus()
  }, [])
  const name = plainName(file.name)
  return (
    <dialog ref={frame} class="viewer" aria-label={t("image", { name })} onClose={close}>
      <header>
        <h2 class="clip"><bdi>{name}</bdi></h2>
        <button class="icon" aria-label={t("download", { name })} title={t("download", { name })} onClick={() => void fetchFile(app, file)}><Icon name="arrow" /></button>
        <button class="icon" aria-label={t("close")} title={t("close")} onClick={close}><Icon name="close" /></button>
      </header>
      <div class="stage" onClick={(event) => event.target === event.currentTarget && close()}>
        {url.value && <img src={url.value} alt={t("image", { name })} />}
      </div>
    </dialog>
  )
}
