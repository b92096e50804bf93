// A result's page: the choice of symbol and days above the probabilities draws them again in place.
"use strict";
document.addEventListener("submit", async (event) => {
  const form = event.target.closest("[data-figure-form]");
  if (!form) return;
  event.preventDefault();
  const chart = document.getElementById(form.dataset.figureForm);
  const says = document.getElementById(`${chart.id}-says`);
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const answer = await fetch(`${form.action}?${new URLSearchParams(new FormData(form))}`, { headers: { Accept: "application/json" } });
    const told = answer.headers.get("Content-Type").includes("json") ? await answer.json() : {};
    if (!answer.ok) throw new Error(told.problem || `the server answered ${answer.status}`);
    told.layout.uirevision = form.querySelector("select").value; // another symbol begins with a zoom of its own
    await ktrdr.charts.update(chart, told);
    says.textContent = "";
  } catch (error) {
    says.textContent = `The picture stays as it was: ${error.message}.`;
  }
  button.disabled = false;
});
document.addEventListener("change", (event) => {
  const form = event.target.closest("[data-figure-form]");
  if (form && event.target.matches("select")) form.requestSubmit();
});
