// The web app in one tab, as a person uses it: everything is found by its role and its name, as a screen reader finds it.

import assert from 'node:assert/strict';
import { until } from './world.mjs';
import { accessible, watch } from './watch.mjs';

export class App {
  constructor(page, who) {
    this.page = page;
    this.who = who;
    this.complaints = watch(page);
  }

  button(name, scope = this.page) {
    return scope.getByRole('button', { name });
  }

  field(name, scope = this.page) {
    return scope.getByRole('textbox', { name });
  }

  /** Ends a step: the browser refused nothing, nothing failed unseen, axe-core finds nothing. */
  async step(name) {
    await accessible(this.page, `${this.who}: ${name}`);
    assert.deepEqual(this.complaints, [], `${this.who}: ${name}`);
  }

  // --- signing up ---

  /** Makes the account and stops where the words are shown. Returns them. */
  async pickHandle() {
    await this.field('Handle').fill(this.who);
    await this.button('Create account').click();
    const words = this.page.getByRole('list', { name: 'Recovery words' }).getByRole('listitem');
    await words.nth(23).waitFor();
    return (await words.allInnerTexts()).map((text) => text.replace(/[^a-z]/g, ''));
  }

  /** Says that they are written down and types those that are asked for. */
  async confirm(words) {
    await this.button('I have written them down').click();
    const asked = this.page.getByRole('textbox', { name: /word/i });
    await asked.first().waitFor();
    for (const field of await asked.all()) {
      const number = Number((await accessibleName(field)).match(/\d+/)[0]);
      await field.fill(words[number - 1]);
    }
    await this.button('Confirm').click();
    await this.home();
  }

  async signUp() {
    const words = await this.pickHandle();
    assert.equal(words.length, 24);
    await this.confirm(words);
    return words;
  }

  // --- the list ---

  /** Waits for the screen that everything starts from. */
  async home() {
    await this.list.waitFor();
  }

  get list() {
    return this.page.getByRole('navigation', { name: 'Conversations' });
  }

  conversation(title) {
    return this.list.getByRole('link').filter({ has: this.page.locator('.row-title', { hasText: title }) });
  }

  async open(title) {
    await this.conversation(title).click();
    await this.isOpen(title);
  }

  /** Opens an empty conversation with somebody. */
  async newMessage(handle) {
    await this.button('New message').click();
    const dialog = this.page.getByRole('dialog');
    await this.field('Handle', dialog).fill(handle);
    await this.button('Start', dialog).click();
    await this.isOpen(handle);
  }

  async newGroup(name, members) {
    await this.button('New group').click();
    const dialog = this.page.getByRole('dialog');
    await this.field('Name', dialog).fill(name);
    await this.field('Members', dialog).fill(members.join(' '));
    await this.button('Create group', dialog).click();
    await this.isOpen(name);
  }

  /** Waits until a conversation is the one that is written into: another may have been open. */
  async isOpen(title) {
    await this.page.getByRole('heading', { name: title, level: 2 }).waitFor();
    await this.box.waitFor();
  }

  // --- requests ---

  request(handle) {
    return this.page.getByRole('listitem').filter({ hasText: handle }).filter({ has: this.page.getByRole('button', { name: 'Accept' }) });
  }

  async requests() {
    await this.page.getByRole('link', { name: /Requests/ }).click();
  }

  // --- a conversation ---

  get box() {
    return this.field('Message');
  }

  get log() {
    return this.page.getByRole('log', { name: 'Messages' });
  }

  message(text) {
    return this.log.getByRole('article').filter({ hasText: text });
  }

  async write(text) {
    await this.box.fill(text);
    await this.button('Send').click();
  }

  /** Writes, and waits until the server has it. */
  async send(text) {
    await this.write(text);
    await this.sent(text);
  }

  /** Waits until the server has a message, or somebody has it already. */
  async sent(text) {
    await this.message(text).filter({ hasText: /Sent|Delivered/ }).waitFor();
  }

  /** Waits until a device of the other person has a message. */
  async delivered(text) {
    await this.message(text).filter({ hasText: 'Delivered' }).waitFor();
  }

  async reads(text) {
    await this.message(text).waitFor();
  }

  /** The lock over the open conversation's picture: a button that says why. */
  get lockButton() {
    return this.page.locator('.chat-pane .bar').getByRole('button', { name: /erified/ });
  }

  /** What it says. */
  async lock() {
    return (await accessibleName(this.lockButton)).startsWith('Verified') ? 'closed' : 'open';
  }

  // --- trust ---

  /** Opens the reasons for the lock. */
  async why() {
    await this.lockButton.click();
    const dialog = this.page.getByRole('dialog');
    await dialog.getByRole('heading', { name: /^Why is this/ }).waitFor();
    await this.checks(dialog);
    return dialog;
  }

  /** What was checked, line by line. */
  async checks(dialog) {
    const rows = dialog.locator('.checks').getByRole('listitem');
    await rows.first().waitFor();
    return (await rows.allInnerTexts()).map((text) => text.replaceAll(/\s+/g, ' ').trim());
  }

  /** Opens the safety number with somebody whose conversation is open. */
  async safety(handle) {
    const dialog = await this.why();
    await this.button(`Compare safety numbers with ${handle}`, dialog).click();
    await dialog.getByRole('heading', { name: 'Safety number' }).waitFor();
    await this.code(dialog).waitFor();
    return dialog;
  }

  /** Twelve groups of five, as they are read aloud. */
  async digits(dialog) {
    const groups = dialog.getByRole('list', { name: 'Safety number' }).getByRole('listitem');
    return (await groups.allInnerTexts()).join(' ');
  }

  code(dialog) {
    return dialog.getByRole('img', { name: /QR code/ });
  }

  async compare(dialog, digits) {
    await this.field('Their digits', dialog).fill(digits);
    await this.button('Compare', dialog).click();
  }

  async offline() {
    await this.page.getByRole('status').filter({ hasText: 'Offline' }).waitFor();
  }

  async online() {
    await until(`${this.who} is online`, async () => !(await this.page.getByRole('status').filter({ hasText: 'Offline' }).isVisible()));
  }
}

async function accessibleName(locator) {
  return locator.evaluate((element) => element.getAttribute('aria-label') ?? element.labels?.[0]?.innerText ?? element.innerText);
}
