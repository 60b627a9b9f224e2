/** A question before something that cannot be taken back. Resolves to true if somebody agreed. */

import { render } from "preact"
import { t } from "../words"

export function confirm(question: string, action: string): Promise<boolean> {
  return new Promise((resolve) => {
    const dialog = document.createElement("dialog")
    dialog.setAttribute("aria-label", question)
    const close = (answer: boolean) => {
      render(null, dialog)
      dialog.remove()
      resolve(answer)
    }
    dialog.addEventListener("cancel", (event) => {
      event.preventDefault()
      close(false)
    })
    render(
      <div class="body" style={{ paddingTop: "24px" }}>
        <p>{question}</p>
        <div class="actions">
          <button class="button" onClick={() => close(false)}>{t("cancel")}</button>
          <button class="button danger" onClick={() => close(true)}>{action}</button>
        </div>
      </div>,
      dialog,
    )
    document.body.append(dialog)
    dialog.showModal()
  })
}
