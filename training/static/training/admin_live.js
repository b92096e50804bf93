// Keeps a list or a page of operations up to date: every two seconds while something on it is live, never in the background.
"use strict";

(() => {
  const INTERVAL = 2000, LONGEST = 20000;
  let since = null, wait = INTERVAL;

  const root = () => document.querySelector("[data-live-address]");
  const fields = (id) => document.querySelectorAll(`[data-operation="${CSS.escape(id)}"]`);

  function shown() {
    return [...new Set([...document.querySelectorAll("[data-operation]")].map((element) => element.dataset.operation))];
  }

  function isOpen() {
    const open = ["pending", "running", "cancelling"];
    return [...document.querySelectorAll('[data-live="status"]')].some((pill) => open.includes(pill.textContent.trim()));
  }

  function write(id, values) {
    for (const element of fields(id)) {
      const name = element.dataset.live;
      if (name === "percent") element.value = values.percent;
      else if (element.textContent !== String(values[name])) element.textContent = values[name];
      if (name === "status") element.className = `pill ${values.status}`;
    }
  }

  // What is more than a few values is taken from the page itself, part by part, so that focus and scrolling stay.
  async function takeParts() {
    const answer = await fetch(location.href, { credentials: "same-origin" });
    if (!answer.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = [...page.querySelectorAll("[data-live-section]")];
    const names = new Set(fresh.map((part) => part.dataset.liveSection));
    const here = new Set([...document.querySelectorAll("[data-live-section]")].map((part) => part.dataset.liveSection));
    if ([...names].some((name) => !here.has(name))) return location.reload();
    for (const part of fresh) {
      const old = document.querySelector(`[data-live-section="${part.dataset.liveSection}"]`);
      if (!old.contains(document.activeElement)) old.replaceWith(part);
    }
  }

  function writeLog(text) {
    const log = document.querySelector("[data-live-log]");
    if (!log || !text || log.textContent === text) return;
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    log.textContent = text;
    if (atEnd) log.scrollTop = log.scrollHeight;
  }

  function tellStale(reason) {
    const place = document.querySelector(".stale");
    since = reason ? since || new Date() : null;
    place.hidden = !reason;
    place.textContent = reason ? `${reason} since ${since.toLocaleTimeString()}, trying again.` : "";
  }

  async function look() {
    const place = root();
    const page = place.dataset.livePage;
    const wanted = page ? [page] : shown();
    const address = `${place.dataset.liveAddress}?ids=${wanted.map(encodeURIComponent).join(",")}${page ? "&log=1" : ""}`;
    const answer = await fetch(address, { credentials: "same-origin", headers: { Accept: "application/json" } });
    if (answer.redirected || !(answer.headers.get("Content-Type") || "").includes("json")) throw new Error("Signed out, or no answer,");
    const { operations, log } = await answer.json();
    for (const [id, values] of Object.entries(operations)) write(id, values);
    if (!page) return;
    writeLog(log);
    const mark = operations[page] && operations[page].mark;
    if (mark !== undefined && mark !== place.dataset.liveMark) {
      place.dataset.liveMark = mark;
      await takeParts();
    }
  }

  async function turn() {
    if (!document.hidden && isOpen()) {
      try {
        await look();
        wait = INTERVAL;
        tellStale("");
      } catch (error) {
        wait = Math.min(wait * 2, LONGEST);
        tellStale(error instanceof TypeError ? "No answer from the server" : error.message);
      }
    }
    setTimeout(turn, wait === INTERVAL ? INTERVAL : wait * (0.5 + Math.random())); // a server that is away is asked ever more seldom
  }

  document.addEventListener("DOMContentLoaded", () => {
    if (root()) setTimeout(turn, INTERVAL);
    const log = document.querySelector("[data-live-log]");
    if (log) log.scrollTop = log.scrollHeight;
  });
})();
