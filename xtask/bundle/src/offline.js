// Lets the app start without its server: keeps a copy of every file of one version. Nothing that anybody wrote comes here.

const VERSION = "VERSION_HERE";
const FILES = FILES_HERE;

addEventListener("install", (event) => {
  event.waitUntil(caches.open(VERSION).then((cache) => cache.addAll(FILES)));
});

// This runs once no tab uses the version before.
addEventListener("activate", (event) => {
  const outdated = (names) => names.filter((name) => name !== VERSION);
  event.waitUntil(caches.keys().then((names) => Promise.all(outdated(names).map((name) => caches.delete(name)))));
});

addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== "GET" || origin !== location.origin || !FILES.includes(pathname)) return;
  event.respondWith(pathname === "/" ? newest(request) : kept(request));
});

// The server's page, so that nobody stays on an old version; ours when there is no server.
async function newest(request) {
  const answer = await fetch(request).catch(() => undefined);
  return answer?.ok ? answer : ((await caches.match("/")) ?? answer ?? Response.error());
}

// A name tells its content: what is kept under it is right.
async function kept(request) {
  return (await caches.match(request)) ?? fetch(request);
}
