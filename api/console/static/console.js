// What makes the pages quicker to use. Every one of them works without it.
"use strict";

// A form is sent once, however often its button is pressed.
for (const form of document.querySelectorAll("form[data-once]")) {
  form.addEventListener("submit", () => {
    const button = form.querySelector("button:not([type=button])");
    setTimeout(() => { button.disabled = true; });
    addEventListener("pageshow", () => { button.disabled = false; }, { once: true });
  });
}

// The token of a mailed link stands behind "#", where no server sees it: it goes into the form, and out of the address.
const mailed = document.querySelector("form[data-link]");
if (mailed && location.hash.length > 1) {
  mailed.elements.token.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  if (mailed.dataset.link === "fill") {
    mailed.elements.token.closest("label").hidden = true;
    mailed.elements.password.focus();
  } else mailed.requestSubmit();
}

for (const button of document.querySelectorAll("button[data-copy]")) {
  const field = document.getElementById(button.dataset.copy);
  button.hidden = false;
  field.addEventListener("focus", () => field.select());
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(field.value);
      button.textContent = button.dataset.done;
    } catch {
      // the clipboard is closed to pages that did not come over TLS
      field.focus();
      field.select();
      button.textContent = document.execCommand("copy") ? button.dataset.done : button.dataset.failed;
    }
  });
}

// The page's own place in a row of links that is wider than the screen.
for (const place of document.querySelectorAll(".tabs [aria-current], .contents [aria-current]")) {
  const row = place.closest(".tabs, .contents");
  row.scrollLeft += place.getBoundingClientRect().left - row.getBoundingClientRect().left - (row.clientWidth - place.offsetWidth) / 2;
}

const menu = document.querySelector("details.menu");
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !menu.open) return;
  menu.open = false;
  menu.firstElementChild.focus();
});
document.addEventListener("click", (event) => { if (!menu.contains(event.target)) menu.open = false; });

// A chart says the exact value of the bar under the pointer or finger.
document.addEventListener("pointerover", (event) => {
  const readout = document.querySelector("[data-readout]");
  if (!readout) return;
  const title = event.target.closest?.(".plot g")?.querySelector("title");
  const text = title ? title.textContent : readout.dataset.readout;
  if (readout.textContent !== text) readout.textContent = text;
  readout.classList.toggle("now", Boolean(title));
});

const filters = document.getElementById("filters");
const prices = document.getElementById("prices");
if (filters && prices && prices.rows.length - 1 === Number(prices.dataset.all)) filterHere();

// The page holds every model: filter and sort it here, and keep the address in step so that it can be passed on.
function filterHere() {
  const body = prices.tBodies[0];
  const rows = [...body.rows].map((row, place) => ({
    row, place, words: row.cells[0].querySelectorAll("b, code"), d: row.dataset,
  }));
  for (const entry of rows) entry.text = [...entry.words].map((part) => part.textContent).join(" ").toLowerCase();
  const orders = {
    "": (a, b) => a.place - b.place,
    model: (a, b) => a.words[1].textContent.localeCompare(b.words[1].textContent, "en"),
    context: (a, b) => b.d.c - a.d.c || a.place - b.place,
    input: (a, b) => a.d.i - b.d.i || a.place - b.place,
    output: (a, b) => a.d.o - b.d.o || a.place - b.place,
  };
  const usual = filters.elements.sort.value;
  if (usual) orders[""] = orders.model;
  const count = document.getElementById("count");
  filters.querySelector("[data-apply]").hidden = true;

  function apply() {
    const asked = Object.fromEntries(new FormData(filters));
    const words = asked.q.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { row, text, d } of rows) {
      const fits = words.every((word) => text.includes(word)) && (!asked.provider || d.p === asked.provider)
        && (!asked.ability || d.a.split(" ").includes(asked.ability));
      row.hidden = !fits;
      shown += fits;
    }
    body.append(...[...rows].sort(orders[asked.sort]).map((entry) => entry.row));
    prices.hidden = shown === 0;
    document.getElementById("none").hidden = shown !== 0;
    count.textContent = count.dataset.text.replace("{n}", shown).replace("{all}", rows.length);
    const query = new URLSearchParams(Object.entries(asked).filter(([, value]) => value));
    history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
  }

  filters.addEventListener("input", apply);
  filters.addEventListener("submit", (event) => { event.preventDefault(); apply(); });
}
