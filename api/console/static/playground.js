// The model test page: asks the chat endpoint under the reader's session. What is said stays in this tab.
"use strict";

const play = document.getElementById("play");
if (play) start();

function start() {
  const texts = play.dataset, fields = play.elements;
  const $ = (id) => document.getElementById(id);
  const MOST_IMAGE = 8 * 1024 * 1024, KEEP = "wonrouter.playground";
  const selects = [fields.model1, fields.model2, fields.model3];
  const PARAMETERS = ["temperature", "top_p", "max_tokens"];
  let turns = [], images = [], running = [], language = "curl";

  for (const select of selects.slice(1)) {
    for (const option of selects[0].options) {
      const copy = option.cloneNode(true);
      copy.removeAttribute("selected");
      select.append(copy);
    }
    select.value = "";
  }
  play.hidden = false;
  $("fresh").hidden = false;
  restore();
  refresh();

  const make = (tag, className = "", text = "") => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text) made.textContent = text;
    return made;
  };
  const fill = (text, values) => text.replace(/{(\w+)}/g, (_, name) => values[name]);

  // What is asked ---------------------------------------------------------------------------------------------------

  function chosen() {
    return [...new Set(selects.map((select) => select.value).filter(Boolean))];
  }

  function option(model) {
    return [...selects[0].options].find((entry) => entry.value === model);
  }

  function parameters(model) {
    const asked = {};
    for (const name of PARAMETERS) if (fields[name].value !== "" && fields[name].validity.valid) asked[name] = Number(fields[name].value);
    const able = option(model).dataset.a.split(" ");
    if (fields.reasoning_effort.value && able.includes("reasoning")) asked.reasoning_effort = fields.reasoning_effort.value;
    if (fields.json.checked) asked.response_format = { type: "json_object" };
    if (able.includes("image")) asked.modalities = ["image", "text"];
    return asked;
  }

  function content(turn) {
    if (!turn.images.length) return turn.text;
    return [...(turn.text ? [{ type: "text", text: turn.text }] : []), ...turn.images.map((url) => ({ type: "image_url", image_url: { url } }))];
  }

  // A model sees its own earlier answers; where it has none, those of the first model that had.
  function messages(model, upTo) {
    const said = fields.system.value.trim() ? [{ role: "system", content: fields.system.value.trim() }] : [];
    for (const turn of turns.slice(0, upTo)) {
      said.push({ role: "user", content: content(turn) });
      const answer = turn.answers.find((entry) => entry.model === model && entry.text) || turn.answers.find((entry) => entry.text);
      if (answer) said.push({ role: "assistant", content: answer.text });
    }
    return said;
  }

  // Asking ----------------------------------------------------------------------------------------------------------

  play.addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = fields.prompt.value.trim();
    if (running.length || (!text && !images.length)) return;
    const turn = { text, images, answers: chosen().map((model) => ({ model, text: "" })) };
    turns.push(turn);
    images = [];
    fields.prompt.value = "";
    showPictures();
    showTurn(turn);
    busy(true);
    await Promise.all(turn.answers.map((answer) => ask(answer, turns.length)));
    busy(false);
    keep();
    refresh();
    $("said").textContent = turn.answers.map((answer) => `${answer.model}: ${answer.problem || answer.text}`).join("\n");
    fields.prompt.focus();
  });

  async function ask(answer, upTo) {
    const stop = new AbortController();
    running.push(stop);
    const began = performance.now();
    const prices = option(answer.model).dataset;
    const asked = [...messages(answer.model, upTo - 1), { role: "user", content: content(turns[upTo - 1]) }];
    answer.sent = tokensOf(JSON.stringify(asked.map((entry) => (typeof entry.content === "string" ? entry.content : ""))));
    answer.prices = [Number(prices.i), Number(prices.o)];
    try {
      const response = await fetch("/api/v1/chat/completions", {
        method: "POST", signal: stop.signal, credentials: "same-origin",
        headers: { "Content-Type": "application/json", "X-CSRF-Token": fields.csrf.value, "X-Title": "WonRouter Console" },
        body: JSON.stringify({ model: answer.model, messages: asked, ...parameters(answer.model), stream: true, stream_options: { include_usage: true } }),
      });
      if (!response.ok) answer.problem = await plain(response);
      else await read(response, answer, began);
    } catch (error) {
      answer.problem = error.name === "AbortError" ? texts.stopped : answer.text ? texts.cut : texts.enet;
    }
    answer.done = true;
    answer.draw();
    running = running.filter((entry) => entry !== stop);
  }

  async function read(response, answer, began) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "", finished = false;
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data: ")) continue;
        if (line === "data: [DONE]") finished = true;
        else take(JSON.parse(line.slice(6)), answer, began);
      }
      answer.late();
    }
    if (!finished && !answer.problem) answer.problem = texts.cut;
  }

  function take(chunk, answer, began) {
    if (chunk.error) {
      answer.problem = texts.cut;
      answer.detail = chunk.error.message;
      return;
    }
    answer.id = chunk.id;
    if (chunk.usage) answer.usage = chunk.usage;
    const choice = (chunk.choices || [])[0];
    if (!choice) return;
    const delta = choice.delta || {};
    const thought = delta.reasoning_content || delta.reasoning || "";
    const pictures = (delta.images || []).map((entry) => entry.image_url.url).filter((url) => url.startsWith("data:image/"));
    if (delta.content || thought || pictures.length) {
      answer.last = performance.now();
      answer.first ??= answer.last - began;
      answer.opened ??= answer.last;
    }
    answer.text += delta.content || "";
    answer.thought = (answer.thought || "") + thought;
    answer.pictures = [...(answer.pictures || []), ...pictures];
    if (choice.finish_reason === "length") answer.note = texts.length;
  }

  async function plain(response) {
    const said = await response.json().catch(() => ({}));
    const error = said.error || {};
    const pause = Math.max(1, Number(response.headers.get("retry-after")) || 1);
    const known = {
      credit_limit_exceeded: texts.ecredit, forbidden_content: texts.eforbidden, model_not_found: texts.e404,
    }[error.code];
    const byStatus = { 400: texts.e400, 401: texts.e401, 403: texts.e403, 404: texts.e404, 413: texts.e413, 429: fill(texts.e429, { s: pause }) };
    const plainly = known || byStatus[response.status] || (response.status < 500 ? texts.e400 : texts.e500);
    return error.message && !known && response.status !== 401 ? `${plainly} (${error.message})` : plainly;
  }

  $("stop").addEventListener("click", () => running.forEach((stop) => stop.abort()));

  function busy(is) {
    $("stop").hidden = !is;
    $("send").disabled = is;
    $("turns").setAttribute("aria-busy", is);
  }

  // Showing ---------------------------------------------------------------------------------------------------------

  function showTurn(turn) {
    $("nothing").hidden = true;
    const box = make("div", "turn");
    const mine = make("div", "mine");
    mine.append(make("b", "unseen", texts.you));
    if (turn.text) mine.append(make("p", "", turn.text));
    for (const url of turn.images) mine.append(picture(url));
    const row = make("div", "answers");
    box.append(mine, row);
    $("turns").append(box);
    for (const answer of turn.answers) {
      const card = make("article", "answer");
      row.append(card);
      answer.draw = () => drawAnswer(card, answer);
      answer.late = () => { answer.frame ??= requestAnimationFrame(() => { answer.frame = undefined; answer.draw(); }); };
      answer.draw();
    }
    box.scrollIntoView({ block: "nearest" });
  }

  function drawAnswer(card, answer) {
    const open = card.querySelector("details")?.open;
    const head = make("header", "", "");
    head.append(make("b", "", answer.model));
    const parts = [head];
    if (answer.thought) {
      const thought = make("details");
      thought.open = Boolean(open);
      thought.append(make("summary", "", texts.reasoning), make("p", "words quiet", answer.thought));
      parts.push(thought);
    }
    parts.push(...words(answer.text), ...(answer.pictures || []).map(picture));
    if (!answer.text && !answer.done) parts.push(make("p", "quiet waiting", texts.waiting));
    if (answer.problem) parts.push(make("p", "alert", answer.problem));
    if (answer.note) parts.push(make("p", "quiet", answer.note));
    parts.push(figures(answer));
    card.replaceChildren(...parts);
  }

  // Text as it came, with fenced code set apart; never as markup.
  function words(text) {
    return text.split(/^```(?:[^\n]*)\n?/m).map((part, place) => {
      if (!part.trim()) return null;
      if (place % 2 === 0) return make("div", "words", part.trim());
      const block = make("pre", "code");
      block.append(make("code", "", part.replace(/\n$/, "")));
      return block;
    }).filter(Boolean);
  }

  function picture(url) {
    const made = make("img");
    made.src = url;
    made.alt = texts.image;
    return made;
  }

  function figures(answer) {
    const foot = make("footer", "quiet");
    const add = (text, className = "") => foot.append(make("span", className, text));
    if (answer.first !== undefined) add(fill(texts.first, { s: (answer.first / 1000).toFixed(2) }));
    const used = answer.usage;
    const output = used ? used.completion_tokens : tokensOf(answer.text + (answer.thought || ""));
    const seconds = (answer.last - answer.opened) / 1000;
    if (seconds > 0.05 && output > 1) add(fill(texts.speed, { n: Math.round((output - 1) / seconds).toLocaleString() }));
    if (used) {
      add(fill(texts.tokens, { i: used.prompt_tokens.toLocaleString(), o: output.toLocaleString() }));
      if (used.cost_krw !== undefined) add(fill(texts.cost, { won: grouped(String(used.cost_krw)) }), "strong");
    } else if (answer.first !== undefined && answer.prices) {
      const about = (answer.sent * answer.prices[0] + output * answer.prices[1]) / 1e6;
      add(fill(texts.about, { won: about.toFixed(about < 1 ? 4 : 2) }));
    }
    if (used && answer.id) {
      const link = make("a", "", texts.receipt);
      link.href = `/console/calls/${encodeURIComponent(answer.id)}`;
      foot.append(link);
    }
    return foot;
  }

  // A guess while the answer runs: the provider counts at the end.
  function tokensOf(text) {
    const wide = (text.match(/[^\x00-\x7f]/g) || []).length;
    return Math.ceil((text.length - wide) / 4 + wide / 1.6);
  }

  function grouped(digits) {
    const [whole, rest] = digits.split(".");
    return whole.replace(/\B(?=(\d{3})+$)/g, ",") + (rest ? `.${rest}` : "");
  }

  // Images ----------------------------------------------------------------------------------------------------------

  fields.files.addEventListener("change", () => { add(fields.files.files); fields.files.value = ""; });
  fields.prompt.addEventListener("paste", (event) => add(event.clipboardData.files));

  async function add(files) {
    for (const file of [...files]) { // the browser empties its list as soon as the event is over
      if (!/^image\/(png|jpeg|webp|gif)$/.test(file.type)) continue;
      if (file.size > MOST_IMAGE) { $("said").textContent = texts.big; alert(texts.big); continue; }
      images.push(await new Promise((done) => {
        const reader = new FileReader();
        reader.onload = () => done(reader.result);
        reader.readAsDataURL(file);
      }));
    }
    showPictures();
    refresh();
  }

  function showPictures() {
    $("pictures").replaceChildren(...images.map((url, place) => {
      const button = make("button", "thumb");
      button.type = "button";
      button.title = texts.remove;
      button.setAttribute("aria-label", texts.remove);
      button.append(picture(url));
      button.addEventListener("click", () => { images.splice(place, 1); showPictures(); refresh(); });
      return button;
    }));
  }

  // Code ------------------------------------------------------------------------------------------------------------

  function body() {
    const model = selects[0].value;
    const draft = fields.prompt.value.trim();
    const again = !draft && turns.length > 0; // nothing new: the last request once more
    const said = messages(model, again ? turns.length - 1 : turns.length);
    said.push({ role: "user", content: again ? content(turns.at(-1)) : draft || fields.prompt.placeholder });
    for (const entry of said) if (Array.isArray(entry.content)) for (const part of entry.content) if (part.image_url) part.image_url = { url: "data:image/png;base64,..." };
    return { model, messages: said, ...parameters(model) };
  }

  function code() {
    const asked = body(), base = `${texts.base}/api/v1`, pretty = JSON.stringify(asked, null, 2);
    if (language === "curl") {
      return `curl ${base}/chat/completions \\\n  -H 'X-API-Key: YOUR_KEY' \\\n  -H 'Content-Type: application/json' \\\n  -d '${pretty.replaceAll("'", "'\\''")}'`;
    }
    if (language === "javascript") {
      return `import OpenAI from "openai";\n\nconst client = new OpenAI({ baseURL: "${base}", apiKey: "YOUR_KEY" });\nconst answer = await client.chat.completions.create(${pretty});\nconsole.log(answer.choices[0].message.content);\nconsole.log(answer.usage.cost_krw);`;
    }
    const own = ["model", "messages", "temperature", "top_p", "max_tokens", "response_format", "reasoning_effort", "modalities"];
    const given = own.filter((name) => name in asked).map((name) => `    ${name}=${python(asked[name], 1)},`);
    return `from openai import OpenAI\n\nclient = OpenAI(base_url="${base}", api_key="YOUR_KEY")\nanswer = client.chat.completions.create(\n${given.join("\n")}\n)\nprint(answer.choices[0].message.content)\nprint(answer.usage.cost_krw)`;
  }

  // JSON text is Python text but for three words.
  function python(value, depth) {
    const indent = "    ".repeat(depth);
    if (value === true) return "True";
    if (value === false) return "False";
    if (value === null) return "None";
    if (Array.isArray(value)) return `[\n${value.map((part) => `${indent}    ${python(part, depth + 1)},\n`).join("")}${indent}]`;
    if (typeof value === "object") return `{${Object.entries(value).map(([name, part]) => `${JSON.stringify(name)}: ${python(part, depth + 1)}`).join(", ")}}`;
    return JSON.stringify(value);
  }

  function refresh() {
    const able = chosen().flatMap((model) => option(model).dataset.a.split(" "));
    fields.reasoning_effort.disabled = !able.includes("reasoning");
    $("attach").hidden = !able.includes("vision") && !able.includes("image");
    $("code").textContent = code();
  }

  for (const tab of play.querySelectorAll("[data-code]")) {
    tab.addEventListener("click", () => {
      language = tab.dataset.code;
      for (const other of play.querySelectorAll("[data-code]")) other.setAttribute("aria-pressed", other === tab);
      refresh();
    });
  }
  $("copy").addEventListener("click", async () => {
    await navigator.clipboard?.writeText($("code").textContent);
    const usual = $("copy").textContent;
    $("copy").textContent = texts.copied;
    setTimeout(() => { $("copy").textContent = usual; }, 1500);
  });

  // Keeping ---------------------------------------------------------------------------------------------------------

  function keep() {
    const kept = turns.map(({ text, answers }) => ({ text, images: [], answers: answers.map(({ model, text, thought, usage, id, first, problem }) => ({ model, text, thought, usage, id, first, problem, done: true })) }));
    const set = Object.fromEntries(["model1", "model2", "model3", "system", ...PARAMETERS, "reasoning_effort"].map((name) => [name, fields[name].value]));
    try {
      sessionStorage.setItem(KEEP, JSON.stringify({ turns: kept, set }));
    } catch {
      sessionStorage.removeItem(KEEP); // full: the conversation goes on without being kept
    }
  }

  function restore() {
    const kept = JSON.parse(sessionStorage.getItem(KEEP) || "null");
    if (!kept) return;
    const named = new URLSearchParams(location.search).has("model");
    for (const [name, value] of Object.entries(kept.set)) if (fields[name] && !(named && name === "model1")) fields[name].value = value;
    if (!selects[0].value) selects[0].selectedIndex = [...selects[0].options].findIndex((entry) => !entry.disabled);
    turns = kept.turns;
    queueMicrotask(() => turns.forEach(showTurn));
  }

  $("fresh").addEventListener("click", () => {
    running.forEach((stop) => stop.abort());
    turns = [];
    images = [];
    sessionStorage.removeItem(KEEP);
    showPictures();
    for (const box of $("turns").querySelectorAll(".turn")) box.remove();
    $("nothing").hidden = false;
    refresh();
    fields.prompt.focus();
  });
  play.addEventListener("input", () => { refresh(); keep(); });
  fields.prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); play.requestSubmit(); }
  });
}
