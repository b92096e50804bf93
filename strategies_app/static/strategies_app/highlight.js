// Colours YAML line by line. Text only ever becomes text: no markup is made from it.
"use strict";
window.ktrdr = window.ktrdr || {};

ktrdr.yaml = (() => {
  const WORD = /^(?:true|false|null|~|[-+]?\.inf|\.nan)$/i;
  const NUMBER = /^[-+]?(?:\d[\d_]*)(?:\.\d+)?(?:e[-+]?\d+)?$|^\d{4}-\d{2}-\d{2}$/i;
  // Comment, quoted text, key (with its colon), punctuation, plain word, spaces.
  const PARTS = /(#.*$)|("(?:[^"\\]|\\.)*"?|'(?:[^']|'')*'?)|([^\s#:,{}[\]"'][^#:,{}[\]]*?(?=\s*:(?:\s|$)))|([:,{}[\]]|-(?=\s))|([^\s:,{}[\]]+)|(\s+)/g;

  const span = (kind, text) => {
    const element = document.createElement("span");
    element.className = kind;
    element.textContent = text;
    return element;
  };

  /** One line of YAML as an element. */
  const line = (text) => {
    const element = document.createElement("span");
    element.className = "line";
    let before = " ";
    for (const [part, comment, quoted, key, punctuation, word] of text.matchAll(PARTS)) {
      if (comment && /\s/.test(before)) element.append(span("comment", part));
      else if (quoted) element.append(span("string", part));
      else if (key) element.append(span("key", part));
      else if (punctuation) element.append(span("mark", part));
      else if (word && WORD.test(word)) element.append(span("word", part));
      else if (word && NUMBER.test(word)) element.append(span("figure", part));
      else element.append(part);
      before = part.at(-1);
    }
    element.append("\n");
    return element;
  };

  /** Makes `pre` show the lines; those that stayed the same are left alone. */
  const paint = (pre, lines) => {
    const old = pre.painted || [];
    let head = 0;
    while (head < old.length && head < lines.length && old[head] === lines[head]) head += 1;
    let tail = 0;
    while (tail < old.length - head && tail < lines.length - head && old[old.length - 1 - tail] === lines[lines.length - 1 - tail]) tail += 1;
    for (let gone = old.length - head - tail; gone > 0; gone -= 1) pre.children[head].remove();
    const fresh = document.createDocumentFragment();
    for (const text of lines.slice(head, lines.length - tail)) fresh.append(line(text));
    pre.insertBefore(fresh, pre.children[head] || null);
    pre.painted = lines;
  };

  document.addEventListener("DOMContentLoaded", () => {
    for (const pre of document.querySelectorAll("pre[data-yaml]")) {
      const lines = pre.textContent.replace(/\n$/, "").split("\n");
      pre.replaceChildren();
      paint(pre, lines);
    }
  });
  return { paint };
})();
