// The page of one operation: moves with its messages, draws its epochs, and is the same after a reload or a lost socket.
"use strict";
{
  const OPEN = ["pending", "running", "cancelling"];
  const MOST_POINTS = 1000, TABLE_ROWS = 200;
  let seed, epochs, since, now, changedAt, loading, frame, replaced = new Set();

  const byId = (id) => document.getElementById(id);
  const number = (value, digits = 4) => (Number.isFinite(value) ? value.toFixed(digits) : "–");
  const share = (value) => (Number.isFinite(value) ? `${(100 * value).toFixed(2)} %` : "–");
  const tile = (name, text) => { const place = document.querySelector(`[data-tile="${name}"]`); if (place && place.textContent !== text) place.textContent = text; };
  const word = (stage) => (stage ? stage[0].toUpperCase() + stage.slice(1) : "");

  // --- what arrives ---

  const take = (rows) => {
    for (const row of rows) if (row.id > since) { epochs.push(row); since = row.id; }
    if (rows.some((row) => row.attempt === seed.attempt)) saysWhatIsKept();
    if (rows.length) later(draw);
  };
  /** Once an epoch is completed, the question before a cancel says that its end stays. */
  const saysWhatIsKept = () => { const words = byId("cancel-words"); if (words?.dataset.kept) words.textContent = words.dataset.kept; };
  /** What is stored and not known yet, in order; asked again after a gap. */
  const catchUp = async () => {
    if (loading) return loading;
    loading = (async () => {
      for (;;) {
        const answer = await fetch(`/api/v1/operations/${encodeURIComponent(seed.id)}/metrics?since=${since}&limit=5000`);
        if (!answer.ok) throw new Error(`the epochs could not be read (${answer.status})`);
        const { metrics } = await answer.json();
        take(metrics);
        if (metrics.length < 5000) return;
      }
    })().finally(() => { loading = null; });
    return loading;
  };

  const onProgress = (m) => {
    if (m.operation !== seed.id || m.attempt < seed.attempt) return;
    if (now && now.attempt === m.attempt && m.seq <= now.seq) return;
    const before = now;
    now = { ...m };
    later(() => { if (now) showProgress(before); }); // the run may have ended before this frame
  };
  const onEpochs = (m) => { if (m.after > since) catchUp().catch(() => {}); else take(m.epochs); };
  const onRow = (m) => {
    if (m.operation !== seed.id) return;
    if (m.status !== seed.status || m.attempt !== seed.attempt) {
      if (performance.now() - changedAt < 300) return;
      changedAt = performance.now();
      for (const old of document.querySelectorAll("main > .message.success")) old.remove(); // it told of the state before
      ktrdr.announce(`${word(m.status)}${m.error ? `: ${m.error}` : ""}`);
      document.body.dispatchEvent(new Event("operation-changed"));
    } else if (!now || now.percent < m.percent) { bar(m.percent); }
    if (m.device) tile("device", m.device); // a worker chooses it after the page was loaded
  };

  // --- what is shown ---

  const waiting = new Set();
  const later = (what) => {
    waiting.add(what);
    frame = frame || requestAnimationFrame(() => { frame = null; const todo = [...waiting]; waiting.clear(); for (const step of todo) step(); });
  };
  const bar = (percent) => {
    const element = byId("bar");
    if (!element) return;
    element.firstElementChild.style.width = `${percent}%`;
    element.setAttribute("aria-valuenow", Math.round(percent));
    byId("percent").textContent = String(Math.floor(percent));
  };
  const speed = (before) => {
    // By the training's own clock: messages that were held up arrive together.
    if (before && before.epoch === now.epoch && now.samples > before.samples && now.stage_elapsed > before.stage_elapsed) {
      const fresh = (now.samples - before.samples) / (now.stage_elapsed - before.stage_elapsed);
      return now.speed = before.speed ? before.speed * 0.7 + fresh * 0.3 : fresh;
    }
    return now.speed = now.last_epoch?.samples_per_second ?? before?.speed;
  };
  const showProgress = (before) => {
    if (!byId("bar")) return;
    bar(now.percent);
    if (before?.stage !== now.stage && now.stage) ktrdr.announce(`${word(now.stage)} began`);
    const inTraining = now.stage === "train" && now.epochs;
    const part = inTraining ? ` · epoch ${now.epoch + 1} of ${now.epochs}` : now.fraction > 0 ? ` · ${Math.round(now.fraction * 100)} %` : "";
    byId("doing").textContent = `${word(now.stage)}${part}${now.eta ? ` · about ${ktrdr.duration(now.eta)} left` : ""}`;
    rail();
    if (now.last_epoch) saysWhatIsKept();
    if (!inTraining) return;
    tile("epoch", String(now.epoch + 1));
    tile("batch", (now.batch + 1).toLocaleString("en"));
    tile("batches", `of ${now.batches.toLocaleString("en")}`);
    const pace = speed(before);
    if (pace) tile("speed", Math.round(pace).toLocaleString("en"));
    tile("train_loss", number(now.loss));
    if (now.memory) tile("memory", `${Math.round(now.memory / 1048576)} MB`);
    drawLoss();
  };
  const rail = () => {
    const order = seed.stages, at = order.indexOf(now.stage);
    for (const item of document.querySelectorAll("#rail li")) {
      const own = order.indexOf(item.dataset.stage);
      item.className = own < at ? "done" : own === at ? "now" : "";
      if (!now.stages) continue; // nothing was heard yet: what the page said of its seconds stays
      const seconds = own === at ? now.stage_elapsed : now.stages[item.dataset.stage];
      item.querySelector("small").textContent = seconds === undefined || own > at ? "" : seconds < 10 ? `${seconds.toFixed(1)} s` : ktrdr.duration(seconds);
    }
  };

  /** What is measured again takes the place of itself and of all that followed it then. Earlier attempts' rows are shown grey;
      those of the attempt that went back are not stored any more. */
  const split = () => {
    const counted = [], again = [], own = new Map();
    let least = Infinity;
    for (const row of [...epochs].reverse()) {
      if (row.epoch >= (own.get(row.attempt) ?? Infinity)) continue;
      own.set(row.attempt, row.epoch);
      (row.epoch < least ? counted : again).push(row);
      least = Math.min(least, row.epoch);
    }
    again.reverse();
    counted.reverse();
    replaced = new Set(again);
    epochs = [...counted, ...again].sort((a, b) => a.id - b.id);
    return { counted, again };
  };
  const thinned = (rows) => { const step = Math.ceil(rows.length / MOST_POINTS); return step < 2 ? rows : rows.filter((_, i) => i % step === 0 || i === rows.length - 1); };
  const line = (rows, key, name, colour, more = {}) => ({ type: "scatter", mode: "lines", name, x: rows.map((r) => r.epoch + 1), y: rows.map((r) => r.metrics[key]), line: { color: colour, width: 2 }, ...more });
  const epochAxis = () => ({ title: { text: "epoch" }, range: undefined, rangemode: "tozero" });
  const put = (id, figure) => { const element = byId(id); if (element) ktrdr.charts.show(element, figure); };

  let lossKept = { counted: [], again: [] };
  let lossDue = 0;
  /** A machine that draws slowly draws less often, at most a quarter of its time; `always` where there is an epoch more. */
  const drawLoss = (always = false) => {
    if (!byId("chart-loss") || (!lossKept.counted.length && now?.stage !== "train")) return; // axes without a line say nothing
    const began = performance.now();
    if (!always && began < lossDue) return;
    const rows = thinned(lossKept.counted);
    const data = [line(rows, "train_loss", "training", "--accent"), line(rows, "val_loss", "validation", "--sell", { line: { color: "--sell", width: 2, dash: "dot" } })];
    for (const attempt of new Set(lossKept.again.map((r) => r.attempt))) {
      const old = lossKept.again.filter((r) => r.attempt === attempt);
      data.push(line(old, "val_loss", `attempt ${attempt}, replaced`, "--hold", { opacity: 0.6, line: { color: "--hold", width: 1.5 } }));
    }
    if (now?.stage === "train" && Number.isFinite(now.loss) && now.batches) {
      const x = now.epoch + (now.batch + 1) / now.batches, last = rows.at(-1);
      data.push({ type: "scatter", mode: "lines+markers", name: "this epoch", showlegend: false, hoverinfo: "y", x: last ? [last.epoch + 1, x] : [x], y: last ? [last.metrics.train_loss, now.loss] : [now.loss], line: { color: "--accent", width: 1, dash: "dot" }, marker: { color: "--accent", size: [0, 6].slice(last ? 0 : 1) } });
    }
    const best = lossKept.counted.reduce((found, r) => (!found || r.metrics.val_loss < found.metrics.val_loss ? r : found), null);
    const shapes = best ? [{ type: "line", x0: best.epoch + 1, x1: best.epoch + 1, yref: "paper", y0: 0, y1: 1, line: { color: "--good", width: 1, dash: "dot" } }] : [];
    put("chart-loss", { data, layout: { xaxis: epochAxis(), shapes, annotations: best ? [{ x: best.epoch + 1, y: 1, yref: "paper", yanchor: "top", xanchor: best.epoch > lossKept.counted.length * 0.7 ? "right" : "left", showarrow: false, text: `best ${best.epoch + 1}`, font: { size: 11, color: "--good" } }] : [] } });
    lossDue = performance.now() + 3 * (performance.now() - began);
  };
  const COLOURS = { BUY: "--buy", HOLD: "--hold", SELL: "--sell", BULLISH: "--buy", BEARISH: "--sell", NEUTRAL: "--hold", UP: "--buy", DOWN: "--sell", RANGING: "--hold", VOLATILE: "--warn" };
  const isOfReturns = () => seed.output_format === "regression";
  const percent = (rows, key) => rows.map((r) => (Number.isFinite(r.metrics[key]) ? 100 * r.metrics[key] : null));
  /** Errors of the predicted returns, in percent of the price; a prediction that is the same everywhere is an alarm. */
  const drawErrors = (rows) => {
    const right = { line: { color: "--sell", width: 2, dash: "dot" }, y: percent(rows, "val_rmse"), yaxis: "y2" };
    const axis = { ticksuffix: " %", nticks: 5, tickformat: ".3~f" };
    put("chart-shares", { data: [line(rows, "val_mae", "MAE (left)", "--accent", { y: percent(rows, "val_mae") }), line(rows, "val_rmse", "RMSE (right)", "--sell", right)], layout: { xaxis: epochAxis(), yaxis: axis, yaxis2: { ...axis, overlaying: "y", side: "right", showgrid: false } } });
    const same = rows.length && rows.at(-1).metrics.val_ic == null;
    alarm(same ? "The model predicts the same return for every validation row. Look at its inputs, or try another learning rate or activation." : "");
  };
  /** The newest of what the trainer found wrong with the losses; each kind is told once in so many epochs. */
  const FINDING_EPOCHS = 50;
  const unstable = () => {
    const text = lossKept.counted.slice(-FINDING_EPOCHS).flatMap((r) => r.metrics.findings || []).at(-1)?.text;
    return text ? `${text[0].toUpperCase()}${text.slice(1)}.` : "";
  };
  const alarm = (sentence) => {
    const place = byId("alarm"), text = [sentence, unstable()].filter(Boolean).join(" ");
    if (!place) return;
    if (place.textContent !== text) place.textContent = text;
    place.hidden = !text;
  };
  const MEASURES = { classification: [["val_accuracy", "accuracy"], ["val_balanced_accuracy", "balanced"], ["val_mcc", "MCC"]], regression: [["val_ic", "IC"], ["val_rank_ic", "rank IC"], ["val_sign_accuracy", "sign right"]] };
  const STYLES = [{ color: "--accent", width: 2 }, { color: "--buy", width: 2, dash: "dash" }, { color: "--sell", width: 2, dash: "dot" }];
  const drawMeasures = (rows) => {
    const asked = MEASURES[isOfReturns() ? "regression" : "classification"];
    put("chart-measures", { data: asked.map(([key, name], place) => line(rows, key, name, STYLES[place].color, { line: STYLES[place] })), layout: { xaxis: epochAxis() } });
  };
  const drawShares = (rows) => {
    const names = rows.length ? Object.keys(rows.at(-1).metrics.predicted_shares || {}) : [];
    put("chart-shares", { data: names.map((name) => ({ type: "scatter", mode: "lines", stackgroup: "one", name, x: rows.map((r) => r.epoch + 1), y: rows.map((r) => 100 * (r.metrics.predicted_shares?.[name] ?? 0)), line: { width: 0.5, color: COLOURS[name] || "--accent" }, fillcolor: `${COLOURS[name] || "--accent"}/75`, hovertemplate: "%{y:.1f} %" })), layout: { xaxis: epochAxis(), yaxis: { range: [0, 100], ticksuffix: " %" } } });
    const last = rows.at(-1)?.metrics.predicted_shares || {};
    const over = Object.entries(last).find(([, share]) => share > 0.95);
    alarm(over ? `The model calls ${Math.round(over[1] * 1000) / 10} % of validation rows ${over[0]}. One class takes over: look at the labels' shares, or train with balanced class weights.` : "");
  };
  const draw = () => {
    if (!byId("tiles")) return;
    lossKept = split();
    const rows = thinned(lossKept.counted), last = lossKept.counted.at(-1)?.metrics;
    drawLoss(true);
    if (!last) return;
    (isOfReturns() ? drawErrors : drawShares)(rows);
    drawMeasures(rows);
    put("chart-rate", { data: [line(rows, "learning_rate", "learning rate", "--accent", { line: { color: "--accent", width: 2, shape: "hv" } }), line(rows, "gradient_norm", "gradient norm", "--warn", { yaxis: "y2", line: { color: "--warn", width: 1.5, dash: "dot" } })], layout: { xaxis: epochAxis(), yaxis: { type: "log", exponentformat: "e", nticks: 4 }, yaxis2: { overlaying: "y", side: "right", showgrid: false, rangemode: "tozero", nticks: 4 } } });
    const best = lossKept.counted.reduce((found, r) => (r.metrics.val_loss < found.metrics.val_loss ? r : found));
    tile("train_loss", number(last.train_loss)); tile("val_loss", number(last.val_loss)); tile("best", `best ${number(best.metrics.val_loss)}`);
    tile("learning_rate", last.learning_rate > 0 && last.learning_rate < 1e-4 ? last.learning_rate.toExponential(2) : Number(last.learning_rate.toPrecision(3)).toString());
    tile("epoch", String(Math.max(lossKept.counted.at(-1).epoch + 1, (now?.stage === "train" ? now.epoch + 1 : 0) || 0)));
    if (last.samples_per_second && !now?.speed) tile("speed", Math.round(last.samples_per_second).toLocaleString("en"));
    if (seed.patience) { tile("patience", String(lossKept.counted.at(-1).epoch - best.epoch)); tile("patience_of", `of ${seed.patience}`); }
    table();
  };
  const table = () => {
    const body = byId("epochs");
    if (!body || !body.closest("details").open) return;
    body.replaceChildren(...epochs.slice(-TABLE_ROWS).reverse().map((r) => {
      const row = document.createElement("tr");
      if (replaced.has(r)) row.className = "muted";
      for (const text of [replaced.has(r) ? `${r.attempt}, replaced` : r.attempt, r.epoch + 1, number(r.metrics.train_loss), number(r.metrics.val_loss), ...(isOfReturns() ? [share(r.metrics.val_mae), number(r.metrics.val_ic ?? NaN, 3)] : [number(r.metrics.val_accuracy, 3), number(r.metrics.val_mcc, 3)]), number(r.metrics.seconds, 2)]) {
        const cell = document.createElement("td"); cell.textContent = text; cell.className = "number"; row.append(cell);
      }
      return row;
    }));
  };

  /** Stopping by force is offered when stopping by itself took too long. */
  const offerForce = () => {
    const button = byId("force");
    if (!button) return;
    const left = Number(button.dataset.grace) * 1000 - (Date.now() - new Date(button.dataset.asked));
    button.hidden = left > 0;
    if (left > 0) setTimeout(offerForce, Math.min(left, 1000) + 50);
  };

  const begin = () => {
    const place = byId("live");
    if (!place) return;
    const fresh = JSON.parse(place.textContent);
    if (!seed || seed.id !== fresh.id) { epochs = []; since = 0; }
    if (!seed || seed.attempt !== fresh.attempt) now = undefined;
    seed = fresh; changedAt = -1000;
    offerForce();
    byId("epochs")?.closest("details").addEventListener("toggle", table);
    if (!OPEN.includes(seed.status)) now = undefined; // what counts is what was stored, not the epoch that was not finished
    if (now) showProgress(now); else if (seed.stage && OPEN.includes(seed.status)) { now = { stage: seed.stage, attempt: seed.attempt, seq: -1, percent: seed.percent }; rail(); now = undefined; }
    if (byId("tiles")) draw();
    const read = () => catchUp().catch((error) => { ktrdr.announce(error.message); });
    /** The words of the page are painted before its curves are read: a long run has thousands of epochs. */
    const painted = () => new Promise((done) => { requestAnimationFrame(() => setTimeout(done)); });
    if (OPEN.includes(seed.status)) ktrdr.live.follow([seed.id], { progress: onProgress, row: onRow, epochs: onEpochs, catchUp: read });
    else {
      // One that stopped may be resumed by somebody else, or by itself.
      ktrdr.live.follow(seed.status === "completed" ? [] : [seed.id], { row: onRow });
      const none = () => { if (!epochs.length) for (const chart of document.querySelectorAll(".chart[id^=chart-]")) chart.textContent = "No epoch was completed."; };
      if (byId("tiles")) painted().then(read).then(none);
    }
  };
  document.addEventListener("DOMContentLoaded", () => {
    begin();
    document.body.addEventListener("htmx:afterSettle", (event) => { if (event.target.id === "operation") begin(); });
    // The log's end stays in sight, unless the reader went up to look at something.
    const atEnd = (box) => box.scrollTop + box.clientHeight > box.scrollHeight - 30;
    let follows = true;
    document.body.addEventListener("htmx:beforeSwap", (event) => { const box = byId("log"); if (box && event.target === box) follows = atEnd(box); });
    document.body.addEventListener("htmx:load", () => { const box = byId("log"); if (box && follows) box.scrollTop = box.scrollHeight; });
  });
}
