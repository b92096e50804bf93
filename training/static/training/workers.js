// Says so when the list of workers could not be renewed, and takes it back as soon as it could.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const banner = document.getElementById("stale"), list = document.getElementById("workers");
  let heard = new Date();
  const isList = (event) => event.detail.elt === list;
  const tell = (event) => {
    if (!isList(event)) return;
    const text = `Nothing was heard from the server since ${heard.toTimeString().slice(0, 8)}. Trying again. Trainings go on without this page.`;
    if (banner.textContent !== text) banner.textContent = text;
    banner.hidden = false;
  };
  document.body.addEventListener("htmx:sendError", tell);
  document.body.addEventListener("htmx:responseError", tell);
  document.body.addEventListener("htmx:afterSwap", (event) => { if (isList(event)) { heard = new Date(); banner.hidden = true; } });
});
