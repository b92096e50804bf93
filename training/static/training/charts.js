// Draws the page's Plotly figures. Colours are names of tokens ("--accent"), so that a figure fits both themes.
"use strict";
window.ktrdr = window.ktrdr || {};

ktrdr.charts = (() => {
  const drawn = new Map(); // element -> figure with token names
  const source = document.currentScript.dataset.plotly;
  let loading = null;

  /** Plotly is large: it is read when the first picture is due, after the page was painted. */
  const plotly = () => {
    loading = loading || new Promise((done, failed) => {
      requestAnimationFrame(() => setTimeout(() => {
        const script = document.createElement("script");
        script.src = source;
        script.onload = () => done();
        script.onerror = () => { loading = null; failed(new Error("the drawing program could not be loaded")); };
        document.head.append(script);
      }, 0));
    });
    return loading;
  };
  const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  /** The figure with every "--name" replaced by the theme's colour; "--name/40" is that colour at 40 % opacity. */
  const coloured = (value) => {
    if (typeof value === "string") {
      const found = /^(--[a-z-]+)(?:\/(\d+))?$/.exec(value);
      if (!found) return value;
      const colour = token(found[1]);
      return found[2] ? colour + Math.round(Number(found[2]) * 2.55).toString(16).padStart(2, "0") : colour;
    }
    if (Array.isArray(value)) return value.length > 64 && typeof value[0] === "number" ? value : value.map(coloured);
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v)]));
    return value;
  };

  const axis = () => ({ gridcolor: "--line", linecolor: "--line", zerolinecolor: "--line", tickfont: { color: "--muted" }, automargin: true });
  const withDefaults = (figure, element) => {
    const narrow = element.clientWidth < 520;
    const layout = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true,
      font: { family: token("--sans") || "sans-serif", size: 12, color: "--muted" },
      margin: { l: 48, r: 12, t: narrow ? 34 : 14, b: 36 }, uirevision: "kept", hoverlabel: { bgcolor: "--surface", bordercolor: "--line", font: { color: "--text" } },
      legend: narrow ? { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 } : { orientation: "h", y: 1.02, yanchor: "bottom", x: 1, xanchor: "right" },
      ...figure.layout, ...(narrow ? figure.narrow : {}),
    };
    for (const key of ["xaxis", "yaxis", ...Object.keys(layout).filter((k) => /^[xy]axis\d+$/.test(k))]) layout[key] = { ...axis(), ...layout[key] };
    return { data: figure.data, layout };
  };

  // No tool bar: dragging zooms, a double click goes back, and nothing offers to send a chart anywhere.
  const config = { displaylogo: false, showTips: false, displayModeBar: false, showSendToCloud: false, plotlyServerURL: "", responsive: true, doubleClick: "reset" };

  /** Draw or redraw, the latest figure if several came meanwhile; zoom and legend choices stay as long as the layout's uirevision does. */
  const update = async (element, figure) => {
    drawn.set(element, figure);
    if (!window.Plotly) await plotly();
    if (!element.isConnected || drawn.get(element) !== figure) return;
    const { data, layout } = coloured(withDefaults(figure, element));
    await Plotly.react(element, data, layout, config);
  };

  const load = async (element) => {
    if (element.dataset.figure) return update(element, JSON.parse(document.getElementById(element.dataset.figure).textContent));
    const answer = await fetch(element.dataset.figureUrl, { headers: { Accept: "application/json" } });
    if (!answer.ok) { element.textContent = `This picture could not be loaded (${answer.status}). Reload the page to try again.`; return null; }
    return update(element, await answer.json());
  };

  // Only what is seen is drawn: a long page opens at once.
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) {
      seen.unobserve(entry.target);
      load(entry.target).catch((error) => { entry.target.textContent = `This picture could not be drawn: ${error.message}`; });
    }
  }, { rootMargin: "200px" });

  const scan = (root) => { for (const element of root.querySelectorAll(".chart[data-figure], .chart[data-figure-url]")) if (!drawn.has(element)) seen.observe(element); };
  /** The same, and where it cannot be drawn its place says why. */
  const show = (element, figure) => update(element, figure).catch((error) => { element.textContent = `This picture could not be drawn: ${error.message}`; });
  const recolour = () => { for (const [element, figure] of drawn) if (element.isConnected) show(element, figure); else drawn.delete(element); };

  // --- on paper ---

  // Nobody scrolls there: before a page is printed every picture is drawn, at the paper's width and on white, and what is
  // folded is unfolded; afterwards all is as it was. Everything up to Plotly's own drawing happens at once, since printing
  // does not wait; a page whose drawing program is not loaded yet prints its words.
  let before = null;
  const toPaper = () => {
    if (before) return;
    const root = document.documentElement;
    before = { theme: root.dataset.theme, folded: [...document.querySelectorAll("details:not([open])")] };
    for (const details of before.folded) details.open = true;
    root.dataset.theme = "light";
    root.classList.add("printing");
    if (!window.Plotly) return;
    for (const element of document.querySelectorAll(".chart[data-figure]")) if (!drawn.has(element)) { seen.unobserve(element); load(element).catch((error) => { element.textContent = error.message; }); }
    recolour();
  };
  const fromPaper = () => {
    if (!before) return;
    const root = document.documentElement;
    root.classList.remove("printing");
    if (before.theme) root.dataset.theme = before.theme; else delete root.dataset.theme;
    for (const details of before.folded) details.open = false;
    before = null;
    if (window.Plotly) recolour();
  };
  window.addEventListener("beforeprint", toPaper);
  window.addEventListener("afterprint", fromPaper);

  document.addEventListener("DOMContentLoaded", () => {
    scan(document);
    document.addEventListener("theme", recolour);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
    document.body.addEventListener("htmx:load", (event) => {
      for (const element of drawn.keys()) if (!element.isConnected) { window.Plotly?.purge(element); drawn.delete(element); }
      scan(event.target.parentElement || document);
    });
  });
  return { update, show, scan, token };
})();
