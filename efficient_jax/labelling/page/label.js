"use strict";
// One image or nine are shown, further ones are loaded ahead. A key becomes a request; the next image appears when the
// answer is on disk. Text from outside only ever becomes textContent.

const $ = (id) => document.getElementById(id);
const KEYS = [..."123456789abcdefghijklmnopqrstuvwxyz"];
const AHEAD = 4; // images beyond those shown
const LISTED = 60; // classes that are shown of a long list
const TINY = 64; // pixels: up to this side each of them is shown
const PAUSE = 60000; // ms: a longer gap between answers is no work
const tab = sessionStorage.tab ||= crypto.randomUUID();

let about = {}, view = { classes: [], progress: {} };
let nine = localStorage.nine === "1", list = "open";
let cells = []; // what is shown: {item, answer, chosen: Set}
let ahead = []; // items to come
let here = 0; // index of the cell that keys act on
let busy = false, turn = 0, filter = "", times = [];
const images = new Map(); // index -> {image, state: "loading" | "ready" | "failed", reason}

const long = () => view.classes.length > KEYS.length;
const numbered = () => view.classes.some((name) => /\d/.test(name)); // then digits narrow the list, too
const cell = () => cells[here];
const open = () => cells.filter((each) => !each.answer);
const views = () => about.views ?? []; // of masks and boxes: what is shown beside each other
const able = (command) => !views().length || !["accept", "none", "nine", "add"].includes(command);

async function ask(name, extra = {}) {
  const held = [...open().map((each) => each.item), ...ahead].map((item) => item.index);
  const request = { tab, list, held, count: (nine ? 9 : 1) + (nine ? 9 : AHEAD), ...extra };
  const reply = await fetch(name, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(request) });
  const content = await reply.json();
  if (!reply.ok) throw new Error(content.error);
  return content;
}

// Loads the image of an item once; what is neither shown nor to come is forgotten.
function imageOf(item) {
  const size = nine ? "grid" : "one";
  const known = images.get(item.index);
  if (known && (known.size === size || known.size === "one")) return known;
  const parts = views().length
    ? views().map((view) => element("img", { alt: `${view}: ${item.file}`, src: `${view}-${size}/${item.index}`, draggable: false }))
    : [element("img", { alt: `image to label: ${item.file}`, src: `${size}/${item.index}`, draggable: false })];
  const image = views().length ? beside(parts) : parts[0];
  const loaded = { image, size, state: "loading", reason: "" };
  images.set(item.index, loaded);
  loaded.done = Promise.all(parts.map((part) => part.decode())).then(
    () => { loaded.state = "ready"; for (const part of parts) sharpen(part); },
    async () => {
      loaded.state = "failed";
      const replies = await Promise.all(parts.map((part) => fetch(part.src).then((reply) => reply.ok ? "" : reply.json().then((said) => said.error), () => "the program has stopped")));
      loaded.reason = replies.find(Boolean) ?? "";
    },
  ).then(() => cells.some((each) => each.item.index === item.index) && draw());
  return loaded;
}

const sharpen = (image) => image.classList.toggle("small", Math.max(image.naturalWidth, image.naturalHeight) <= TINY);

function forget() {
  const kept = new Set([...cells.map((each) => each.item), ...ahead].map((item) => item.index));
  for (const index of images.keys()) if (!kept.has(index)) images.delete(index);
}

// Takes over what the server says: `items` are those held that are still open, then further ones.
function receive(next) {
  view = next;
  const items = new Map(next.items.map((item) => [item.index, item]));
  if (next.undone !== null && next.undone !== undefined) {
    const again = cells.findIndex((each) => each.item.index === next.undone);
    if (again >= 0) {
      cells[again] = fresh(items.get(next.undone));
      here = again;
    } else {
      cells = [fresh(items.get(next.undone)), ...open()].slice(0, nine ? 9 : 1);
      here = 0;
    }
  }
  cells = cells.filter((each) => each.answer || items.has(each.item.index)); // others have answered the rest
  for (const each of open()) {
    const item = items.get(each.item.index);
    if (each.item.guesses === null && item.guesses) each.chosen = new Set(known(item));
    each.item = item;
  }
  const shown = new Set(cells.map((each) => each.item.index));
  ahead = next.items.filter((item) => !shown.has(item.index));
  const size = nine ? 9 : 1;
  if (!open().length) {
    cells = ahead.splice(0, size).map(fresh);
    here = 0;
  } else if (cells.length < size) {
    cells.push(...ahead.splice(0, size - cells.length).map(fresh));
  }
  if (!cell() || cell().answer) here = Math.max(0, following());
  [...cells.map((each) => each.item), ...ahead].forEach(imageOf);
  forget();
  draw();
}

const known = (item) => item.chosen.filter((name) => view.classes.includes(name));
const fresh = (item) => ({ item, answer: null, chosen: new Set(known(item)) });

// The next cell without an answer after the one that keys act on, around the end; -1: none.
function following() {
  const order = cells.map((_, i) => (here + i) % cells.length);
  return order.find((i) => !cells[i].answer) ?? -1;
}

async function send(name, extra = {}) {
  if (busy) return false;
  busy = true;
  turn++;
  try {
    const next = await ask(name, { id: crypto.randomUUID(), ...extra });
    if (name === "answer") for (const answer of extra.answers) cells.find((each) => each.item.index === answer.index).answer = answer;
    problem("");
    receive(next);
    return true;
  } catch (error) {
    problem(error instanceof TypeError ? "Not saved: the program that serves this page has stopped. Start it again, and open the address that it prints." : `Nothing was changed: ${error.message}`);
    return false;
  } finally {
    busy = false;
  }
}

function problem(text) {
  $("problem").hidden = !text;
  $("problem").textContent = text;
}

// Answers cells: nothing that has not been seen can have a label.
async function answer(which, kind, labels = () => []) {
  const seen = which.filter((each) => each && !each.answer && images.get(each.item.index)?.state !== "loading");
  const able = kind === "skip" ? seen : seen.filter((each) => images.get(each.item.index).state === "ready");
  if (!able.length) return seen.length && problem("This image cannot be read: it can only be skipped.");
  const answers = able.map((each) => ({ id: crypto.randomUUID(), index: each.item.index, kind, labels: labels(each) }));
  const said = answers.length > 1 ? `${answers.length} images` : `${able[0].item.file}: ${kind === "label" ? answers[0].labels.join(", ") : NAMES[kind]}`;
  if (await send("answer", { answers })) {
    const now = performance.now();
    if (kind !== "skip") times.push(...answers.map(() => now));
    times = times.slice(-40);
    $("last").textContent = said;
    drawProgress();
  }
}

const NAMES = { none: "none of these", unsure: "unsure", skip: "skipped" };

function choose(name) {
  filter = "";
  closeFinder();
  if (!about.several) return answer([cell()], "label", () => [name]);
  if (cell() && !cell().chosen.delete(name)) cell().chosen.add(name);
  draw();
}

function accept() {
  const ready = open().filter((each) => each.chosen.size);
  if (ready.length) return answer(ready, "label", (each) => [...each.chosen]);
  if (cell()) problem(about.several ? "Choose one class or more, or 0 for none of these." : "There is no guess to accept: choose a class.");
}

async function undo() {
  const before = $("last").textContent;
  if (await send("undo")) $("last").textContent = view.undone === null ? "nothing left to undo" : `undone: ${cell().item.file}`;
  else $("last").textContent = before;
}

function openFinder(text = "") {
  $("finder").hidden = false;
  $("find").value = filter = text;
  $("find").focus();
  draw();
}

function closeFinder() {
  filter = "";
  $("find").value = "";
  if (!long()) $("finder").hidden = true;
  document.activeElement?.blur?.();
}

function adder(shown) {
  $("adder").hidden = !shown;
  $("add").value = "";
  if (shown) $("add").focus(); else document.activeElement?.blur?.();
}

function toggleNine() {
  nine = !nine;
  localStorage.nine = nine ? "1" : "0";
  ahead = [...open().map((each) => each.item), ...ahead];
  cells = [];
  here = 0;
  images.clear();
  return send("next");
}

function lookAt(other) {
  list = other;
  cells = [];
  ahead = [];
  return send("next");
}

function zoom(view = views()[1]) {
  if ($("zoom").open) return $("zoom").close();
  const current = cell();
  if (!current || images.get(current.item.index)?.state !== "ready") return;
  const image = element("img", { alt: `enlarged: ${current.item.file}`, src: `${view ? `${view}-` : ""}zoom/${current.item.index}` });
  image.onload = () => sharpen(image);
  $("zoom").replaceChildren(image);
  $("zoom").className = "fit";
  $("zoom").showModal();
}

const COMMANDS = [
  ["accept", "↵", "accept", accept],
  ["none", "0", "none of these", () => answer([cell()], "none")],
  ["unsure", "?", "unsure", () => answer([cell()], "unsure")],
  ["skip", "-", "skip", () => answer([cell()], "skip")],
  ["undo", "⌫", "undo", undo],
  ["zoom", "␣", "zoom", () => zoom()],
  ["nine", "#", "nine", toggleNine],
  ["add", "+", "new class", () => adder($("adder").hidden)],
];

// A click leaves the keyboard with the page; a button reached by Tab keeps the focus.
const clicked = (action) => (event) => {
  if (event.detail) event.currentTarget.blur();
  return action();
};

function move(step) {
  if (!nine) return step === 1 ? answer([cell()], "skip") : undefined;
  here = Math.min(Math.max(here + step, 0), cells.length - 1);
  draw();
}

document.addEventListener("keydown", (event) => {
  const { key } = event, inText = event.target instanceof HTMLInputElement;
  if (event.isComposing || event.altKey || ((event.ctrlKey || event.metaKey) && key !== "z")) return;
  if ($("zoom").open) {
    if (key === " ") { event.preventDefault(); zoom(); }
    if (key === "Enter") { event.preventDefault(); $("zoom").classList.toggle("fit"); }
    return;
  }
  if (inText) return textKey(event);
  const onButton = event.target instanceof HTMLButtonElement;
  if (onButton && (key === "Enter" || key === " ")) return;
  if (event.repeat && !(nine && key.startsWith("Arrow"))) return event.preventDefault();
  const row = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 3, ArrowUp: -3 }[key];
  const commands = { Enter: "accept", 0: "none", "?": "unsure", "-": "skip", Backspace: "undo", " ": "zoom", "#": "nine", "+": "add", "=": "add" };
  const command = COMMANDS.find(([name]) => able(name) && name === (event.ctrlKey || event.metaKey ? "undo" : commands[key]));
  const digit = key >= "1" && key <= "9" && key.length === 1;
  if (command) { event.preventDefault(); command[3](); }
  else if (row && (nine || Math.abs(row) === 1)) { event.preventDefault(); move(row); }
  else if (key === "/" && view.classes.length) { event.preventDefault(); openFinder(); }
  else if (key === "Escape") { closeFinder(); adder(false); problem(""); draw(); }
  else if (long() && (!digit || numbered())) { if (key.length === 1) { event.preventDefault(); openFinder(key); } }
  else {
    const found = shown().find((each) => each.key === key.toLowerCase());
    if (found) { event.preventDefault(); choose(found.name); }
  }
});

function textKey(event) {
  if (event.key === "Escape") { event.preventDefault(); closeFinder(); adder(false); draw(); }
  if (event.target.id !== "find") return;
  const found = shown();
  const picked = event.key === "Enter" ? found[0] : found.find((each) => each.key === event.key && /^[1-9]$/.test(event.key));
  if (event.key === "Enter" || picked) event.preventDefault();
  if (picked) choose(picked.name);
}

$("find").addEventListener("input", () => { filter = $("find").value; draw(); });
$("adder").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!$("add").value.trim()) return adder(false);
  if (await send("class", { name: $("add").value })) adder(false);
});
$("zoom").addEventListener("click", () => $("zoom").close());
$("commands").append(...COMMANDS.map(([name, key, text, action]) => {
  const button = element("button", { type: "button", onclick: clicked(action), ariaKeyShortcuts: key }, element("span", { textContent: text }), element("kbd", { textContent: key }));
  button.dataset.name = name;
  return button;
}));

// Guesses that were not there yet; what comes late, after an answer, is not taken.
setInterval(async () => {
  const waits = view.loading && (!cells.length || cells.some((each) => each.item.guesses === null));
  if (!waits || busy || document.hidden) return;
  const asked = turn;
  const next = await ask("next").catch(() => null);
  if (next && asked === turn) receive(next);
}, 1000);

// Its images are then free for other tabs, and its answers for their undo.
addEventListener("pagehide", () => navigator.sendBeacon("leave", new Blob([JSON.stringify({ tab })], { type: "application/json" })));

fetch("about").then((reply) => reply.json()).then((content) => {
  about = content;
  $("folder").textContent = about.name;
  document.title = `Label ${about.name}`;
  $("commands").querySelector("[data-name=accept] span").textContent = about.several ? "save" : "accept";
  for (const button of $("commands").children) button.hidden = !able(button.dataset.name);
  nine &&= able("nine");
  drawLegend();
  return send("next");
});
