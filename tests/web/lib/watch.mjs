// What must hold at every step, whatever a test is about: the browser refused nothing, nothing failed unseen, and the page can
// be used by everybody.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';

const AXE = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Collects what a page and its workers complain about. */
export function watch(page) {
  const complaints = [];
  page.on('console', (message) => {
    // A server that is gone is what some tests are about; the browser says so by itself.
    const isNetwork = /WebSocket connection to|net::ERR_|Failed to load resource/.test(message.text());
    if (['error', 'warning', 'assert'].includes(message.type()) && !isNetwork) {
      complaints.push(`${message.type()}: ${message.text()}`);
    }
  });
  page.on('pageerror', (error) => complaints.push(`uncaught: ${error.stack ?? error}`));
  page.on('crash', () => complaints.push('the page crashed'));
  // Nothing is fetched from anywhere else, not even tried.
  page.on('request', (request) => {
    const { protocol, origin } = new URL(request.url());
    const home = new URL(page.url());
    if (protocol.startsWith('http') && home.protocol.startsWith('http') && origin !== home.origin) {
      complaints.push(`asked ${origin}`);
    }
  });
  return complaints;
}

/** Fails when axe-core finds anything on the page as it is now. */
export async function accessible(page, where) {
  if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(AXE);
  const { violations, incomplete } = await page.evaluate(() =>
    window.axe.run(document, { resultTypes: ['violations'], runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }),
  );
  const say = (found) =>
    found.map(({ id, help, nodes }) => `${id}: ${help}\n${nodes.map((node) => `    ${node.html}\n    ${node.failureSummary}`).join('\n')}`);
  assert.deepEqual(say(violations), [], `${where}: axe-core found something`);
  return incomplete.length;
}
