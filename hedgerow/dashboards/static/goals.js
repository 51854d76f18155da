"use strict";
// Reminds somebody of a goal of their own, while this page is open. Nothing is sent anywhere.

const button = document.querySelector("[data-reminders]");
const told = new Set();

function remind() {
  for (const each of document.querySelectorAll("[data-remind]")) {
    if (told.has(each.dataset.remind) || Notification.permission !== "granted") continue;
    told.add(each.dataset.remind);
    try {
      new Notification(each.textContent.trim());
    } catch {
      return;  // browsers that want a service worker for that: the page itself says it
    }
  }
}

if (button && window.isSecureContext && "Notification" in window) {
  button.hidden = Notification.permission !== "default";
  button.addEventListener("click", async () => {
    button.hidden = (await Notification.requestPermission()) !== "default";
    remind();
  });
  remind();
  new MutationObserver(remind).observe(document.querySelector("#goals"), { childList: true, subtree: true });
}
