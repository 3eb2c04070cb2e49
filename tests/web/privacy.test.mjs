// What the browser keeps, after somebody has used the app: looked through byte by byte.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { world } from './lib/world.mjs';

/** Every file below a folder with its bytes. */
function* files(dir) {
  for (const entry of fs.readdirSync(dir, { withFileTypes: true })) {
    const file = path.join(dir, entry.name);
    if (entry.isDirectory()) yield* files(file);
    else if (entry.isFile()) yield [file, fs.readFileSync(file)];
  }
}

/** Where a text stands in a browser's profile, in either of the encodings that a browser writes. */
function traces(profile, text) {
  return tracesOf(profile, [Buffer.from(text, 'utf8'), Buffer.from(text, 'utf16le')]);
}

/** Where one of these bytes stands in a browser's profile. */
function tracesOf(profile, shapes) {
  return [...files(profile)].filter(([, bytes]) => shapes.some((shape) => bytes.includes(shape))).map(([file]) => path.relative(profile, file));
}

test('the browser keeps no text, no name and no key that can be read', async (t) => {
  const w = await world(t);
  const server = await w.server();
  const alice = await w.browser('alice', server.url);
  const friend = w.terminal('zaunkoenig', server.url);
  const [words] = await Promise.all([alice.app.signUp(), friend.signUp()]);
  await alice.app.newMessage('@zaunkoenig');
  await alice.app.send('canary that was sent');
  await friend.accepts('@alice');
  await friend.send('@alice', 'canary that was received');
  await alice.app.reads('canary that was received');
  await alice.app.newGroup('canary of a group', ['@zaunkoenig']);
  await alice.app.send('canary in the group');
  await alice.app.box.fill('canary that was typed only');
  await alice.app.page.waitForTimeout(2_000);
  const ids = await alice.app.page.evaluate(async () => {
    // What the page can reach of the stored keys.
    const found = [];
    for (const { name } of await indexedDB.databases()) {
      const database = await new Promise((resolve, reject) => {
        const request = indexedDB.open(name);
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
      });
      for (const store of database.objectStoreNames) {
        const values = await new Promise((resolve, reject) => {
          const request = database.transaction(store).objectStore(store).getAll();
          request.onsuccess = () => resolve(request.result);
          request.onerror = () => reject(request.error);
        });
        const look = (value) => {
          if (value instanceof CryptoKey) found.push({ key: value.algorithm.name, extractable: value.extractable, usages: value.usages });
          else if (value && typeof value === 'object' && !ArrayBuffer.isView(value) && !(value instanceof ArrayBuffer)) Object.values(value).forEach(look);
        };
        values.forEach(look);
      }
      database.close();
    }
    return found;
  });
  assert.equal(ids.length > 0, true, 'the vault key is wrapped by a key of the browser');
  for (const key of ids) assert.equal(key.extractable, false, JSON.stringify(key));
  // A script of this origin may use the wrapping key, and so this test learns the vault's key: to search for it.
  const key = await alice.app.page.evaluate(async () => {
    const database = await new Promise((resolve, reject) => {
      const request = indexedDB.open('stonechat');
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
    const [record] = await new Promise((resolve, reject) => {
      const request = database.transaction('vault keys').objectStore('vault keys').getAll();
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
    database.close();
    const additionalData = new TextEncoder().encode('stonechat v1 vault key');
    const plain = await crypto.subtle.decrypt({ name: 'AES-GCM', iv: record.nonce, additionalData }, record.wrapping, record.wrapped);
    return { vault: [...new Uint8Array(plain)], wrapped: [...record.wrapped] };
  });
  assert.equal(key.vault.length, 32);
  await alice.app.step('everything was used');

  await alice.context.close();
  const profile = alice.profile;
  // The search works: the address of the server is in the profile, as in every browser's history.
  assert.notDeepEqual(traces(profile, server.address), [], 'the search finds what is there');
  for (const canary of [
    'canary that was sent', 'canary that was received', 'canary in the group', 'canary of a group', 'canary that was typed only',
    'zaunkoenig', `${words[0]} ${words[1]}`, `${words[11]} ${words[12]}`, `"${words[22]}","${words[23]}"`,
  ]) {
    assert.deepEqual(traces(profile, canary), [], canary);
  }
  // The vault's key: wrapped it is there, in clear it is not, in whatever way it may be written.
  const vaultKey = Buffer.from(key.vault);
  assert.notDeepEqual(tracesOf(profile, [Buffer.from(key.wrapped)]), [], 'the search finds the wrapped key');
  assert.deepEqual(tracesOf(profile, [vaultKey]), [], 'the vault key as it is');
  for (const written of [vaultKey.toString('hex'), vaultKey.toString('hex').toUpperCase(), vaultKey.toString('base64').replace('=', '')]) {
    assert.deepEqual(traces(profile, written), [], 'the vault key as text');
  }
  // The vault is there, and is no database that anybody can open.
  const vault = [...files(profile)].filter(([file]) => file.includes('File System')).map(([, bytes]) => bytes);
  assert.equal(vault.some((bytes) => bytes.length > 16_384), true, 'the vault is in the profile');
  assert.equal(vault.some((bytes) => bytes.includes('SQLite format 3')), false);
});
