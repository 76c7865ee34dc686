// What makes the settings quicker to use. Every page works without it.
"use strict";

document.querySelector(".contents [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

for (const form of document.querySelectorAll("form[data-change]")) {
  const button = form.querySelector("button");
  const usual = form.querySelector("select").value;
  if (form.method === "get") form.addEventListener("change", () => form.requestSubmit());
  else {
    button.hidden = true; // until there is something to save
    form.addEventListener("change", () => { button.hidden = form.querySelector("select").value === usual; });
  }
}

for (const form of document.querySelectorAll("form[data-sure]")) {
  form.addEventListener("submit", (event) => { if (!confirm(form.dataset.sure)) event.preventDefault(); });
}

for (const file of document.querySelectorAll("input[data-into]")) {
  file.closest(".needs-script").hidden = false;
  file.addEventListener("change", async () => {
    const field = document.getElementById(file.dataset.into);
    const raw = await file.files[0].arrayBuffer();
    let text;
    try {
      text = new TextDecoder("utf-8", { fatal: true }).decode(raw);
    } catch {
      text = new TextDecoder("euc-kr").decode(raw); // what older Korean programs save
    }
    field.value = [field.value.trim(), ...text.split(/\r?\n/).map((line) => line.replace(/^"(.*)"$/, "$1").trim())].filter(Boolean).join("\n");
    file.value = "";
    field.focus();
  });
}
