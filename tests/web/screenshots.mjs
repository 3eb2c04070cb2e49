// Writes docs/screenshots/: each main screen for a phone and a desk, light and dark. `cargo xtask browser --screenshots`.
// They are looked at, not compared.

import fs from 'node:fs';
import path from 'node:path';
import { proxy } from './lib/proxy.mjs';
import { world } from './lib/world.mjs';

const out = process.argv[2];
fs.mkdirSync(out, { recursive: true });

const SIZES = { phone: { width: 390, height: 844 }, desk: { width: 1280, height: 800 } };

const ends = [];
const w = await world({ name: 'screenshots', after: (end) => ends.push(end) });
try {
  const server = await w.server();
  const you = await w.browser('robin', server.url);
  await shoot(you.app, 'sign-up');
  const words = await you.app.pickHandle();
  await shoot(you.app, 'recovery-words');
  await you.app.confirm(words);
  await shoot(you.app, 'empty');

  const [wren, finch, linnet] = ['wren', 'finch', 'linnet'].map((name) => w.terminal(name, server.url));
  await Promise.all([wren.signUp(), finch.signUp(), linnet.signUp()]);
  await wren.send('@robin', 'Found your scarf. It was under the boat.');
  await you.app.requests();
  await you.app.request('@wren').waitFor();
  await shoot(you.app, 'requests');
  await you.app.button('Accept', you.app.request('@wren')).click();
  await you.app.reads('Found your scarf');
  await you.app.send('Of all places! Thank you.');
  await wren.send('@robin', 'I can bring it on Sunday, we meet at the mill anyway.');
  await wren.send('@robin', 'Ten o’clock?');
  await you.app.reads('Ten o’clock?');
  await you.app.send('Ten is good. I bring the thermos, you bring the scarf, and nobody mentions the boat.');
  await you.app.newGroup('Sunday walkers', ['@wren', '@finch', '@linnet']);
  await you.app.send('Who is in for Sunday? Mill, ten o’clock, back before dark.');
  for (const friend of [finch, linnet]) await friend.accepts('@robin');
  await finch.send('Sunday walkers', 'In. Is the path along the weir open again?');
  await linnet.send('Sunday walkers', 'It is, I was there on Thursday. Take boots.');
  await you.app.reads('Take boots');
  await you.app.send('Boots it is.');
  await shoot(you.app, 'group');
  await you.app.button('Details').click();
  await you.app.page.getByRole('dialog').waitFor();
  await shoot(you.app, 'group-details');
  await you.app.page.keyboard.press('Escape');
  await linnet.send('@robin', 'One more thing: who has the key to the hut?');
  await you.app.open('@wren');
  await shoot(you.app, 'conversation');
  await you.app.why();
  await shoot(you.app, 'why-locked');
  await you.app.page.keyboard.press('Escape');
  await you.app.safety('@wren');
  await shoot(you.app, 'safety-number');
  await you.app.page.keyboard.press('Escape');
  await you.app.page.setViewportSize(SIZES.phone);
  await you.app.page.getByRole('link', { name: 'Back' }).click();
  await you.app.list.waitFor();
  await shoot(you.app, 'conversations', ['phone']);
  await you.app.button('Settings').click();
  await you.app.page.getByRole('dialog').waitFor();
  await shoot(you.app, 'settings');

  // The same server, and somebody in between who changes a key of Wren's.
  const between = await proxy({ after: (end) => ends.push(end) }, server.url);
  const { app } = await w.browser('lapwing', between.url);
  await app.signUp();
  let asked = false;
  between.hooks.fromClient = (frame) => ((asked ||= frame.length < 40 && frame.includes('wren')), frame);
  between.hooks.fromServer = (frame) => {
    const at = asked ? frame.indexOf('wren') : -1;
    if (at < 0) return frame;
    const changed = Buffer.from(frame);
    changed[at + 41] ^= 1;
    return changed;
  };
  await app.newMessage('@wren');
  await app.write('Are you coming on Sunday?');
  const banner = app.page.getByRole('alert').filter({ hasText: 'Alarm' });
  await banner.waitFor();
  await shoot(app, 'alarm');
  await app.button('What happened, and what to do', banner).click();
  await app.page.getByRole('dialog').getByRole('list').first().waitFor();
  await shoot(app, 'what-happened');
} finally {
  for (const end of ends.reverse()) await end();
}

async function shoot(app, name, devices = Object.keys(SIZES)) {
  for (const device of devices) {
    const size = SIZES[device];
    for (const colours of ['light', 'dark']) {
      await app.page.setViewportSize(size);
      await app.page.emulateMedia({ colorScheme: colours, reducedMotion: 'reduce' });
      await app.page.waitForTimeout(250);
      await app.page.screenshot({ path: path.join(out, `${name}-${device}-${colours}.png`) });
    }
  }
  await app.page.setViewportSize(SIZES.desk);
}
