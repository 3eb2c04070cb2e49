// A world for one test: a real stonechatd, people with browsers, people with terminals, and what is between them.
//
// The programs come from `cargo xtask browser`, which builds them and names them in the environment. Everything that a test
// leaves behind (homes, profiles, logs, a picture of each page that was open when it failed) is in a folder of its own.

import { execFile, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';
import { App } from './app.mjs';

const run = promisify(execFile);

const { STONECHATD, STONECHAT, STONECHAT_CHROMIUM, STONECHAT_WORK } = process.env;
if (!STONECHATD || !STONECHAT || !STONECHAT_CHROMIUM || !STONECHAT_WORK) {
  throw new Error('run these through `cargo xtask browser`, which builds and names the programs');
}

/** Playwright takes a path, not a name. */
const CHROMIUM = STONECHAT_CHROMIUM.includes(path.sep)
  ? STONECHAT_CHROMIUM
  : process.env.PATH.split(path.delimiter).map((dir) => path.join(dir, STONECHAT_CHROMIUM)).find((file) => fs.existsSync(file));

/** Starts a world. `t` is node:test's context, or anything with `name` and `after`. */
export async function world(t) {
  const dir = path.join(STONECHAT_WORK, t.name.replaceAll(/[^a-z0-9]+/gi, '-').slice(0, 80));
  fs.rmSync(dir, { recursive: true, force: true });
  fs.mkdirSync(dir, { recursive: true });
  const world = new World(dir);
  t.after(() => world.end());
  return world;
}

class World {
  constructor(dir) {
    this.dir = dir;
    this.ends = [];
    this.people = new Map();
  }

  async end() {
    // The last that was started goes first: browsers before servers.
    for (const end of this.ends.reverse()) await end();
  }

  /** A server with an empty store. */
  async server(name = 'server') {
    const server = new Server(path.join(this.dir, name));
    this.ends.push(() => server.kill());
    await server.start();
    return server;
  }

  /** A person with a browser of their own. `options` are Playwright's for a context. */
  async browser(name, url, options = {}) {
    const profile = path.join(this.dir, `profile-${name}`);
    const person = new Browser(name, profile, url, path.join(this.dir, `${name}.png`), options);
    this.ends.push(() => person.close());
    await person.open();
    return person;
  }

  /** A person with a terminal. */
  terminal(name, url) {
    return new Terminal(name, path.join(this.dir, `home-${name}`), url);
  }
}

/** A stonechatd. It keeps its address when it is started again. */
export class Server {
  constructor(dir) {
    this.dir = dir;
    this.address = '127.0.0.1:0';
    fs.mkdirSync(dir, { recursive: true });
  }

  get url() {
    return `http://${this.address}`;
  }

  async start() {
    const log = fs.openSync(path.join(this.dir, 'log'), 'a');
    this.child = spawn(STONECHATD, ['serve', '--data', path.join(this.dir, 'data'), '--listen', this.address], {
      stdio: ['ignore', 'pipe', log],
    });
    fs.closeSync(log);
    this.ended = new Promise((resolve) => this.child.once('exit', resolve));
    const line = await firstLine(this.child);
    this.address = line.match(/listening on http:\/\/(\S+?)\/?$/)?.[1] ?? fail(`stonechatd said ${JSON.stringify(line)}`);
  }

  /** As an operator stops it. */
  async stop() {
    this.child.kill('SIGTERM');
    await this.ended;
  }

  /** `kill -9`. */
  async kill() {
    this.child.kill('SIGKILL');
    await this.ended;
  }
}

/** A browser with a profile that stays when it is closed. */
class Browser {
  constructor(name, profile, url, picture, options) {
    Object.assign(this, { name, profile, url, picture, options });
  }

  async open() {
    const { args = [], ...options } = this.options;
    // Root in a container has no sandbox to offer; the other switches keep Chromium from calling home.
    const sandbox = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
    const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'];
    this.context = await chromium.launchPersistentContext(this.profile, {
      executablePath: CHROMIUM,
      headless: true,
      locale: 'en-GB',
      timezoneId: 'UTC',
      viewport: { width: 1280, height: 800 },
      args: [...sandbox, ...quiet, ...args],
      ...options,
    });
    this.context.setDefaultTimeout(20_000);
    this.app = await this.tab(this.context.pages()[0]);
  }

  /** Opens the app in a tab and returns it. */
  async tab(page) {
    const app = new App(page ?? (await this.context.newPage()), this.name);
    await app.page.goto(this.url);
    return app;
  }

  async close() {
    const page = this.context.pages().at(-1);
    // Where the test failed, this is what the person saw. A page that has crashed has nothing to show.
    await page?.screenshot({ path: this.picture }).catch(() => {});
    await this.context.close();
  }

  /** Closes the browser and starts it again with the same profile. */
  async reopen() {
    await this.context.close();
    await this.open();
  }
}

/** The terminal client. Each command is a process; between them the person is away. */
class Terminal {
  constructor(name, home, url) {
    Object.assign(this, { name, home, url });
  }

  /** Runs a command and returns what it printed, line by line as JSON. */
  async do(...args) {
    const { stdout } = await run(STONECHAT, ['--home', this.home, '--json', ...args], { timeout: 60_000 });
    return stdout.split('\n').filter(Boolean).map((line) => JSON.parse(line));
  }

  signUp() {
    return this.do('signup', `@${this.name}`, '--server', this.url);
  }

  send(target, text) {
    return this.do('send', target, text);
  }

  /** Sends `message 1` and so on as fast as the server takes them: the SDK's example `flood`. */
  flood(target, count) {
    const example = path.join(path.dirname(STONECHAT), 'examples', 'flood');
    return run(example, [this.home, target, String(count)], { timeout: 1_800_000 });
  }

  /** The texts of a conversation, oldest first. */
  async texts(target) {
    return (await this.do('read', target)).map((message) => message.body.text);
  }

  /** Comes back until a message with this text is there. */
  async reads(target, text) {
    return until(`${this.name} reads ${text}`, async () => (await this.texts(target).catch(() => [])).includes(text));
  }

  /** Comes back until somebody's request is there, and accepts it. */
  async accepts(handle) {
    await until(`${this.name} sees the request of ${handle}`, async () => {
      await this.do('sync');
      return (await this.do('requests')).some((request) => request.handle === handle || request.from === handle);
    });
    return this.do('accept', handle);
  }
}

/** Asks again and again until it is so. */
export async function until(what, ask, limit = 30_000) {
  const end = Date.now() + limit;
  for (;;) {
    if (await ask()) return;
    if (Date.now() > end) fail(`not within ${limit / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
}

function firstLine(child) {
  return new Promise((resolve, reject) => {
    let text = '';
    child.stdout.on('data', (bytes) => {
      text += bytes;
      if (text.includes('\n')) resolve(text.slice(0, text.indexOf('\n')));
    });
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`it ended with ${code} before it said anything`)));
  });
}

export function fail(message) {
  throw new Error(message);
}
