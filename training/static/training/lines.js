// Operations in lists and on the first page: bars and states that move.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const rows = new Map([...document.querySelectorAll("[data-operation]")].map((row) => [row.dataset.operation, row]));
  if (!rows.size) return;
  const losses = new Map(), asked = new Map();

  const put = (row, field, text) => { const place = row.querySelector(`[data-field="${field}"]`); if (place && text !== undefined && place.textContent !== text) place.textContent = text; };
  const bar = (row, percent) => {
    const element = row.querySelector(".bar");
    element.firstElementChild.style.width = `${percent}%`;
    element.setAttribute("aria-valuenow", Math.round(percent));
    put(row, "percent", String(Math.round(percent)));
  };
  const doing = (m) => {
    const epoch = m.stage === "train" && m.epochs ? ` · epoch ${m.epoch + 1} of ${m.epochs}` : "";
    const left = m.eta ? ` · about ${ktrdr.duration(m.eta)} left` : "";
    return m.stage ? `${m.stage[0].toUpperCase()}${m.stage.slice(1)}${epoch}${left}` : "";
  };
  const spark = (row, points) => {
    const path = row.querySelector("[data-spark] path");
    if (!path || points.length < 2) return;
    const low = Math.min(...points), high = Math.max(...points);
    path.setAttribute("d", points.map((y, i) => `${i ? "L" : "M"}${(i / (points.length - 1) * 118 + 1).toFixed(1)},${(26 - (high > low ? (y - low) / (high - low) : 0.5) * 24).toFixed(1)}`).join(""));
  };
  const take = (id, epochs) => {
    const known = losses.get(id) || [];
    for (const epoch of epochs) if (epoch.id > (asked.get(id) || 0)) { known.push(epoch.metrics.val_loss); asked.set(id, epoch.id); }
    while (known.length > 240) known.splice(1, 1);
    losses.set(id, known);
    if (rows.has(id)) spark(rows.get(id), known);
  };
  const catchUp = async () => {
    for (const [id, row] of rows) if (row.querySelector("[data-spark]")) {
      const answer = await fetch(`/api/v1/operations/${encodeURIComponent(id)}/metrics?since=${asked.get(id) || 0}&limit=2000`);
      if (answer.ok) take(id, (await answer.json()).metrics);
    }
  };

  ktrdr.live.follow([...rows.keys()].slice(0, 50), {
    progress(m) { const row = rows.get(m.operation); if (row) { bar(row, m.percent); put(row, "doing", doing(m)); } },
    epochs(m) { take(m.operation, m.epochs); },
    row(m) {
      const row = rows.get(m.operation);
      const pill = row?.querySelector('[data-field="status"]');
      if (!pill || pill.textContent === m.status) return;
      const wasOpen = pill.textContent;
      pill.textContent = m.status;
      pill.className = `pill ${m.status}`;
      ktrdr.announce(`${row.querySelector("a").textContent} is ${m.status}`);
      if (wasOpen === "pending" || !["pending", "running", "cancelling"].includes(m.status)) setTimeout(() => location.reload(), 600);
    },
    catchUp: () => { catchUp().catch(() => { /* the next socket or poll asks again */ }); },
  });
});
