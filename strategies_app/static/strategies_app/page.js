// A strategy's page: what was just saved needs no draft any more.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const here = new URL(location.href);
  const saved = here.searchParams.get("saved");
  if (!saved) return;
  sessionStorage.removeItem(`draft ${saved === "new" ? "/strategies/new/" : `${here.pathname}edit/`}`);
  here.searchParams.delete("saved");
  history.replaceState(null, "", here);
});
