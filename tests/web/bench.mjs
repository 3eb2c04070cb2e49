// Measures the web app in Chromium: `cargo xtask bench web`. Nothing else should run on the machine meanwhile.
//
// The figures are for docs/performance.md. Each is the median of several runs where it is cheap, and one run where it is not.

import fs from 'node:fs';
import path from 'node:path';
import { world } from './lib/world.mjs';

const options = new Map(process.argv.slice(2).map((word) => word.replace(/^--/, '').split('=')));
const MESSAGES = Number(options.get('messages') ?? 10_000);
const CONVERSATIONS = Number(options.get('conversations') ?? 100);
const RUNS = Number(options.get('runs') ?? 5);

const ends = [];
const t = { name: 'bench', after: (end) => ends.push(end) };
const rows = [];
const say = (what, value) => {
  rows.push([what, value]);
  console.log(`${what.padEnd(64)} ${value}`);
};
const ms = (value) => `${Math.round(value)} ms`;
const mb = (bytes) => `${(bytes / 1e6).toFixed(2)} MB`;
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];

try {
  const w = await world(t);
  const server = await w.server();
  await firstLoad(w, server);
  await longConversation(w, server);
  await manyConversations(w, server);
} finally {
  for (const end of ends.reverse()) await end();
}

/** What comes over the network, and when something can be done. */
async function firstLoad(w, server) {
  const person = await w.browser('loader', 'about:blank');
  const session = await person.context.newCDPSession(person.app.page);
  await session.send('Network.enable');
  let bytes = 0;
  session.on('Network.loadingFinished', ({ encodedDataLength }) => (bytes += encodedDataLength));
  // The worker's own requests are not the page's to count: their sizes come from the server.
  const cold = [];
  for (let run = 0; run < RUNS; run++) {
    await session.send('Network.clearBrowserCache');
    const { painted, usable } = await load(person.app, server.url, () => person.app.field('Handle').waitFor());
    cold.push({ painted, usable });
  }
  const sizes = await transfer(server.url);
  say('first load, brotli, all files', mb(sizes.packed));
  say('the same uncompressed', mb(sizes.plain));
  say('cold start, navigation to the first thing on the screen', ms(median(cold.map((run) => run.painted))));
  say('cold start, navigation to a form that can be filled in', ms(median(cold.map((run) => run.usable))));
  await person.app.signUp();
  const warm = [];
  const read = () => person.app.list.locator('.row, .empty:not(.late)').first().waitFor();
  for (let run = 0; run < RUNS; run++) warm.push(await load(person.app, server.url, () => person.app.home()));
  say('warm start with an account, navigation to the frame of the app', ms(median(warm.map((run) => run.usable))));
  const lists = [];
  for (let run = 0; run < RUNS; run++) lists.push(await load(person.app, server.url, read));
  say('warm start with an account, navigation to the list', ms(median(lists.map((run) => run.usable))));
  await person.close();
}

async function load(app, url, ready) {
  const start = performance.now();
  await app.page.goto(url, { waitUntil: 'commit' });
  await ready();
  const usable = performance.now() - start;
  const painted = await app.page.evaluate(
    () => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN,
  );
  return { painted, usable };
}

/** The sizes of everything that the index leads to, as the server sends it. */
async function transfer(url) {
  const seen = new Set(['/']);
  const sum = { plain: 0, packed: 0 };
  for (const file of seen) {
    const packed = await fetch(url + file, { headers: { 'accept-encoding': 'br' } });
    // fetch unpacks; what came over the wire is what the header says.
    sum.packed += Number(packed.headers.get('content-length'));
    const text = Buffer.from(await packed.arrayBuffer());
    sum.plain += text.length;
    if (/html|javascript|css|manifest/.test(packed.headers.get('content-type'))) {
      for (const [, name] of text.toString('utf8').matchAll(/["'(](\/[\w-]+-[0-9a-f]{16}\.\w+)/g)) seen.add(name);
    }
  }
  return sum;
}

/** A conversation that has been going on for years. */
async function longConversation(w, server) {
  const reader = await w.browser('reader', server.url);
  const writer = w.terminal('writer', server.url);
  await Promise.all([reader.app.signUp(), writer.signUp()]);
  await writer.send('@reader', 'message 0');
  await reader.app.requests();
  await reader.app.button('Accept', reader.app.request('@writer')).click();
  await reader.app.reads('message 0');
  const start = performance.now();
  await writer.flood('@reader', MESSAGES);
  say(`sending ${MESSAGES} messages from a terminal`, ms(performance.now() - start));
  await reader.app.conversation('@writer').filter({ hasText: `message ${MESSAGES}` }).waitFor({ timeout: 600_000 });
  say('... and the last of them is in the list of conversations', ms(performance.now() - start));

  await reader.app.newGroup('Elsewhere', ['@writer']);
  const opened = [];
  for (let run = 0; run < RUNS; run++) {
    await reader.app.open('Elsewhere');
    await reader.app.page.waitForTimeout(500);
    // Measured in the page, from the click to the frame in which the messages are there.
    opened.push(
      await reader.app.conversation('@writer').evaluate(
        (link) =>
          new Promise((resolve) => {
            const start = performance.now();
            const look = () => {
              const last = [...document.querySelectorAll('[role=log] article')].at(-1);
              if (last?.innerText.includes('message ')) requestAnimationFrame(() => resolve(performance.now() - start));
              else requestAnimationFrame(look);
            };
            link.click();
            look();
          }),
      ),
    );
  }
  say(`opening a conversation of ${MESSAGES} messages`, ms(median(opened)));
  const frames = await reader.app.log.evaluate(
    (log) =>
      new Promise((resolve) => {
        const gaps = [];
        let last = performance.now();
        const end = last + 3000;
        const frame = (now) => {
          gaps.push(now - last);
          last = now;
          log.scrollTop -= 40;
          if (now < end) requestAnimationFrame(frame);
          else resolve(gaps.slice(1));
        };
        requestAnimationFrame(frame);
      }),
  );
  const mean = frames.reduce((sum, gap) => sum + gap, 0) / frames.length;
  say('scrolling up for 3 s', `${(1000 / mean).toFixed(0)} frames a second, slowest frame ${Math.max(...frames).toFixed(0)} ms`);
  await reader.close();
}

/** Memory of the tab, its worker included, with many conversations in the list. */
async function manyConversations(w, server) {
  // Without this the browser measures at the next garbage collection, whenever that is.
  const person = await w.browser('many', server.url, { args: ['--enable-blink-features=ForceEagerMeasureMemory'] });
  const other = w.terminal('other', server.url);
  await Promise.all([person.app.signUp(), other.signUp()]);
  const before = await memory(person);
  for (let number = 1; number <= CONVERSATIONS; number++) {
    await person.app.newGroup(`Group ${number}`, ['@other']);
    await person.app.send('the first message');
  }
  await person.reopen();
  await person.app.conversation(`Group ${CONVERSATIONS}`).waitFor();
  say('memory of the tab and its worker, no conversations', mb(before));
  say(`memory of the tab and its worker, ${CONVERSATIONS} conversations`, mb(await memory(person)));
  await person.close();
}

/** What the browser says that this page uses, programs' memories included. */
async function memory(person) {
  await person.app.page.waitForTimeout(1000);
  const { bytes } = await person.app.page.evaluate(() => performance.measureUserAgentSpecificMemory());
  return bytes;
}
