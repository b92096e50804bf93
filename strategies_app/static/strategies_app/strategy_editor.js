// In the strategy's text: a click on a problem goes to its line, and Tab indents by two spaces (Escape, then Tab leaves).
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const text = document.querySelector("textarea.strategy-text");
  if (!text) return;

  function goTo(line, column) {
    const lines = text.value.split("\n");
    const start = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
    text.focus();
    text.setSelectionRange(start + column - 1, start + (lines[line - 1] || "").length);
    text.scrollTop = Math.max(0, (line - 6) * parseFloat(getComputedStyle(text).lineHeight));
  }

  for (const problem of document.querySelectorAll(".field-text .errorlist li")) {
    const place = /^line (\d+), column (\d+)/.exec(problem.textContent);
    if (!place) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "to-line";
    button.textContent = problem.textContent;
    button.addEventListener("click", () => goTo(Number(place[1]), Number(place[2])));
    problem.replaceChildren(button);
  }

  let leaving = false;
  text.addEventListener("keydown", (event) => {
    if (event.key === "Tab" && !leaving && !event.shiftKey) {
      event.preventDefault();
      text.setRangeText("  ", text.selectionStart, text.selectionEnd, "end");
    }
    leaving = event.key === "Escape";
  });
});
