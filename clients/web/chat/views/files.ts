/** Getting somebody's file onto the disk: always as bytes, so that a browser never opens it as a page of ours. */

import type { FileInfo } from "../model/entry"
import { plainName } from "../text/markup"
import { t } from "../words"
import type { App } from "./app"

export async function fetchFile({ world }: Pick<App, "world">, file: FileInfo): Promise<void> {
  const name = plainName(file.name)
  const notice = world.notice(t("downloading", { name, done: 0 }))
  const onProgress = ({ bytes, total }: { bytes: number; total: number }) =>
    notice.change(t("downloading", { name, done: total ? Math.floor((100 * bytes) / total) : 100 }))
  try {
    const blob = await world.me.files.get(file.id, { onProgress })
    save(new Blob([blob], { type: "application/octet-stream" }), name)
    notice.end(1000)
  } catch (problem) {
    notice.end()
    world.tell(t("downloadFailed", { name, why: problem instanceof Error ? problem.message : String(problem) }))
  }
}

function save(blob: Blob, name: string): void {
  const anchor = document.createElement("a")
  anchor.href = URL.createObjectURL(blob)
  anchor.download = name
  anchor.click()
  setTimeout(() => URL.revokeObjectURL(anchor.href), 60_000)
}
