// While a run is at work its analytics are read anew: pictures that are drawn stay, with zoom, and get the new figures.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  document.body.addEventListener("htmx:load", (event) => {
    if (event.target.id !== "analytics") return;
    for (const chart of event.target.querySelectorAll(".chart.js-plotly-plot[data-figure]")) {
      ktrdr.charts.show(chart, JSON.parse(document.getElementById(chart.dataset.figure).textContent));
    }
  });
});
