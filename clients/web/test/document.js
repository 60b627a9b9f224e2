/** docs/protocol.md as data: its packets, tables of fields and codes, and the login it walks through. */

import { readFileSync } from "node:fs";

const TEXT = readFileSync(new URL("../../../docs/protocol.md", import.meta.url), "utf8");
const HEX_COLUMNS = 48;

/** The bytes in the left column of an example. @param {string} block */
function bytesOf(block) {
  const hex = block.split("\n").map((line) => line.slice(0, HEX_COLUMNS).trim());
  return Uint8Array.from(hex.join(" ").trim().split(/\s+/), (pair) => Number.parseInt(pair, 16));
}

/** What the right column says of each field: [name, what]. @param {string} block */
function notesOf(block) {
  const notes = block.split("\n").map((line) => line.slice(HEX_COLUMNS).trim()).filter((note) => /^\w+: /.test(note));
  return notes.map((note) => /** @type {[string, string]} */ ([note.split(": ", 1)[0], note.slice(note.indexOf(": ") + 2)]));
}

/** @returns {{title: string, bytes: Uint8Array, notes: [string, string][]}[]} */
export const packets = [...TEXT.matchAll(/^```packet (.+)\n([\s\S]+?)\n```$/gm)].map(([, title, block]) => ({
  title,
  bytes: bytesOf(block),
  notes: notesOf(block),
}));

/** The packet of this title. @param {string} title */
export function packet(title) {
  const found = packets.find((one) => one.title === title);
  if (!found) throw new Error(`the document has no packet ${title}`);
  return found.bytes;
}

/** The fields of each packet type: name -> {number, fields: [name, type][]}. */
export const forms = new Map(
  [...TEXT.matchAll(/^### ([A-Z]+) \((\d+)\)\n([\s\S]*?)(?=^#{2,3} )/gm)].map(([, name, number, section]) => {
    const rows = [...section.matchAll(/^\| `(\w+)` \| (\w+(?: or nil)?) \|/gm)];
    return [name, { number: Number(number), fields: rows.map(([, field, type]) => [field, type]) }];
  }),
);

/** Rows `| 100 | NAME | ... |`. */
export const codes = [...TEXT.matchAll(/^\| (\d{3,4}) \| ([A-Z_]+) \|/gm)].map(([, code, name]) => ({ name, code: Number(code) }));

/** The values of the login that is shown step by step. */
export const login = new Map(
  /** @type {RegExpExecArray} */ (/^```login alice\n([\s\S]+?)\n```$/m.exec(TEXT))[1].split("\n").map((line) => {
    const [name] = line.split(/\s/, 1);
    return [name, line.slice(name.length).trim()];
  }),
);

/** @param {string} name */
export const loginBytes = (name) => Uint8Array.from(login.get(name)?.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));

/** @param {string} name */
export const camelCase = (name) => name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());
