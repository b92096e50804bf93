// What a training uses of its machine: drawn once, and again every five seconds while it runs.
"use strict";
(() => {
  const EVERY = 5000;
  let timer = null;

  const show = async (card) => {
    clearTimeout(timer);
    let told;
    if (!ktrdr.outage.mayAsk()) { timer = setTimeout(() => { if (card.isConnected) show(card); }, EVERY); return; }
    try {
      const answer = await fetch(card.dataset.use, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(String(answer.status));
      told = await answer.json();
      ktrdr.outage.over();
    } catch (error) {
      ktrdr.outage.failed();
      card.querySelector("[data-use-told]").textContent = `It could not be read just now (${error.message}).`;
      told = { is_open: true };
    }
    if (!card.isConnected) return;
    if (told.rows) {
      card.querySelector("[data-use-told]").textContent = told.facts;
      card.querySelector("[data-use-empty]").hidden = told.rows.length > 0;
      card.querySelector("[data-use-drawn]").hidden = !told.rows.length;
      card.querySelector("tbody").replaceChildren(...told.rows.map((row) => {
        const line = document.createElement("tr");
        for (const key of ["name", "mean", "extreme"]) {
          const cell = line.appendChild(document.createElement("td"));
          cell.textContent = row[key];
          if (key !== "name") cell.className = "number nowrap";
        }
        return line;
      }));
      if (told.rows.length) for (const name of ["processor", "memory"]) {
        ktrdr.charts.show(card.querySelector(`[data-use-chart="${name}"]`), told.figures[name]);
      }
    }
    if (told.is_open) timer = setTimeout(() => { if (card.isConnected) show(card); }, EVERY);
  };
  const begin = () => { const card = document.querySelector("[data-use]"); if (card && !card.dataset.begun) { card.dataset.begun = "1"; show(card); } };
  document.addEventListener("DOMContentLoaded", () => { begin(); document.body.addEventListener("htmx:load", begin); });
})();
