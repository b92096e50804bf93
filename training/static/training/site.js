// What every page has: relative times, the theme, questions before dangerous actions, messages for screen readers.
"use strict";
window.ktrdr = window.ktrdr || {};

ktrdr.announce = (text) => { document.getElementById("announce").textContent = text; };

/** "12 s", "3 min", "2 h 5 min", "1 day", "4 days" */
ktrdr.duration = (seconds) => {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60 ? `${s % 60} s` : ""}`.trim();
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  const days = Math.floor(s / 86400);
  return `${days} ${days === 1 ? "day" : "days"}`;
};

ktrdr.tellTimes = (root) => {
  for (const time of root.querySelectorAll("time.ago")) {
    const at = new Date(time.dateTime);
    const seconds = (Date.now() - at) / 1000;
    // Above a minute in whole minutes: a text that changed its length every second would push what stands beside it.
    time.textContent = seconds < 5 ? "just now" : `${ktrdr.duration(seconds >= 60 ? Math.floor(seconds / 60) * 60 : seconds)} ago`;
    time.title = `${at.toISOString().replace("T", " ").slice(0, 19)} UTC`;
  }
};

ktrdr.switchTheme = () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
  document.dispatchEvent(new Event("theme"));
};

/** The server as this page finds it: while it does not answer, whatever asks by itself asks ever more seldom, and no two pages at once. */
ktrdr.outage = (() => {
  const FIRST_MS = 2000, LAST_MS = 20000;
  let wait = FIRST_MS, until = 0;
  return {
    failed() {
      if (Date.now() < until) return; // one fault, met by several that had asked
      until = Date.now() + wait * (0.5 + Math.random());
      wait = Math.min(wait * 2, LAST_MS);
    },
    over() { wait = FIRST_MS; until = 0; },
    /** Whether something that asks by itself may ask now. */
    mayAsk: () => Date.now() >= until,
  };
})();

// A form with data-dialog="id" is asked about in that <dialog> first; the dialog's own submit button sends it.
ktrdr.ask = (button) => {
  const dialog = document.getElementById(button.dataset.dialog);
  dialog.showModal();
};

/** Copies what the button names. Browsers refuse that to a page that came over plain HTTP from another machine: then the words before it are selected. */
ktrdr.copy = async (button) => {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
    ktrdr.announce("Copied");
  } catch {
    getSelection().selectAllChildren(button.previousElementSibling);
    ktrdr.announce("The browser does not let this page copy. It is selected: copy it by the keyboard.");
  }
};

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-theme-switch], [data-dialog], [data-close], [data-copy]");
  if (!target) return;
  if (target.hasAttribute("data-theme-switch")) ktrdr.switchTheme();
  if (target.dataset.dialog) ktrdr.ask(target);
  if (target.hasAttribute("data-close")) target.closest("dialog").close();
  if (target.dataset.copy) ktrdr.copy(target);
});

// A second click while the first is on its way sends nothing.
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented || event.target.method !== "post") return;
  if (event.target.dataset.sent) { event.preventDefault(); return; }
  event.target.dataset.sent = "1";
  setTimeout(() => { delete event.target.dataset.sent; }, 4000);
});
addEventListener("pageshow", (event) => {
  for (const form of document.forms) delete form.dataset.sent;
  // A page that the browser had kept whole may be of somebody who signed out since.
  const around = document.getElementById("around");
  if (event.persisted && around) fetch(around.getAttribute("hx-get")).then((answer) => { if (answer.redirected || !answer.ok) location.reload(); }).catch(() => {});
});

addEventListener("online", ktrdr.outage.over);
document.addEventListener("DOMContentLoaded", () => {
  const gone = (event) => { if ([0, 502, 503, 504].includes(event.detail.xhr.status)) ktrdr.outage.failed(); };
  for (const name of ["htmx:sendError", "htmx:timeout", "htmx:responseError"]) document.body.addEventListener(name, gone);
  document.body.addEventListener("htmx:afterOnLoad", (event) => { if (event.detail.xhr.status < 500) ktrdr.outage.over(); });
  document.body.addEventListener("htmx:beforeRequest", (event) => {
    if ((event.detail.elt.getAttribute("hx-trigger") || "").includes("every ") && !ktrdr.outage.mayAsk()) event.preventDefault();
  });
  ktrdr.tellTimes(document);
  setInterval(() => ktrdr.tellTimes(document), 5000);
  document.body.addEventListener("htmx:load", (event) => ktrdr.tellTimes(event.target.parentElement || document));
});
