// Pages that renew themselves while somebody looks at them: asked cheaply whether anything changed, fetched only then.
"use strict";

const EVERY_MS = 1000;
const state = document.getElementById("live-state");
if (state) renew();

function renew() {
  let timer = 0;
  let failures = 0;

  function say(well) {
    state.hidden = false;
    state.classList.toggle("lost", !well);
    const text = well ? state.dataset.well : state.dataset.lost;
    if (state.textContent !== text) state.textContent = text;
  }

  // What the reader has opened or focused stays so.
  async function replace() {
    const answer = await fetch(location.href, { headers: { "x-console-live": "1" } });
    if (!answer.ok || answer.redirected) return location.reload();
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
    const old = document.getElementById("live");
    if (!fresh) return location.reload();
    for (const open of old.querySelectorAll("details[open][id]")) {
      const same = fresh.querySelector(`#${CSS.escape(open.id)}`);
      if (same) same.open = true;
    }
    const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    old.replaceWith(fresh);
    if (focused) fresh.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  async function look() {
    try {
      const answer = await fetch(state.dataset.live, { headers: { "x-console-live": "1" } });
      if (answer.redirected) return location.reload(); // signed out
      if (!answer.ok) throw new Error(String(answer.status));
      const found = (await answer.json()).state;
      failures = 0;
      say(true);
      if (found !== document.getElementById("live").dataset.state) await replace();
    } catch {
      failures += 1;
      say(false);
    }
    schedule();
  }

  // Nobody looks at a hidden page: it asks nothing, and looks at once when it is shown again.
  function schedule() {
    clearTimeout(timer);
    const now = document.getElementById("live").dataset.state.split("/")[0];
    if ((state.dataset.until || "").split(" ").includes(now)) return void (state.hidden = true); // nothing more happens
    if (document.hidden) return;
    timer = setTimeout(look, EVERY_MS * Math.min(2 ** failures, 30));
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : look()));
  say(true);
  schedule();
}
