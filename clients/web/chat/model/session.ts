/** Who is signed in: with a password, or again with the ticket that the last time left behind. */

import { signal } from "@preact/signals"
import { Relay, RelayError } from "../../relay.js"
import { safely } from "../preferences"
import { forgetDrafts } from "./drafts"
import { t } from "../words"
import { World } from "./world"

const REMEMBERED = "relay.user"

export class Session {
  /** null: nobody is signed in; undefined: not known yet. */
  readonly world = signal<World | null | undefined>(undefined)
  /** Why somebody who was signed in no longer is. */
  readonly farewell = signal("")

  get remembered(): string {
    return safely(() => localStorage.getItem(REMEMBERED)) ?? ""
  }

  /** The ticket of the last time, if there is one; waits as long as the relay cannot be reached. Never rejects. */
  async resume(): Promise<void> {
    const user = this.remembered
    if (!user) return void (this.world.value = null)
    try {
      const me = await Relay.start({ user })
      await me.whenOpen()
      await this.#enter(me)
    } catch (problem) {
      this.farewell.value = problem instanceof RelayError && isLogin(problem) ? "" : signInProblem(problem)
      this.world.value = null
    }
  }

  /** Rejects with what signInProblem explains. */
  async signIn(user: string, password: string, stay: boolean): Promise<void> {
    const me = await Relay.connect({ user, password, remember: stay })
    safely(() => (stay ? localStorage.setItem(REMEMBERED, me.user) : localStorage.removeItem(REMEMBERED)))
    await this.#enter(me)
  }

  async signOut(): Promise<void> {
    const world = this.world.value
    safely(() => localStorage.removeItem(REMEMBERED))
    this.farewell.value = ""
    this.world.value = null
    world?.close()
    if (world) forgetDrafts(world.self)
    await world?.me.close({ forget: true })
  }

  async #enter(me: Relay): Promise<void> {
    const world = new World(me)
    me.on("state", ({ state, error }) => {
      if (state !== "ended" || this.world.value !== world) return
      world.close()
      this.farewell.value = t("sessionEnded", { why: error?.message ?? "" })
      this.world.value = null
    })
    this.farewell.value = ""
    this.world.value = world
    await world.load().catch((problem) => world.complain(problem))
  }
}

const isLogin = (problem: RelayError): boolean => problem.reason === "LOGIN_FAILED" || problem.reason === "LOGIN_NEEDED"

export function signInProblem(problem: unknown): string {
  if (!(problem instanceof RelayError)) return t("unreachable")
  if (isLogin(problem)) return t("wrongLogin")
  return problem.message || t("unreachable")
}
