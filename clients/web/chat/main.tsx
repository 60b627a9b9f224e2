/** Begins: the page in its language, then whoever was here before. */

import { effect } from "@preact/signals"
import { render } from "preact"
import { Session } from "./model/session"
import { Page } from "./views/Page"
import { language } from "./words"

const session = new Session()

effect(() => {
  document.documentElement.lang = language.value
})

render(<Page session={session} />, document.querySelector("#page")!)
void session.resume()
