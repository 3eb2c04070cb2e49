// What people see of the directory: why a lock is closed, safety numbers, devices, alarms.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { drawingOf, fakeCamera, film } from './lib/camera.mjs';
import { until, world } from './lib/world.mjs';

/** Two people who have written to each other; the second at a terminal, or with `second` as options in a browser. */
async function friends(w, server, options = {}) {
  const alice = await w.browser('alice', server.url, options.alice);
  const bob = await w.browser('bob', server.url, options.bob);
  await Promise.all([alice.app.signUp(), bob.app.signUp()]);
  await alice.app.newMessage('@bob');
  await alice.app.send('hello bob');
  await bob.app.requests();
  await bob.app.button('Accept', bob.app.request('@alice')).click();
  await bob.app.reads('hello bob');
  return [alice.app, bob.app, alice, bob];
}

test('the lock says why it is closed', async (t) => {
  const w = await world(t);
  const server = await w.server();
  const { app } = await w.browser('alice', server.url);
  const bob = w.terminal('bob', server.url);
  await Promise.all([app.signUp(), bob.signUp()]);
  await app.newMessage('@bob');
  await app.send('hello');
  await until('the lock is closed', async () => (await app.lock()) === 'closed');
  const dialog = await app.why();
  await dialog.getByRole('heading', { name: 'Why is this locked?' }).waitFor();
  const checks = await app.checks(dialog);
  assert.ok(checks.length >= 6, checks.join('\n'));
  for (const check of checks) assert.match(check, /^Holds:/);
  for (const part of [/directory’s keys were pinned/, /@bob: .*account log is signed/, /@bob: the directory proved that the handle/]) {
    assert.ok(checks.some((check) => part.test(check)), `${part}\n${checks.join('\n')}`);
  }
  await dialog.getByText('You have compared no safety numbers in here').waitFor();
  await app.step('why the lock is closed');
  await app.page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'detached' });
  // By keyboard, and in German.
  await app.page.getByRole('button', { name: /Why is this locked/ }).press('Enter');
  await dialog.getByRole('heading', { name: 'Why is this locked?' }).waitFor();
  await app.page.keyboard.press('Escape');
  await app.button('Settings').click();
  await app.page.getByRole('radio', { name: 'Deutsch' }).check();
  await app.page.getByRole('button', { name: 'Schließen' }).click();
  await app.page.getByRole('button', { name: /Warum ist das Schloss zu/ }).click();
  await dialog.getByRole('heading', { name: 'Warum ist das Schloss zu?' }).waitFor();
  const german = await app.checks(dialog);
  assert.equal(german.length, checks.length);
  for (const check of german) assert.match(check, /^Stimmt: (?!.*\b(the|of)\b)/);
  assert.equal(await dialog.locator('[lang=en]').count(), 0, 'all of it is in German');
  await app.step('why the lock is closed, in German');
});

test('two people compare their safety numbers by reading them', async (t) => {
  const w = await world(t);
  const server = await w.server();
  const [alice, bob] = await friends(w, server);
  const [shownToAlice, shownToBob] = [await alice.safety('@bob'), await bob.safety('@alice')];
  const digits = await alice.digits(shownToAlice);
  assert.match(digits, /^(\d{5} ){11}\d{5}$/);
  assert.equal(digits, await bob.digits(shownToBob));
  await alice.step('a safety number');

  const [first, rest] = [digits.slice(0, 5), digits.slice(5)];
  await alice.compare(shownToAlice, (first === '00000' ? '11111' : '00000') + rest);
  await shownToAlice.getByRole('alert').filter({ hasText: 'not the safety number' }).waitFor();
  await alice.step('digits of somebody else');
  await alice.compare(shownToAlice, 'twelve');
  await shownToAlice.getByRole('alert').filter({ hasText: 'nothing was compared' }).waitFor();
  await alice.compare(shownToAlice, digits);
  await shownToAlice.getByText('It matches. @bob').waitFor();
  await shownToAlice.getByText('You compared it, and it matched').waitFor();
  await alice.step('it matches');
  await alice.page.keyboard.press('Escape');
  await alice.conversation('@bob').getByRole('img', { name: 'Safety number compared' }).waitFor();
  await alice.page.locator('.chat-pane .bar').getByRole('img', { name: 'Safety number compared' }).waitFor();
  const why = await alice.why();
  await why.getByText('You have compared safety numbers with @bob.').waitFor();
  await alice.step('a name with its mark');
  // What one of them did is not claimed of the other.
  await bob.page.keyboard.press('Escape');
  assert.equal(await bob.page.getByRole('img', { name: 'Safety number compared' }).count(), 0);
});

test('two people compare their safety numbers by camera', async (t) => {
  const w = await world(t);
  const server = await w.server();
  const file = path.join(w.dir, 'camera.y4m');
  film(file);
  const [alice, bob, browser] = await friends(w, server, { alice: { args: fakeCamera(file), permissions: [] } });
  await alice.page.evaluate(() => {
    window.streams = [];
    const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wanted) => {
      const stream = await real(wanted);
      window.streams.push(stream);
      return stream;
    };
  });
  const cameras = () => alice.page.evaluate(() => window.streams.flatMap((stream) => stream.getTracks()).map((track) => track.readyState));
  let dialog = await alice.safety('@bob');

  await alice.button('Scan their code', dialog).click();
  await dialog.getByRole('alert').filter({ hasText: 'does not let this page use the camera' }).waitFor();
  await alice.step('a camera that is refused');
  await alice.button('Stop the camera', dialog).click();
  assert.deepEqual(await cameras(), []);

  await browser.context.grantPermissions(['camera'], { origin: server.url });
  await alice.button('Scan their code', dialog).click();
  await dialog.getByText('Hold their code in front of the camera').waitFor();
  assert.deepEqual(await cameras(), ['live']);
  await alice.step('a camera that looks for a code');
  await alice.page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'detached' });
  await until('the camera is off', async () => (await cameras()).join() === 'ended');

  // Her own code is not his.
  dialog = await alice.safety('@bob');
  film(file, await drawingOf(alice.code(dialog)));
  await alice.button('Scan their code', dialog).click();
  await dialog.getByRole('alert').filter({ hasText: 'not the safety number' }).waitFor();
  const theirs = await bob.safety('@alice');
  film(file, await drawingOf(bob.code(theirs)));
  await alice.button('Scan their code', dialog).click();
  await dialog.getByText('It matches. @bob').waitFor();
  await until('the camera is off', async () => (await cameras()).every((state) => state === 'ended'));
  await alice.step('a code that matches');

  await bob.button('Scan their code', theirs).click();
  await theirs.getByRole('alert').filter({ hasText: /camera.*compare the digits/i }).waitFor();
  await bob.step('no camera');
});

test('the devices of an account are in its settings', async (t) => {
  const w = await world(t);
  const server = await w.server();
  const { app } = await w.browser('alice', server.url);
  await app.signUp();
  await app.button('Settings').click();
  const devices = app.page.getByRole('list', { name: 'Devices of this account' }).getByRole('listitem');
  await devices.first().waitFor();
  assert.equal(await devices.count(), 1);
  assert.match(await devices.first().innerText(), /This device [0-9a-f]{8}\s+Added \d/);
  assert.equal(await devices.getByRole('button').count(), 0, 'a device does not revoke itself');
  await app.step('the devices');
});

// No server can add a device, so the worker's word for it is put in here; the rest is the page. That clients find such a device, and
// that a revoked one reads nothing, is in crates/sim/tests/directory.rs.
test('a device that nobody added is an alarm with evidence, and can be revoked', async (t) => {
  const w = await world(t);
  const server = await w.server();
  const browser = await w.browser('alice', server.url);
  const { app } = browser;
  await app.signUp();
  const device = 'd4'.repeat(16);
  const alarm = {
    id: '0a'.repeat(16),
    kind: 'Device',
    finding: { device_added: { device } },
    at: Date.now(),
    device,
    evidence: '{"what":"proof"}',
    dismissed: false,
  };
  await app.page.addInitScript(pretend, { alarm, device });
  await app.page.reload();
  await app.home();
  const banner = app.page.getByRole('alert').filter({ hasText: 'Your account has a device that you did not add here' });
  await banner.waitFor();
  await app.step('an alarm');
  await app.button('What happened, and what to do', banner).click();
  const dialog = app.page.getByRole('dialog');
  await dialog.getByText('it can read what is written from here on').waitFor();
  await app.step('what happened');
  const download = app.page.waitForEvent('download');
  await app.button('Save the evidence', dialog).click();
  const file = await download;
  assert.equal(file.suggestedFilename(), `device-${alarm.id}.json`);
  assert.equal(fs.readFileSync(await file.path(), 'utf8'), '{"what":"proof"}');

  await app.button(/Revoke this device/, dialog).click();
  await app.step('a second question');
  await app.button('Cancel', dialog).click();
  assert.deepEqual(await app.page.evaluate(() => window.revoked), []);
  await app.button(/Revoke this device/, dialog).click();
  await app.button('Revoke it', dialog).click();
  await dialog.getByRole('status').filter({ hasText: 'Revoked' }).waitFor();
  assert.deepEqual(await app.page.evaluate(() => window.revoked), [device]);
  await app.button(/Revoke this device/, dialog).waitFor({ state: 'detached' });

  await app.button('This is settled', dialog).click();
  await app.button('Put it away', dialog).click();
  await banner.waitFor({ state: 'detached' });
  await dialog.getByRole('list', { name: 'Put away' }).getByText('did not add here').waitFor();
  await app.step('an alarm that is settled');
});

/** Runs in the page: answers for the worker where it is asked about alarms and devices. */
function pretend({ alarm, device }) {
  window.revoked = [];
  const dismissed = new Set();
  const alarms = () => [{ ...alarm, dismissed: dismissed.has(alarm.id) }];
  const post = Worker.prototype.postMessage;
  Worker.prototype.postMessage = function (text, ...rest) {
    const { id, request } = JSON.parse(text);
    const tell = (frame) => this.dispatchEvent(new MessageEvent('message', { data: JSON.stringify(frame) }));
    const reply = (content) => queueMicrotask(() => tell({ Reply: { id, result: { Ok: content } } }));
    if (request === 'Alarms') return reply({ Alarms: alarms() });
    if (request === 'Devices') {
      const own = { id: 'a1'.repeat(16), added_at: alarm.at, this: true, alarm: null };
      const other = { id: device, added_at: alarm.at, this: false, alarm: alarm.id };
      return reply({ Devices: window.revoked.length ? [own] : [own, other] });
    }
    if (request.Run?.RevokeDevice) {
      window.revoked.push(request.Run.RevokeDevice.device);
      return reply({ Outcome: 'Done' });
    }
    if (request.Run?.DismissAlarm) {
      dismissed.add(request.Run.DismissAlarm.alarm);
      queueMicrotask(() => tell({ Event: { Alarms: alarms() } }));
      return reply({ Outcome: 'Done' });
    }
    return post.call(this, text, ...rest);
  };
}
