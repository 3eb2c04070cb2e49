// People use the web app: with each other, and with somebody at a terminal.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { proxy } from './lib/proxy.mjs';
import { until, world } from './lib/world.mjs';

test('a person signs up, and the recovery words must be written down', async (t) => {
  const w = await world(t);
  const server = await w.server();
  const { app } = await w.browser('alice', server.url);
  await app.field('Handle').waitFor();
  await app.step('before signing up');
  await app.field('Handle').fill('not a handle!');
  await app.button('Create account').click();
  await app.page.getByRole('alert').waitFor();
  await app.step('a name that is none');
  const words = await app.pickHandle();
  assert.equal(new Set(words).size > 12, true, 'words');
  await app.step('the recovery words');
  // Whoever leaves now comes back to the same words.
  await app.page.reload();
  const again = app.page.getByRole('list', { name: 'Recovery words' }).getByRole('listitem');
  await again.nth(23).waitFor();
  assert.deepEqual((await again.allInnerTexts()).map((text) => text.replace(/[^a-z]/g, '')), words);
  await app.confirm(words);
  await app.step('signed up');
  await app.page.reload();
  await app.home();
  await app.step('back after a reload');
});

test('the page can be used before its worker is there', async (t) => {
  const w = await world(t);
  const server = await w.server();
  const between = await proxy(t, server.url);
  let release;
  const released = new Promise((resolve) => (release = resolve));
  // Its program only: a page counts as loaded when its scripts are there.
  between.hooks.before = (path) => (/worker.*\.wasm/.test(path) ? released : undefined);
  const { app } = await w.browser('alice', between.url);
  await app.field('Handle').fill('alice');
  await app.button('Create account').click();
  await app.page.getByRole('status').filter({ hasText: /Making your keys/ }).waitFor();
  await app.step('signing up before the worker is there');
  release();
  const words = app.page.getByRole('list', { name: 'Recovery words' }).getByRole('listitem');
  await words.nth(23).waitFor();
  await app.confirm((await words.allInnerTexts()).map((text) => text.replace(/[^a-z]/g, '')));

  // Later: another holder of the lock keeps the client from starting. The app stands there, empty.
  await app.page.addInitScript(() => {
    const held = new Promise((resolve) => (window.letGo = resolve));
    navigator.locks.request('stonechat client', () => held);
  });
  await app.page.reload();
  await app.home();
  await app.step('the app before its client is there');
  assert.equal(await app.field('Handle').count(), 0);
  await app.button('New message').click();
  await app.page.getByRole('dialog').waitFor();
  await app.page.keyboard.press('Escape');
  await app.page.evaluate(() => window.letGo());
  await app.page.getByText('Nobody here yet').waitFor();
  await app.step('the app with its client');
});

test('a handle that somebody has is refused', async (t) => {
  const w = await world(t);
  const server = await w.server();
  await w.terminal('alice', server.url).signUp();
  const { app } = await w.browser('alice', server.url);
  await app.field('Handle').fill('alice');
  await app.button('Create account').click();
  await app.page.getByRole('alert').filter({ hasText: /alice/ }).waitFor();
  await app.step('a handle that is taken');
});

test('two people write to each other once the request is accepted', async (t) => {
  const w = await world(t);
  const server = await w.server();
  const alice = await w.browser('alice', server.url);
  const bob = await w.browser('bob', server.url);
  await Promise.all([alice.app.signUp(), bob.app.signUp()]);
  await alice.app.newMessage('@bob');
  await alice.app.step('an empty conversation');
  await alice.app.send('hello bob');
  await alice.app.step('a first message');
  await bob.app.requests();
  await bob.app.request('@alice').waitFor();
  await bob.app.step('a request');
  assert.equal(await bob.app.page.getByText('hello bob').count(), 0, 'nothing is shown before it is accepted');
  await alice.app.message('hello bob').filter({ hasText: 'Sent' }).waitFor();
  await bob.app.button('Accept', bob.app.request('@alice')).click();
  await bob.app.reads('hello bob');
  assert.equal(await bob.app.lock(), 'closed');
  await bob.app.page.getByText(/end-to-end encrypted/).first().waitFor();
  await bob.app.step('an accepted conversation');
  await alice.app.delivered('hello bob');
  await alice.app.step('a message that was delivered');
  await bob.app.send('hello alice');
  await alice.app.reads('hello alice');
  assert.equal(await alice.app.lock(), 'closed');

  const hostile = '<img src=x onerror="document.title=1"><script>document.title=2</script>';
  await bob.app.send(hostile);
  await alice.app.reads(hostile);
  assert.equal(await alice.app.page.locator('main img[src="x"], main script').count(), 0, 'text is text');
  await alice.app.step('a text that looks like markup');
});

test('a request that is declined is gone, and the other is not told', async (t) => {
  const w = await world(t);
  const server = await w.server();
  const alice = await w.browser('alice', server.url);
  const bob = w.terminal('bob', server.url);
  await Promise.all([alice.app.signUp(), bob.signUp()]);
  await bob.send('@alice', 'do you know me?');
  await alice.app.requests();
  await alice.app.request('@bob').waitFor();
  await alice.app.button('Decline', alice.app.request('@bob')).click();
  await alice.app.request('@bob').waitFor({ state: 'detached' });
  await alice.app.step('a declined request');
  assert.equal(await alice.app.conversation('@bob').count(), 0);
  await bob.send('@alice', 'hello?');
  const messages = await bob.do('read', '@alice');
  assert.deepEqual(messages.map(({ body, status }) => [body.text, status]), [['do you know me?', 'sent'], ['hello?', 'sent']]);
});

test('a group of two browsers and a terminal', async (t) => {
  const w = await world(t);
  const server = await w.server();
  const alice = await w.browser('alice', server.url);
  const bob = await w.browser('bob', server.url);
  const carol = w.terminal('carol', server.url);
  await Promise.all([alice.app.signUp(), bob.app.signUp(), carol.signUp()]);
  await alice.app.newGroup('Walkers', ['@bob', '@carol']);
  await alice.app.send('who walks on Sunday?');
  await bob.app.requests();
  await bob.app.button('Accept', bob.app.request('@alice')).click();
  await bob.app.reads('who walks on Sunday?');
  await carol.accepts('@alice');
  await carol.reads('Walkers', 'who walks on Sunday?');
  await carol.send('Walkers', 'I do');
  await bob.app.reads('I do');
  await bob.app.send('me too');
  await carol.reads('Walkers', 'me too');
  await alice.app.reads('I do');
  await alice.app.step('a group');
  await alice.app.button('Details').click();
  await alice.app.page.getByText('@carol').first().waitFor();
  await alice.app.step('who is in the group');
});

test('what is written without a server is sent when there is one again', async (t) => {
  const w = await world(t);
  const server = await w.server();
  const alice = await w.browser('alice', server.url);
  const bob = w.terminal('bob', server.url);
  await Promise.all([alice.app.signUp(), bob.signUp()]);
  await alice.app.newMessage('@bob');
  await alice.app.send('one');
  await bob.accepts('@alice');

  await server.stop();
  await alice.app.offline();
  await alice.app.write('two');
  await alice.app.message('two').filter({ hasText: 'Queued' }).waitFor();
  await alice.app.step('offline');
  await server.start();
  await alice.app.sent('two');
  await alice.app.online();

  await server.kill();
  await alice.app.write('three');
  await server.start();
  await alice.app.sent('three');
  await bob.reads('@alice', 'three');
  assert.deepEqual(await bob.texts('@alice'), ['one', 'two', 'three']);
  await alice.app.step('after kill -9 of the server');

  await alice.reopen();
  await alice.app.open('@bob');
  await alice.app.reads('three');
  await bob.send('@alice', 'four');
  await alice.app.reads('four');
  await alice.app.step('after the browser was closed');
});

test('a reader at the end stays there when many messages arrive at once', async (t) => {
  const w = await world(t);
  const server = await w.server();
  const alice = await w.browser('alice', server.url);
  const bob = w.terminal('bob', server.url);
  await Promise.all([alice.app.signUp(), bob.signUp()]);
  await bob.send('@alice', 'message 0');
  await alice.app.requests();
  await alice.app.button('Accept', alice.app.request('@bob')).click();
  await alice.app.reads('message 0');
  await bob.flood('@alice', 400);
  await alice.app.log.getByRole('article').getByText('message 400', { exact: true }).waitFor();
  await until('the end is in view', () => alice.app.log.evaluate((log) => log.scrollHeight - log.scrollTop - log.clientHeight < 48));
  assert.equal(await alice.app.button(/latest/).count(), 0);
  assert.equal((await alice.app.log.getByRole('article').count()) <= 150, true, 'what is far above is let go');
  await alice.app.step('after many messages');

  // Who reads above is left there.
  const box = await alice.app.log.boundingBox();
  await alice.app.page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  await alice.app.page.mouse.wheel(0, -2000);
  await alice.app.button(/latest/).waitFor();
  await bob.send('@alice', 'one more');
  await alice.app.button(/latest.*1/).waitFor();
  await alice.app.button(/latest/).click();
  await alice.app.reads('one more');
  await alice.app.button(/latest/).waitFor({ state: 'detached' });
});

test('the app starts without its server, and sends later', async (t) => {
  const w = await world(t);
  const server = await w.server();
  const alice = await w.browser('alice', server.url);
  const bob = w.terminal('bob', server.url);
  await Promise.all([alice.app.signUp(), bob.signUp()]);
  await alice.app.newMessage('@bob');
  await alice.app.send('with a server');
  await bob.accepts('@alice');
  // The copy of the app's files is there once this resolves.
  await alice.app.page.evaluate(() => navigator.serviceWorker.ready);
  await server.stop();
  await alice.reopen();
  await alice.app.open('@bob');
  await alice.app.reads('with a server');
  await alice.app.write('without one');
  await alice.app.message('without one').filter({ hasText: 'Queued' }).waitFor();
  await alice.app.step('started without a server');
  await server.start();
  await alice.app.sent('without one');
  await bob.reads('@alice', 'without one');
});

test('a second tab follows the first and takes over from it', async (t) => {
  const w = await world(t);
  const server = await w.server();
  const alice = await w.browser('alice', server.url);
  const bob = w.terminal('bob', server.url);
  await Promise.all([alice.app.signUp(), bob.signUp()]);
  await alice.app.newMessage('@bob');
  await alice.app.send('from the first tab');
  await bob.accepts('@alice');

  const second = await alice.tab();
  await second.open('@bob');
  await second.reads('from the first tab');
  await second.send('from the second tab');
  await alice.app.reads('from the second tab');
  await second.step('a tab that follows');

  await alice.app.page.close();
  await second.send('alone now');
  await bob.send('@alice', 'still there?');
  await second.reads('still there?');
  await second.step('a tab that took over');
  assert.deepEqual(await bob.texts('@alice'), ['from the first tab', 'from the second tab', 'alone now', 'still there?']);
});
