// The editor: colours, line numbers, problems while typing, pieces to insert, a preview, and a draft that survives a reload.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const form = document.getElementById("editor");
  if (!form) return;
  const text = document.getElementById("text");
  const [gutter, sheet] = [form.querySelector(".gutter"), form.querySelector(".sheet pre")];
  const [verdict, list, preview] = ["verdict", "problems", "preview"].map((id) => document.getElementById(id));
  const draft = `draft ${location.pathname}`;
  const stored = text.defaultValue;
  let bad = new Map(); // line number -> message
  let leaving = false;
  let sending = false;
  let readable = false; // all that is wrong with the text is its name

  // --- what is seen ---------------------------------------------------------------------------

  const follow = () => {
    sheet.style.transform = `translate(${-text.scrollLeft}px, ${-text.scrollTop}px)`;
    gutter.firstElementChild.style.transform = `translateY(${-text.scrollTop}px)`;
  };
  const paint = () => {
    const lines = text.value.split("\n");
    ktrdr.yaml.paint(sheet, lines);
    const numbers = gutter.firstElementChild || gutter.appendChild(document.createElement("div"));
    while (numbers.childElementCount > lines.length) numbers.lastElementChild.remove();
    while (numbers.childElementCount < lines.length) {
      const number = document.createElement("span");
      number.textContent = `${numbers.childElementCount + 1}\n`;
      numbers.append(number);
    }
    for (let i = 0; i < lines.length; i += 1) {
      numbers.children[i].className = sheet.children[i].classList.toggle("bad", bad.has(i + 1)) ? "bad" : "";
    }
    follow();
  };

  const goTo = (line, column) => {
    const lines = text.value.split("\n");
    const start = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
    text.focus();
    text.setSelectionRange(start + Math.max(0, column - 1), start + (lines[line - 1] || "").length);
    text.scrollTop = Math.max(0, (line - 6) * parseFloat(getComputedStyle(text).lineHeight));
    text.scrollLeft = 0;
    follow();
  };

  // --- the check ------------------------------------------------------------------------------

  const say = (words, state) => {
    if (verdict.textContent !== words) verdict.textContent = words;
    verdict.dataset.state = state;
    text.setAttribute("aria-invalid", state === "bad");
    const old = state === "bad" && !readable && Boolean(preview.querySelector(".preview"));
    preview.toggleAttribute("data-stale", old);
    document.getElementById("preview-note").textContent = old ? "of the text before" : "";
  };
  const place = (problem) => (problem.line ? `line ${problem.line}, column ${problem.column}` : "");
  const show = (answer) => {
    const problems = answer.problems || [];
    readable = Boolean(answer.readable);
    bad = new Map(problems.filter((p) => p.line).map((p) => [p.line, p.message]));
    list.replaceChildren(...problems.map((problem) => {
      const item = document.createElement("li");
      const to = document.createElement(problem.line ? "button" : "span");
      if (problem.line) {
        to.type = "button";
        to.addEventListener("click", () => goTo(problem.line, problem.column));
      }
      const where = document.createElement("b");
      where.textContent = [place(problem), problem.path].filter(Boolean).join(" · ");
      to.append(where, where.textContent ? " " : "", problem.message);
      item.append(to);
      return item;
    }), ...(answer.warnings || []).map((warning) => {
      const item = document.createElement("li");
      item.className = "warn";
      item.textContent = warning;
      return item;
    }));
    const count = answer.count || problems.length;
    if (answer.valid) say(`Right: ${answer.name}, ${answer.features} features, label ${answer.labels}`, "good");
    else if (answer.empty) say("Nothing is written yet: begin with a sample, or insert a piece", "");
    else say(`${count} ${count === 1 ? "problem" : "problems"}${problems[0] && problems[0].line ? `, the first on ${place(problems[0])}` : ""}`, "bad");
    paint();
  };

  let asked = null;
  const check = async () => {
    if (asked) asked.abort();
    asked = new AbortController();
    const body = new FormData();
    body.set("text", text.value);
    body.set("strategy", form.dataset.strategy);
    try {
      const headers = { "X-CSRFToken": form.elements.csrfmiddlewaretoken.value };
      const answer = await fetch(form.dataset.check, { method: "POST", body, headers, signal: asked.signal, redirect: "error" });
      if (!answer.ok) throw new Error(answer.status === 403 ? "your session has ended: sign in in another tab, this text is kept" : `the server answered ${answer.status}`);
      const found = await answer.json();
      show(found);
      if (found.valid || found.readable) look();
    } catch (error) {
      if (error.name === "AbortError") return;
      const reason = error instanceof TypeError ? "the server cannot be reached, or your session has ended" : error.message;
      say(`Not checked: ${reason}`, "stale");
      clearTimeout(later);
      later = setTimeout(check, 5000);
    }
  };

  const look = () => {
    const values = { text: text.value, symbol: document.getElementById("symbol").value };
    preview.setAttribute("aria-busy", "true");
    if (!preview.querySelector(".preview")) {
      const skeleton = document.createElement("div");
      skeleton.className = "skeleton preview-wait";
      preview.replaceChildren(skeleton);
    }
    const over = () => {
      preview.removeAttribute("aria-busy");
      const left = preview.querySelector(":scope > .preview-wait:not([hx-get])");
      if (left) left.replaceWith("The preview could not be fetched. The next change tries again.");
    };
    // Without an answer htmx rejects, and what is left in the preview's place says so.
    htmx.ajax("POST", preview.dataset.url, { source: preview, target: preview, values }).then(over, over);
  };

  let later = 0;
  const changed = () => {
    paint();
    keep();
    clearTimeout(later);
    later = setTimeout(check, 300);
  };

  // --- the draft ------------------------------------------------------------------------------

  const kept = document.getElementById("kept");
  const dirty = () => text.value !== stored || form.dataset.refused;
  const keep = () => {
    if (text.value === stored && !form.dataset.refused) sessionStorage.removeItem(draft);
    else {
      try { sessionStorage.setItem(draft, JSON.stringify({ base: form.elements.base.value, text: text.value })); } catch { /* no room: the warning on leaving stays */ }
    }
  };
  const restore = () => {
    const found = JSON.parse(sessionStorage.getItem(draft) || "null");
    if (!found || form.dataset.refused || found.text === stored) return;
    const [base, newest] = [found.base, form.elements.base.value];
    text.value = found.text;
    form.elements.base.value = base;
    const discard = document.createElement("button");
    discard.type = "button";
    discard.className = "plain";
    discard.textContent = "Discard it";
    discard.addEventListener("click", () => {
      text.value = stored;
      form.elements.base.value = newest;
      kept.replaceChildren();
      changed();
      text.focus();
    });
    kept.append(base === newest ? "Your unsaved text was kept. " : `Your unsaved text was kept; version ${newest} was stored meanwhile. `, discard);
  };
  addEventListener("beforeunload", (event) => { if (dirty() && !sending) event.preventDefault(); });
  form.addEventListener("submit", () => { sending = true; keep(); });
  addEventListener("pageshow", () => { sending = false; });

  // --- pieces ---------------------------------------------------------------------------------

  const insert = (start, end, words) => {
    text.focus();
    text.setSelectionRange(start, end);
    // The one way that keeps the browser's undo; where it is gone, the text is set without it.
    if (!document.execCommand("insertText", false, words)) text.setRangeText(words, start, end, "end");
    changed();
  };
  const offset = (lines, number) => lines.slice(0, number).reduce((sum, each) => sum + each.length + 1, 0);
  const indentOf = (line) => line.length - line.trimStart().length;
  const blank = (line) => !line.trim() || line.trimStart().startsWith("#");
  /** First line of the block of `key` (with this many spaces before it) and the line after its last, or null. */
  const block = (lines, key, from = 0, to = lines.length, indent = 0) => {
    for (let i = from; i < to; i += 1) {
      if (indentOf(lines[i]) !== indent || !new RegExp(`^${key}\\s*:`).test(lines[i].trimStart())) continue;
      let end = i + 1;
      for (let j = i + 1; j < to && (blank(lines[j]) || indentOf(lines[j]) > indent || (indentOf(lines[j]) === indent && lines[j].trimStart().startsWith("- "))); j += 1) if (!blank(lines[j])) end = j + 1;
      return { start: i, end };
    }
    return null;
  };
  /** The id under `key` that nothing refers to yet, the one written last of these; else the last one. */
  const idToUse = (lines, key, reference) => {
    const found = block(lines, key);
    const inside = found ? lines.slice(found.start + 1, found.end).filter((line) => !blank(line)) : [];
    const ids = inside.filter((line) => indentOf(line) === indentOf(inside[0])).map((line) => line.trim().split(":")[0]).reverse();
    return ids.find((id) => !new RegExp(`${reference}\\s*:\\s*${id}(?![\\w-])`).test(text.value)) || ids[0];
  };
  const unique = (id) => {
    let name = id;
    for (let n = 2; new RegExp(`^\\s+${name}\\s*:`, "m").test(text.value); n += 1) name = `${id}_${n}`;
    return name;
  };

  const put = (piece) => {
    const lines = text.value.split("\n");
    let words = piece.lines.split("\n");
    if (piece.id) words[0] = words[0].replace(piece.id, unique(piece.id));
    words = words.map((line) => line.replace("{indicator}", idToUse(lines, "indicators", "indicator") || "an_indicator").replace("{fuzzy_set}", idToUse(lines, "fuzzy_sets", "fuzzy_set") || "a_fuzzy_set"));
    const [top, inner] = piece.section.split(".");
    const found = block(lines, top);
    const end = offset(lines, lines.length) - 1;
    const gap = text.value && !text.value.endsWith("\n") ? "\n" : "";
    const inside = (indent) => words.map((line) => " ".repeat(indent) + line).join("\n");
    if (!found) return insert(end, end, `${gap}${text.value.trim() ? "\n" : ""}${inner ? `${top}:\n${inside(2)}` : piece.replaces ? inside(0) : `${top}:\n${inside(2)}`}\n`);
    if (inner || piece.replaces) {
      const member = lines.slice(found.start + 1, found.end).find((line) => !blank(line));
      const indent = inner ? (member ? indentOf(member) : 2) : 0;
      const place = inner ? block(lines, inner, found.start + 1, found.end, indent) : found;
      const [from, to] = place ? [offset(lines, place.start), offset(lines, place.end) - 1] : [offset(lines, found.start + 1), offset(lines, found.start + 1)];
      return insert(from, to, place ? inside(indent) : `${inside(indent)}\n`);
    }
    const first = lines.slice(found.start + 1, found.end).find((line) => !blank(line));
    const at = offset(lines, found.end) - 1;
    return insert(at, at, `\n${inside(first ? indentOf(first) : 2)}`);
  };

  document.getElementById("snippet").addEventListener("change", (event) => {
    const piece = event.target.selectedOptions[0];
    if (piece.dataset.lines) put(piece.dataset);
    event.target.value = "";
  });
  const sample = document.getElementById("sample");
  if (sample) sample.addEventListener("change", () => {
    const chosen = sample.selectedOptions[0].dataset.text;
    if (chosen) insert(0, text.value.length, chosen);
    text.setSelectionRange(0, 0);
    text.scrollTop = 0;
    sample.value = "";
  });

  // --- keys -----------------------------------------------------------------------------------

  text.addEventListener("keydown", (event) => {
    if (event.key === "Tab" && !leaving && !event.shiftKey && !event.ctrlKey && !event.altKey) {
      event.preventDefault();
      insert(text.selectionStart, text.selectionEnd, "  ");
    } else if (event.key === "Enter" && !event.ctrlKey && !event.metaKey && !event.isComposing) {
      event.preventDefault();
      const line = text.value.slice(0, text.selectionStart).split("\n").at(-1);
      insert(text.selectionStart, text.selectionEnd, `\n${" ".repeat(indentOf(`${line}x`) + (/:\s*$/.test(line) ? 2 : 0))}`);
    } else if (event.key === "n" && event.altKey && bad.size) {
      event.preventDefault();
      const now = text.value.slice(0, text.selectionStart).split("\n").length;
      const next = [...bad.keys()].sort((a, b) => a - b);
      goTo(next.find((line) => line > now) || next[0], 1);
    } else if (event.key === "s" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit(document.getElementById("save"));
    }
    leaving = event.key === "Escape";
  });
  text.addEventListener("input", changed);
  text.addEventListener("scroll", follow, { passive: true });
  preview.addEventListener("click", (event) => { if (event.target.closest("[data-look-again]")) check(); });
  document.getElementById("symbol").addEventListener("change", () => { if (verdict.dataset.state === "good" || readable) look(); });

  restore();
  paint();
  check();
});
