/** The door: name and password, or nothing at all while a ticket still opens it. */

import { useSignal } from "@preact/signals"
import type { VNode } from "preact"
import { useLayoutEffect, useRef } from "preact/hooks"
import { signInProblem, type Session } from "../model/session"
import { preferences } from "../preferences"
import { language, LANGUAGES, t } from "../words"
import { Icon, Logo } from "./icons"

export function SignIn({ session }: { session: Session }): VNode {
  const wrong = useSignal(session.farewell.value)
  const busy = useSignal(false)
  const shown = useSignal(false)
  const name = useRef<HTMLInputElement>(null)
  const password = useRef<HTMLInputElement>(null)
  const stay = useRef<HTMLInputElement>(null)

  useLayoutEffect(() => {
    if (name.current!.value) password.current!.focus()
    else name.current!.focus()
  }, [])

  const submit = async (event: Event) => {
    event.preventDefault()
    const user = name.current!.value.trim()
    if (busy.value || !user || !password.current!.value) return (user ? password : name).current!.focus()
    busy.value = true
    wrong.value = ""
    try {
      await session.signIn(user, password.current!.value, stay.current!.checked)
    } catch (problem) {
      wrong.value = signInProblem(problem)
      busy.value = false
      password.current?.select()
    }
  }

  const other = language.value === "en" ? "zh" : "en"
  return (
    <main class="door scroll">
      <form onSubmit={submit} aria-busy={busy.value} novalidate>
        <Logo size={52} />
        <div>
          <h1>{t("signInTitle")}</h1>
          <p class="lead">{t("signInLead")}</p>
        </div>
        {wrong.value && <p class="wrong" role="alert">{wrong.value}</p>}
        <div class="field">
          <label for="name">{t("name")}</label>
          <input ref={name} id="name" class="input" name="username" autocomplete="username" autocapitalize="none"
            autocorrect="off" spellcheck={false} required maxLength={64} defaultValue={session.remembered} />
        </div>
        <div class="field">
          <label for="password">{t("password")}</label>
          <div class="secret">
            <input ref={password} id="password" class="input" name="password" type={(shown.value ? "text" : "password") as "password"}
              autocomplete="current-password" required />
            <button type="button" class="icon" aria-label={t(shown.value ? "hidePassword" : "showPassword")}
              aria-pressed={shown.value} onClick={() => (shown.value = !shown.value)}>
              <Icon name={shown.value ? "hidden" : "eye"} />
            </button>
          </div>
        </div>
        <label class="choice">
          <input ref={stay} type="checkbox" defaultChecked />
          <span>{t("stay")}</span>
        </label>
        <button class="button primary" disabled={busy.value}>
          {busy.value && <span class="spin" />}
          {t(busy.value ? "signingIn" : "signIn")}
        </button>
        {!isSecureContext && <p class="hint">{t("insecure")}</p>}
        <div class="below">
          <span>{t("noAccount")}</span>
          <button type="button" lang={other} onClick={() => (preferences.language.value = other)}>{LANGUAGES[other]}</button>
        </div>
      </form>
    </main>
  )
}
