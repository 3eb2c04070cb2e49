// A server in the middle that swaps keys: what a person sees, and that nothing goes to who is not proven.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dial, proxy } from './lib/proxy.mjs';
import { until, world } from './lib/world.mjs';

/** Whether a frame of a client only asks for somebody: short, and with the handle in it. */
const asksFor = (frame, handle) => frame.length < 40 && frame.includes(handle);

/**
 * Lets another server answer whoever asks the first one for a handle. It has an account under the same handle, with keys of its
 * own: the answer is well formed, signed and about somebody else.
 */
async function swapKeys(between, handle, other) {
  between.hooks.fromClient = (frame, connection) => {
    if (!asksFor(frame, handle)) return frame;
    const liar = dial(other.url);
    liar.on('open', () => liar.send(connection.hello));
    liar.once('message', () => {
      liar.send(frame);
      liar.once('message', (answer) => {
        connection.toClient(answer);
        liar.terminate();
      });
    });
    return null;
  };
}

/** Alice in a browser, behind a server in the middle; Bob; and Mallory, who has his handle on another server. */
async function twoBobs(t) {
  const w = await world(t);
  const server = await w.server();
  const other = await w.server('other');
  const between = await proxy(t, server.url);
  const bob = w.terminal('bob', server.url);
  const mallory = w.terminal('bob', other.url);
  mallory.home += '-false';
  await Promise.all([bob.signUp(), mallory.signUp()]);
  const alice = await w.browser('alice', between.url);
  await alice.app.signUp();
  return { w, server, other, between, alice, bob, mallory };
}

/** Carol, whom Alice knows. */
async function acquainted(w, server, alice) {
  const carol = w.terminal('carol', server.url);
  await carol.signUp();
  await carol.send('@alice', 'hello');
  await alice.app.requests();
  await alice.app.button('Accept', alice.app.request('@carol')).click();
  await alice.app.reads('hello');
  await until('the lock is closed', async () => (await alice.app.lock()) === 'closed');
  return carol;
}

/** The alarm over everything, once it stands; then what it says in its dialog, and what one does there. */
async function alarmed(app, act = async () => {}) {
  const banner = app.page.getByRole('alert').filter({ hasText: /^Alarm|alarms/ });
  await banner.waitFor();
  await app.step('an alarm over everything');
  await app.button('What happened, and what to do', banner).click();
  const alarms = app.page.getByRole('dialog').getByRole('list', { name: 'Alarms' });
  await alarms.waitFor();
  await app.step('what the alarm says');
  const texts = await alarms.getByRole('listitem').allInnerTexts();
  const dialog = app.page.getByRole('dialog');
  await act(dialog);
  await app.page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'detached' });
  return texts;
}

test('an answer with a changed key is not believed, and nothing is sent', async (t) => {
  const w = await world(t);
  const server = await w.server();
  const between = await proxy(t, server.url);
  const bob = w.terminal('bob', server.url);
  await bob.signUp();
  const alice = await w.browser('alice', between.url);
  await alice.app.signUp();
  let asked = false;
  let changes = 0;
  between.hooks.fromClient = (frame) => ((asked ||= asksFor(frame, 'bob')), frame);
  between.hooks.fromServer = (frame) => {
    // Behind the handle come the device's id and its key.
    const at = frame.indexOf('bob');
    if (!asked || at < 0 || frame.length > 65_536) return frame;
    const changed = Buffer.from(frame);
    changed[at + 40] ^= 1;
    changes += 1;
    return changed;
  };
  await alice.app.newMessage('@bob');
  await alice.app.box.waitFor();
  await alice.app.write('for bob only');
  await alice.app.page.getByRole('alert').filter({ hasText: /@bob.*nothing was sent/ }).waitFor();
  await alice.app.step('an answer that does not verify');
  assert.ok(changes > 0, 'the server lied');
  assert.match((await alarmed(alice.app)).join('\n'), /What the server says about @bob does not hold/);
  await bob.do('sync');
  assert.deepEqual(await bob.do('requests'), []);
});

test('a swapped account is refused before there is a conversation', async (t) => {
  const { other, between, alice, bob, mallory } = await twoBobs(t);
  await swapKeys(between, 'bob', other);
  await alice.app.newMessage('@bob');
  await alice.app.write('for bob only');
  await alice.app.page.getByRole('alert').filter({ hasText: /@bob.*nothing was sent/ }).waitFor();
  assert.match((await alarmed(alice.app)).join('\n'), /What the server says about @bob does not hold/);
  assert.equal(await alice.app.conversation('@bob').count(), 0);
  assert.equal(await alice.app.box.inputValue(), 'for bob only', 'what was typed is still there');
  // Once the server is honest, it is the true Bob who gets it.
  between.hooks.fromClient = (frame) => frame;
  await alice.app.button('Send').click();
  await alice.app.message('for bob only').filter({ hasText: 'Sent' }).waitFor();
  await bob.accepts('@alice');
  await bob.reads('@alice', 'for bob only');
  for (const liar of ['sync', 'requests']) assert.equal((await mallory.do(liar)).some((line) => line.handle === '@alice'), false);
});

test('a server that lies about a member is not even asked: members bring proof of each other', async (t) => {
  const { w, server, other, between, alice, bob } = await twoBobs(t);
  // Alice knows Carol, and meets Bob in Carol's group while the server lies about who Bob is.
  const carol = await acquainted(w, server, alice);
  await swapKeys(between, 'bob', other);
  await carol.do('group', 'create', 'Plans', '@alice', '@bob');
  await carol.send('Plans', 'all of us');
  await alice.app.open('Plans');
  await alice.app.reads('all of us');
  await until('the lock is closed', async () => (await alice.app.lock()) === 'closed');
  const why = await alice.app.why();
  const checks = await alice.app.checks(why);
  assert.ok(checks.some((check) => /^Holds: @bob: the directory proved that the handle is this account/.test(check)), checks.join('\n'));
  await alice.app.step('why the lock is closed all the same');
  await alice.app.page.keyboard.press('Escape');
  // It is the true Bob: he has the same number.
  const safety = await alice.app.safety('@bob');
  const [{ digits }] = await bob.do('safety', '@alice');
  assert.equal((await alice.app.digits(safety)).replaceAll(' ', ''), digits);
});

test('a lie opens every lock until it is settled, and conversations go on', async (t) => {
  const { w, server, other, between, alice } = await twoBobs(t);
  const carol = await acquainted(w, server, alice);
  await swapKeys(between, 'bob', other);
  await alice.app.newMessage('@bob');
  await alice.app.write('for bob only');
  await alice.app.page.getByRole('alert').filter({ hasText: /@bob.*nothing was sent/ }).waitFor();
  await alice.app.open('@carol');
  await until('the lock is open', async () => (await alice.app.lock()) === 'open');
  const why = await alice.app.why();
  await why.getByRole('heading', { name: 'Why is this not locked?' }).waitFor();
  const failing = (await alice.app.checks(why)).filter((check) => check.startsWith('Does not hold:'));
  assert.ok(failing.some((check) => check.includes('@bob')), failing.join('\n'));
  await alice.app.step('why the lock is open');
  await alice.app.page.keyboard.press('Escape');
  await carol.send('@alice', 'still there?');
  await alice.app.reads('still there?');
  await alice.app.step('an open lock');
  await alarmed(alice.app, async (dialog) => {
    await alice.app.button('This is settled', dialog).click();
    await alice.app.button('Put it away', dialog).click();
    await dialog.getByRole('list', { name: 'Put away' }).waitFor();
  });
  await until('the lock is closed', async () => (await alice.app.lock()) === 'closed');
});
