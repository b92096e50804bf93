// Candles of a stored series: the server takes bars together for what is seen, a closer look asks again.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const chart = document.getElementById("candles");
  if (!chart) return;
  const told = document.getElementById("candles-told");
  const WAIT_MS = 220, AROUND = 0.5;
  let timer = null, latest = 0, listening = false;

  const tell = (figure) => {
    const count = figure.bars.toLocaleString("en-US");
    told.textContent = figure.together ? `${figure.candles.toLocaleString("en-US")} candles of ${figure.length}, taken from ${count} bars` : `${count} bars of ${figure.length}`;
  };

  const utc = (value) => (typeof value === "number" ? value : Date.parse(`${String(value).replace(" ", "T")}${String(value).length === 10 ? "T00:00:00" : ""}Z`));
  const seen = () => { const range = chart.layout?.xaxis?.range; return range && chart.layout.xaxis.autorange !== true ? range.map(utc) : null; };

  /** The price axis spans what is seen, though more than that was loaded. */
  const fitPrices = (figure) => {
    const { x, low, high } = figure.data[0], range = seen();
    let least = Infinity, most = -Infinity;
    for (let i = 0; i < x.length; i++) if (low[i] !== null && (!range || (x[i] >= range[0] && x[i] <= range[1]))) { least = Math.min(least, low[i]); most = Math.max(most, high[i]); }
    if (most > -Infinity) { const edge = (most - least || most || 1) * 0.04; figure.layout.yaxis.range = [least - edge, most + edge]; }
  };

  /** The figure between two times in ms; what was asked first and answered last is thrown away. */
  const show = async (from, to) => {
    const mine = ++latest;
    const query = from === undefined ? "" : `?from=${Math.round(from)}&to=${Math.round(to)}`;
    const answer = await fetch(chart.dataset.candles + query, { headers: { Accept: "application/json" } });
    if (mine !== latest) return;
    if (answer.redirected) { location.reload(); return; }
    const figure = await answer.json();
    if (!answer.ok) throw new Error(figure.error);
    fitPrices(figure);
    await ktrdr.charts.update(chart, figure);
    tell(figure);
    if (!listening) { listening = true; chart.on("plotly_relayout", moved); }
  };
  const tried = (...range) => show(...range).catch((error) => { told.textContent = `The bars could not be loaded: ${error.message}`; });

  const moved = (change) => {
    clearTimeout(timer);
    if (change["xaxis.autorange"]) { timer = setTimeout(tried, WAIT_MS); return; }
    const range = change["xaxis.range"] || (change["xaxis.range[0]"] === undefined ? null : [change["xaxis.range[0]"], change["xaxis.range[1]"]]);
    if (!range) return;
    const [from, to] = range.map(utc);
    if (to > from) timer = setTimeout(() => tried(from - (to - from) * AROUND, to + (to - from) * AROUND), WAIT_MS);
  };

  // The same by buttons, for those who do not drag: the last so many days, all, half a screen to either side.
  for (const button of document.querySelectorAll("[data-days]")) {
    button.addEventListener("click", () => {
      if (!listening) return;
      const days = Number(button.dataset.days), last = Date.parse(chart.dataset.last);
      if (days) Plotly.relayout(chart, { "xaxis.range": [last - days * 86400000, last + days * 864000].map((ms) => new Date(ms).toISOString().slice(0, -1)) });
      else Plotly.relayout(chart, { "xaxis.autorange": true });
    });
  }
  for (const button of document.querySelectorAll("[data-shift]")) {
    button.addEventListener("click", () => {
      const range = listening && (seen() || chart.layout.xaxis.range.map(utc));
      if (!range) return;
      // Half a screen, but never past the first or the last bar.
      const [first, last] = [Date.parse(chart.dataset.first), Date.parse(chart.dataset.last)];
      const far = (range[1] - range[0]) * 0.5;
      const by = Number(button.dataset.shift) > 0 ? Math.min(far, Math.max(0, last - range[1])) : -Math.min(far, Math.max(0, range[0] - first));
      Plotly.relayout(chart, { "xaxis.range": range.map((ms) => new Date(ms + by).toISOString().slice(0, -1)) });
    });
  }
  tried();
});
