// Reads a part of the page aloud with a voice that the device has itself. Nothing is sent anywhere.
"use strict";

const language = document.documentElement.lang;
const read = document.querySelector("[data-read]");
const stop = document.querySelector("[data-stop]");
const speech = window.speechSynthesis;

const SPOKEN = "h1, h2, h3, p, li, summary, button";

// What a closed fold hides is not read, and what is part of an item of a list is read with that.
function isShown(part) {
  const isPart = part.parentElement.closest("p, li, summary, button");
  return !isPart && part.checkVisibility() && !part.contains(read) && part !== stop && part.textContent.trim();
}

// A voice of a server would be sent the text.
function voice() {
  const mine = speech.getVoices().filter((each) => each.localService && each.lang);
  const tag = (each) => each.lang.replace("_", "-").toLowerCase();
  return mine.find((each) => tag(each) === language.toLowerCase())
    || mine.find((each) => tag(each).split("-")[0] === language.toLowerCase().split("-")[0]);
}

function show(isReading) {
  read.hidden = isReading || !voice();
  stop.hidden = !isReading;
}

function end() {
  const hadFocus = document.activeElement === stop;
  show(false);
  if (hadFocus) read.focus();
}

if (speech && read && stop) {
  read.addEventListener("click", () => {
    speech.cancel();
    const parts = [...document.querySelectorAll("[data-aloud]")].flatMap((each) => [...each.querySelectorAll(SPOKEN)]).filter(isShown);
    parts.forEach((part, index) => {
      const text = new SpeechSynthesisUtterance(part.textContent.trim().replace(/\s+/g, " "));
      text.lang = language;
      text.voice = voice();
      if (index === parts.length - 1) text.addEventListener("end", end);
      speech.speak(text);
    });
    show(true);
    stop.focus();
  });
  stop.addEventListener("click", () => { speech.cancel(); end(); });
  window.addEventListener("pagehide", () => speech.cancel());
  speech.addEventListener?.("voiceschanged", () => { if (stop.hidden) show(false); });
  show(false);
}
