"use strict";
// Draws what label.js knows: the images, the classes with their keys, the progress.

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// The views of an image with their names; a click enlarges one.
function beside(parts) {
  const boxes = parts.map((part, i) => {
    part.onclick = (event) => { event.stopPropagation(); zoom(views()[i]); };
    return element("div", {}, part, element("small", { textContent: views()[i] }));
  });
  return element("div", { className: "views" }, ...boxes);
}

// The colors of the classes in masks and boxes.
function drawLegend() {
  $("legend").hidden = !about.legend.length;
  $("legend").replaceChildren(...about.legend.map(([name, color]) => {
    const swatch = element("i");
    if (color) swatch.style.background = color;
    return element("span", {}, swatch, color ? name : `${name}, not tinted`);
  }));
}

// Classes that are shown, with their keys: all of a short list; of a long one those that fit what was typed.
function shown() {
  const named = view.classes.map((name, i) => ({ name, key: KEYS[i] ?? "" }));
  if (!filter && !long()) return named;
  const text = filter.normalize("NFC").toLowerCase();
  const starts = named.filter((each) => each.name.toLowerCase().startsWith(text));
  const has = named.filter((each) => !each.name.toLowerCase().startsWith(text) && each.name.toLowerCase().includes(text));
  const rank = new Map((cell()?.item.guesses ?? []).map(([name], i) => [name, i - KEYS.length]));
  const found = filter ? [...starts, ...has] : named.toSorted((a, b) => (rank.get(a.name) ?? 0) - (rank.get(b.name) ?? 0));
  return found.map((each, i) => ({ name: each.name, key: i < 9 && !numbered() ? String(i + 1) : "" }));
}

function rate() {
  let time = 0, count = 0;
  for (let i = 1; i < times.length; i++) if (times[i] - times[i - 1] < PAUSE) { time += times[i] - times[i - 1]; count++; }
  return count > 2 && time ? Math.round(60000 * count / time) : 0;
}

const amount = (n) => n.toLocaleString("en");

function drawProgress() {
  const { progress } = view, done = progress.label + progress.none + progress.unsure;
  const parts = progress.review === null || progress.review === undefined
    ? [`${amount(done)} of ${amount(progress.all)}`] : [`${amount(progress.review)} to review`];
  if (rate()) parts.push(`${amount(rate())} per minute`);
  $("progress").textContent = parts.join(" · ");
  $("bar").style.width = `${100 * done / Math.max(progress.all, 1)}%`;
}

function draw() {
  drawProgress();
  drawStage();
  drawAbout();
  const guesses = new Map(cell()?.item.guesses ?? []);
  const chosen = cell()?.chosen ?? new Set();
  const focused = document.activeElement?.dataset.class;
  const found = shown();
  $("classes").replaceChildren(...found.slice(0, LISTED).map(({ name, key }) => {
    const p = guesses.get(name);
    const button = element("button", { type: "button", className: chosen.has(name) ? "chosen" : "", title: name, onclick: clicked(() => choose(name)) });
    button.dataset.class = name;
    if (about.several) button.setAttribute("aria-pressed", chosen.has(name));
    if (key) button.append(element("kbd", { textContent: key }));
    button.append(element("span", { textContent: name }));
    if (p !== undefined) {
      const line = element("i");
      line.style.width = `${100 * p}%`;
      button.append(element("small", { textContent: `${Math.round(100 * p)}%` }), line);
    }
    return button;
  }));
  if (found.length > LISTED) $("classes").append(element("p", { textContent: `${amount(found.length - LISTED)} more: type to narrow` }));
  if (!found.length) $("classes").append(element("p", { textContent: "No such class; + adds one." }));
  $("commands").querySelector("[data-name=accept]").disabled = !open().some((each) => each.chosen.size);
  $("classes").querySelector(".chosen")?.scrollIntoView({ block: "nearest" });
  if (focused !== undefined) [...$("classes").children].find((button) => button.dataset.class === focused)?.focus();
  if (long()) $("finder").hidden = false;
}

function drawStage() {
  $("stage").className = nine && cells.length ? "stage nine" : "stage";
  if (!cells.length) return $("stage").replaceChildren(nothing());
  $("stage").replaceChildren(...cells.map((each, i) => {
    const { image, state, reason } = imageOf(each.item);
    const inside = element("div", { className: "image" });
    if (state === "ready") inside.append(image);
    if (state === "failed") inside.append(element("p", { className: "failed" }, element("strong", { textContent: "This image cannot be read" }), reason));
    const guess = [...each.chosen].join(", ");
    const p = (each.item.guesses ?? []).find(([name]) => name === guess)?.[1];
    const text = each.answer ? (each.answer.kind === "label" ? each.answer.labels.join(", ") : NAMES[each.answer.kind])
      : guess && nine ? guess + (p === undefined ? "" : ` ${Math.round(100 * p)}%`) + " ?" : "";
    const figure = element("figure", { className: `${i === here ? "here" : ""} ${each.answer ? "answered" : ""}` }, inside,
      element("figcaption", {}, element("span", { textContent: each.item.file, title: each.item.file }), element("b", { textContent: text })));
    figure.dataset.index = each.item.index;
    figure.dataset.file = each.item.file;
    figure.dataset.state = state;
    if (i === here) figure.setAttribute("aria-current", "true");
    figure.onclick = () => { if (nine && here !== i) { here = i; draw(); } else zoom(); };
    return figure;
  }));
}

function nothing() {
  const { progress } = view, box = element("div", { className: "nothing" });
  if (view.loading && progress.review !== null) {
    box.append(element("p", { textContent: "The model looks at the labelled images …" }));
    return box;
  }
  const reviewed = views().length ? "Every annotation has an answer." : "No disagreements are left.";
  box.append(element("p", { textContent: progress.review === 0 ? reviewed : list === "open" ? "Every image has an answer." : "None are left here." }));
  for (const [kind, text] of [["skip", "skipped"], ["unsure", "unsure"]])
    if (progress[kind] && progress.review === null && list !== kind) box.append(element("button", { type: "button", textContent: `Show the ${progress[kind]} ${text}`, onclick: clicked(() => lookAt(kind)) }), " ");
  if (list !== "open") box.append(element("button", { type: "button", textContent: "Back to the others", onclick: clicked(() => lookAt("open")) }));
  return box;
}

function drawAbout() {
  const item = cell()?.item, parts = [];
  if (view.notice) parts.push(element("span", { textContent: view.notice }));
  if (item && item.part) parts.push(element("span", { textContent: "A random image for the test: figures on these can be trusted." }));
  if (item && item.said.length) {
    const given = element("strong", { textContent: item.said.map(([, what]) => what).join(" / ") });
    parts.push(element("span", {}, "Labelled ", given, ` by ${item.said.map(([who]) => who).join(", ")}.`));
  }
  if (item && views().length) parts.push(element("span", {}, "Is the annotation right? ", item.note));
  if (item && item.guesses === null) parts.push("The model has not seen this image yet.");
  $("about").replaceChildren(...parts);
  $("about").hidden = !parts.length;
}
