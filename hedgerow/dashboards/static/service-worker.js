"use strict";
// Keeps the last state of Today for when Hedgerow is out of reach, and a page that says so in place of all others. Shows notices, and answers
// requests by their buttons.

const KEPT = "today";
const SHELL = "shell"; // files, and the page for when nothing answers: they say nothing about anybody
const TODAY = "/";
const AWAY = "/out-of-reach";

async function today(request) {
  const kept = await caches.open(KEPT);
  try {
    const fresh = await fetch(request);
    if (fresh.ok && !fresh.redirected) {
      await kept.put(TODAY, fresh.clone());
      keepAway(); // in the language and with the styles of now
    }
    else if (fresh.redirected || fresh.status === 401 || fresh.status === 403) await caches.delete(KEPT);
    return fresh;
  } catch (error) {
    const last = await kept.match(TODAY);
    if (!last) return away(error);
    const text = (await last.text()).replace('id="offline" hidden', 'id="offline"');
    return new Response(text, { headers: last.headers });
  }
}

async function keepAway() {
  const shell = await caches.open(SHELL);
  const page = await fetch(AWAY).catch(() => null);
  if (page?.ok) {
    const styles = /\/static\/hedgerow\.css\?\w+/.exec(await page.clone().text());
    await shell.put(AWAY, page);
    if (styles) await file(new Request(styles[0]));
  }
}

async function away(error) {
  const page = await (await caches.open(SHELL)).match(AWAY);
  if (!page) throw error;
  return page;
}

async function file(request) {
  const kept = await caches.open(SHELL);
  const last = await kept.match(request);
  if (last) return last;
  const fresh = await fetch(request);
  if (fresh.ok) {
    await kept.delete(request, { ignoreSearch: true }); // its former version
    await kept.put(request, fresh.clone());
  }
  return fresh;
}

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(keepAway());
});
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (url.origin !== self.location.origin) return;
  if (request.method === "POST" && url.pathname === "/sign-out") event.waitUntil(caches.delete(KEPT));
  if (request.mode === "navigate") event.respondWith(request.method === "GET" && url.pathname === TODAY ? today(request) : fetch(request).catch(away));
  else if (request.method === "GET" && url.pathname.startsWith("/static/") && url.search) event.respondWith(file(request));
});

self.addEventListener("push", (event) => {
  const told = event.data.json();
  const options = {
    body: told.body,
    lang: told.language,
    icon: "/static/icon-192.png",
    badge: "/static/icon-192.png",
    tag: told.request ? `request-${told.request}` : undefined,
    actions: told.buttons || [],
    data: { request: told.request, answers: told.answers, done: told.done },
  };
  event.waitUntil(self.registration.showNotification(told.title, options));
});

async function openPage(path = TODAY) {
  const windows = await self.clients.matchAll({ type: "window" });
  const open = windows.find((each) => new URL(each.url).pathname === path);
  return open ? open.focus() : self.clients.openWindow(path);
}

// The answer leads to Today if it holds. A question, such as whether a dangerous site is really meant, or a sign-in needs the page.
async function answer(request, answers, action) {
  const form = answers ? answers[action].form : action === "deny" ? {} : { for: action };
  const path = answers ? answers[action].path : `/requests/${request}/${action === "deny" ? "deny" : "approve"}`;
  const body = new URLSearchParams(form);
  try {
    const response = await fetch(path, { method: "POST", body, credentials: "same-origin", referrer: TODAY });
    if (!response.ok || !response.redirected || new URL(response.url).pathname !== TODAY) return null;
    return said(await response.text());
  } catch {
    return null;
  }
}

// The sentence on Today about what has just been answered, such as until when TikTok is open.
function said(page) {
  const letters = { "&lt;": "<", "&gt;": ">", "&#34;": '"', "&#39;": "'", "&amp;": "&" };
  const found = /data-done="([^"]*)"/.exec(page);
  return found ? found[1].replace(/&(?:lt|gt|#34|#39|amp);/g, (each) => letters[each]) : "";
}

self.addEventListener("notificationclick", (event) => {
  const { notification, action } = event;
  const { request, answers, done, page } = notification.data || {};
  notification.close();
  event.waitUntil(
    (async () => {
      if (!action || !(request || answers)) return openPage(page);
      const told = await answer(request, answers, action);
      if (told === null) return openPage();
      return self.registration.showNotification(done, { body: told || notification.body, tag: notification.tag, icon: notification.icon });
    })(),
  );
});
