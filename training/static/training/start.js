// The start form: the plan follows every edit, fields that are in the way are marked, symbols can be found by name.
"use strict";
(() => {
  let later = 0;
  const byId = (id) => document.getElementById(id);

  const replan = () => {
    if (!byId("plan-state")) return; // another page took this one's place before the pause after typing was over
    byId("plan-state").textContent = "brought up to date …";
    htmx.trigger("#plan", "replan");
  };
  document.addEventListener("input", (event) => {
    if (event.target.id === "find-symbol") {
      const words = event.target.value.trim().toLowerCase();
      for (const choice of document.querySelectorAll(".choice")) choice.hidden = !choice.dataset.name.includes(words) && !choice.querySelector(":checked");
      return;
    }
    if (!event.target.closest("#start") || event.target.id === "strategy") return;
    clearTimeout(later);
    later = setTimeout(replan, event.target.type === "checkbox" ? 250 : 500);
  });

  document.addEventListener("change", async (event) => {
    if (event.target.id !== "symbol-file" || !event.target.files.length) return;
    const [chosen, list, state] = [event.target, byId("symbol-list"), byId("plan-state")]; // another strategy's page may come meanwhile
    try {
      list.value = await chosen.files[0].text();
      replan();
    } catch (error) {
      state.textContent = `the file could not be read: ${error.message}`;
    }
    chosen.value = "";
  });

  // Each sentence stands at its field too, and is gone from there once it is mended.
  const mark = () => {
    const said = new Map([...document.querySelectorAll("#plan-body .refusal")].map((e) => [e.dataset.field, [...e.children]]));
    for (const place of document.querySelectorAll(".field-errors")) {
      const sentences = said.get(place.dataset.for) || [];
      place.replaceChildren(...sentences.map((e) => e.cloneNode(true)));
      const field = document.querySelector(`#start [name="${place.dataset.for}"]`);
      if (field && field.type !== "checkbox") field.setAttribute("aria-invalid", String(sentences.length > 0));
      else place.closest("fieldset").toggleAttribute("data-bad", sentences.length > 0);
    }
    for (const time of document.querySelectorAll("[data-seconds]")) time.textContent = ktrdr.duration(Number(time.dataset.seconds));
  };
  document.addEventListener("htmx:afterSwap", (event) => {
    if (!["plan", "planned"].includes(event.target.id) && !byId("planned")) return;
    mark();
    const count = document.querySelectorAll("#plan-body .refusal p").length;
    if (byId("plan-state") && !document.querySelector("#planned .skeleton")) byId("plan-state").textContent = count ? `${count} ${count === 1 ? "thing is" : "things are"} in the way` : "up to date";
  });
  const failed = () => { if (byId("plan-state")) byId("plan-state").textContent = "the plan could not be brought up to date; the next edit tries again"; };
  document.addEventListener("htmx:sendError", failed);
  document.addEventListener("htmx:responseError", failed);
})();
