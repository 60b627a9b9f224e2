/** A device's file: what was written is there again, a torn end is not, and it does not grow for ever. */

import assert from "node:assert/strict";
import { appendFile, mkdtemp, readFile, rm, stat, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { FileStorage } from "../relay/filestorage.js";

const home = await mkdtemp(join(tmpdir(), "relay-"));
after(() => rm(home, { recursive: true }));

test("what was written is there again", async () => {
  const path = join(home, "one");
  const first = await FileStorage.open(path);
  await first.write(new Map(/** @type {[string, any][]} */ ([["a/1", { n: 1, body: Uint8Array.of(1, 2) }], ["a/2", "x"], ["b", 7]])));
  await first.write(new Map([["a/2", undefined]]));
  await first.close();
  const second = await FileStorage.open(path);
  assert.deepEqual(await second.entries("a/"), [["a/1", { n: 1, body: Uint8Array.of(1, 2) }]]);
  assert.equal(await second.get("b"), 7);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  await second.close();
});

test("a change that was cut off is not there, those before it are", async () => {
  const path = join(home, "torn");
  const first = await FileStorage.open(path);
  await first.write(new Map([["a", 1]]));
  const whole = (await readFile(path)).length;
  await first.write(new Map([["a", 2], ["b", 2]]));
  await first.close();
  await truncate(path, (await readFile(path)).length - 1);
  const second = await FileStorage.open(path);
  assert.deepEqual(await second.entries(""), [["a", 1]]);
  await second.close();
  await appendFile(path, Uint8Array.of(0, 0));
  const third = await FileStorage.open(path);
  assert.deepEqual(await third.entries(""), [["a", 1]]);
  await third.close();
  assert.ok(whole > 0);
});

test("it is written anew when it has grown", async () => {
  const path = join(home, "grown");
  const storage = await FileStorage.open(path, 10_000);
  for (let number = 0; number < 5000; number += 1) await storage.write(new Map([["cursor", number]]));
  assert.ok((await stat(path)).size < 20_000);
  await storage.close();
  const again = await FileStorage.open(path);
  assert.equal(await again.get("cursor"), 4999);
  await again.close();
});
