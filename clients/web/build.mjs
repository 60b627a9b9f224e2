/**
 * Builds the chat page into relay/http/site, where the relay serves it from: `make web`.
 *
 * The output depends on nothing but the sources and package-lock.json, so that what is committed can be compared with what is
 * built (`node build.mjs --check`, which changes nothing). Compressed files are compared by what they hold: their bytes
 * may differ from one release of zlib to the next.
 */

import { createHash } from "node:crypto"
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { dirname, join, relative } from "node:path"
import { fileURLToPath } from "node:url"
import { brotliCompressSync, brotliDecompressSync, constants, gunzipSync, gzipSync } from "node:zlib"
import { build } from "esbuild"

const here = dirname(fileURLToPath(import.meta.url))
const chat = join(here, "chat")
const site = join(here, "../../relay/http/site")
const check = process.argv.includes("--check")

/** Fonts are compressed already. */
const COMPRESSED = /\.(html|js|css|svg|json|txt)$/

async function bundle() {
  const result = await build({
    absWorkingDir: here,
    entryPoints: { app: join(chat, "main.tsx"), style: join(chat, "styles/index.css") },
    outdir: "/assets",
    entryNames: "[name]-[hash]",
    assetNames: "[name]-[hash]",
    publicPath: "/assets",
    loader: { ".woff2": "file" },
    bundle: true,
    minify: true,
    format: "esm",
    target: ["chrome111", "firefox113", "safari16.4"],
    jsx: "automatic",
    jsxImportSource: "preact",
    legalComments: "none",
    write: false,
    logLevel: "warning",
  })
  return new Map(result.outputFiles.map((file) => [relative("/", file.path), Buffer.from(file.contents)]))
}

/** What the licences of the packages in the bundle ask for: their texts come with it. */
async function licenses() {
  const { packages } = JSON.parse(await readFile(join(here, "package-lock.json"), "utf8"))
  const bundled = Object.entries(packages).filter(([place, { dev }]) => place && !dev)
  const texts = bundled.map(async ([place, { version }]) => {
    const name = place.replace(/^.*node_modules\//, "")
    return `${name} ${version}\n\n${(await readFile(join(here, place, "LICENSE"), "utf8")).trim()}\n`
  })
  return (await Promise.all(texts)).join(`\n${"-".repeat(80)}\n\n`)
}

function hashed(name, body) {
  const hash = createHash("sha256").update(body).digest("hex").slice(0, 8).toUpperCase()
  return name.replace(/(\.\w+)$/, `-${hash}$1`)
}

async function files() {
  const found = await bundle()
  const icons = {}
  for (const name of ["icon.svg", "icon-marked.svg"]) {
    const body = await readFile(join(chat, name))
    icons[name] = `assets/${hashed(name, body)}`
    found.set(icons[name], body)
  }
  const named = (begin, end) => `/${[...found.keys()].find((name) => name.startsWith(`assets/${begin}-`) && name.endsWith(end))}`
  const places = {
    icon: `/${icons["icon.svg"]}`,
    "icon-marked": `/${icons["icon-marked.svg"]}`,
    style: named("style", ".css"),
    script: named("app", ".js"),
    font: named("inter", ".woff2"),
  }
  const template = await readFile(join(chat, "index.html"), "utf8")
  found.set("index.html", Buffer.from(template.replace(/\{([\w-]+)\}/g, (_, place) => places[place])))
  found.set("licenses.txt", Buffer.from(await licenses()))
  const sizes = [...found].sort().map(([name, body]) => [name, body.length])
  found.set("manifest.json", Buffer.from(`${JSON.stringify({ files: Object.fromEntries(sizes) }, null, 1)}\n`))
  return found
}

const codings = [
  [".br", (body) => brotliCompressSync(body, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }), brotliDecompressSync],
  [".gz", (body) => gzipSync(body, { level: 9 }), gunzipSync],
]

/** What is there and what should be: names of files that are missing, different or too many. */
async function differences(wanted) {
  const names = await readdir(site, { recursive: true, withFileTypes: true }).catch(() => [])
  const there = new Set(names.filter((entry) => entry.isFile()).map((entry) => relative(site, join(entry.parentPath ?? entry.path, entry.name))))
  const wrong = []
  for (const [name, body] of wanted) {
    if (!there.delete(name) || !body.equals(await readFile(join(site, name)))) wrong.push(name)
    for (const [end, , open] of COMPRESSED.test(name) ? codings : []) {
      const same = there.delete(name + end) && holds(await readFile(join(site, name + end)), open, body)
      if (!same) wrong.push(name + end)
    }
  }
  return [...wrong, ...there]
}

function holds(packed, open, body) {
  try {
    return open(packed).equals(body)
  } catch {
    return false
  }
}

const wanted = await files()
const wrong = await differences(wanted)
if (check) {
  for (const name of wrong) console.error(`relay/http/site/${name} is not what the sources build: make web`)
  process.exit(wrong.length ? 1 : 0)
}
for (const name of wrong) await rm(join(site, name), { force: true })
for (const [name, body] of wanted) {
  await mkdir(dirname(join(site, name)), { recursive: true })
  if (wrong.includes(name)) await writeFile(join(site, name), body)
  for (const [end, pack] of COMPRESSED.test(name) ? codings : []) {
    if (wrong.includes(name + end)) await writeFile(join(site, name + end), pack(body))
  }
}
for (const [name, body] of [...wanted].sort()) {
  const packed = COMPRESSED.test(name) ? brotliCompressSync(body).length : body.length
  console.log(`${name.padEnd(48)} ${String(body.length).padStart(8)} bytes, ${String(packed).padStart(7)} compressed`)
}
