// One socket for all operations of a page. It comes back by itself, says when it is stale, and asks the API while there is no socket.
"use strict";
window.ktrdr = window.ktrdr || {};

ktrdr.live = (() => {
  const QUIET_MS = 12000, POLL_MS = 2000, FIRST_RETRY_MS = 1000, LAST_RETRY_MS = 15000;
  let socket = null, ids = [], handlers = {}, retry = FIRST_RETRY_MS, heard = Date.now(), polling = false, timer = null;

  const stale = (text) => {
    const banner = document.getElementById("stale");
    if (!text) { banner.hidden = true; return; }
    if (banner.hidden || banner.dataset.text !== text) banner.textContent = text;
    banner.dataset.text = text;
    banner.hidden = false;
  };
  const since = () => new Date(heard).toTimeString().slice(0, 8);
  const open = () => socket && socket.readyState === WebSocket.OPEN;

  const receive = (event) => {
    heard = Date.now();
    stale("");
    const message = JSON.parse(event.data);
    if (message.type === "progress") handlers.progress?.(message);
    if (message.type === "row") handlers.row?.(message);
    if (message.type === "epochs") handlers.epochs?.(message);
  };

  const begin = (mine) => { mine.send(JSON.stringify({ follow: ids })); handlers.catchUp?.(); };
  const connect = () => {
    clearTimeout(timer);
    if (!ids.length || socket?.readyState === WebSocket.CONNECTING) return;
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const mine = new WebSocket(`${scheme}://${location.host}/ws/operations/`);
    socket = mine;
    mine.onopen = () => { retry = FIRST_RETRY_MS; heard = Date.now(); stale(""); begin(mine); };
    mine.onmessage = (event) => { if (mine === socket) receive(event); };
    mine.onclose = (event) => {
      if (mine !== socket) return;
      socket = null;
      if (event.code === 4401) { location.reload(); return; }
      if (event.code === 4403 || event.code === 4400) { stale("You may no longer look at this."); return; }
      timer = setTimeout(connect, retry * (0.2 + 1.6 * Math.random())); // a crowd does not come back in one moment
      retry = Math.min(retry * 2, LAST_RETRY_MS);
    };
  };

  /** While there is no socket the API tells, as long as the server answers at all. */
  const poll = async () => {
    if (!ids.length || open() || polling || document.hidden || !ktrdr.outage.mayAsk()) return;
    polling = true;
    try {
      for (const id of ids.slice(0, 6)) {
        const answer = await fetch(`/api/v1/trainings/${encodeURIComponent(id)}/status`, { headers: { Accept: "application/json" } });
        if (answer.status === 401) { location.reload(); return; }
        if (!answer.ok) throw new Error(String(answer.status));
        const told = await answer.json();
        heard = Date.now();
        ktrdr.outage.over();
        handlers.row?.({ operation: id, status: told.status, attempt: told.attempt, stage: told.stage, percent: told.percent, epoch: told.epoch, notes: told.warnings, error: told.error });
      }
      handlers.catchUp?.();
      stale("Live messages do not come through. This page asks every two seconds instead.");
    } catch {
      ktrdr.outage.failed();
      stale(`Nothing was heard from the server since ${since()}. Trying again. Trainings go on without this page.`);
    } finally { polling = false; }
  };

  /** Gives the socket up. One that is still opening is closed when it is open: before that, the browser would complain. */
  const drop = () => {
    const old = socket;
    socket = null;
    if (old?.readyState === WebSocket.CONNECTING) old.onopen = () => old.close();
    else old?.close();
  };
  const watch = () => {
    if (open() && Date.now() - heard > QUIET_MS) { drop(); connect(); }
    poll();
  };

  /** Follow these operations with these handlers, in place of whatever was followed before. */
  const follow = (wanted, what) => {
    const known = socket && wanted.length && wanted.join() === ids.join();
    ids = wanted; handlers = what;
    if (known && open()) begin(socket);
    if (known) return; // the same are told of by the same socket; one that is still opening asks when it is open
    drop();
    connect();
  };

  setInterval(watch, POLL_MS);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) { ktrdr.outage.over(); if (open()) handlers.catchUp?.(); else { retry = FIRST_RETRY_MS; connect(); } watch(); } });
  addEventListener("online", () => { retry = FIRST_RETRY_MS; if (!open()) connect(); });
  addEventListener("pagehide", drop);
  addEventListener("pageshow", (event) => { if (event.persisted) connect(); });
  return { follow };
})();
