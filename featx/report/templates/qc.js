"use strict";
const {numbers, rows} = JSON.parse(document.getElementById("data").textContent);
const list = document.getElementById("cards");
const cards = Array.from(list.children);
const sort = document.getElementById("sort");
const find = document.getElementById("find");
const count = document.getElementById("count");
const dialog = document.getElementById("large");
const collator = new Intl.Collator(undefined, {numeric: true});
let order = cards.map((_, at) => at);
let open = -1;

const short = value => value === null ? "–" : Math.abs(value) >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
const shown = () => order.filter(at => !cards[at].hidden);

function compare() {
  const [key, direction] = sort.value.split(" ");
  if (key === "rank") return (a, b) => a - b;
  if (key === "id") return (a, b) => collator.compare(cards[a].dataset.id, cards[b].dataset.id);
  const column = Number(key), sign = direction === "up" ? 1 : -1;
  return (a, b) => {
    const x = rows[a][column], y = rows[b][column];
    if (x === null || y === null) return (x === null) - (y === null) || a - b;
    return sign * (x - y) || a - b;
  };
}

function arrange() {
  order.sort(compare());
  list.append(...order.map(at => cards[at]));
  const column = Number(sort.value.split(" ")[0]);
  cards.forEach((card, at) => {
    card.querySelector(".value").textContent = Number.isNaN(column) ? "" : numbers[column].name + " " + short(rows[at][column]);
  });
}

function filter() {
  const words = find.value.trim().toLowerCase().split(/\s+/);
  cards.forEach(card => { card.hidden = !words.every(word => card.dataset.id.toLowerCase().includes(word)); });
  const n = shown().length;
  count.textContent = n === cards.length ? n + " images" : n + " of " + cards.length + " images";
}

// A picture is made when its card comes near: thousands that are merely lazy take the browser seconds.
function draw(card) {
  const button = card.querySelector("button");
  if (button.querySelector("img")) return;
  const image = new Image();
  image.decoding = "async";
  image.alt = "Three slices of " + card.dataset.id;
  image.src = card.dataset.picture;
  button.replaceChildren(image);
}

const near = new IntersectionObserver(entries => entries.forEach(({isIntersecting, target}) => {
  if (isIntersecting) { draw(target); near.unobserve(target); }
}), {rootMargin: "800px"});

function row(texts) {
  const line = document.createElement("tr");
  texts.forEach((text, at) => {
    const cell = document.createElement(at ? "td" : "th");
    if (!at) cell.scope = "row";
    cell.textContent = text;
    line.append(cell);
  });
  return line;
}

function place(column, value) {
  const {centre, unit, worse} = numbers[column];
  if (value === null || !unit) return "";
  const z = (value - centre) / unit;
  const bad = worse === null || worse === undefined ? false : worse === 0 ? Math.abs(z) > 0 : z * worse > 0;
  return Math.abs(z).toFixed(1) + " SD " + (z < 0 ? "below" : "above") + " the median" + (bad ? " (worse)" : "");
}

function show(at) {
  open = at;
  const large = document.getElementById("picture");
  large.src = cards[at].dataset.picture;
  large.alt = "Three slices of " + cards[at].dataset.id;
  document.getElementById("name").textContent = cards[at].dataset.id;
  document.getElementById("facts").replaceChildren(...numbers.map((one, column) =>
    row([one.name, short(rows[at][column]), place(column, rows[at][column])])));
  if (!dialog.open) dialog.showModal();
}

function step(by) {
  const visible = shown();
  const next = visible[visible.indexOf(open) + by];
  if (next !== undefined) show(next);
}

sort.addEventListener("change", arrange);
find.addEventListener("input", filter);
list.addEventListener("click", event => {
  const card = event.target.closest("li");
  if (card && event.target.closest("button")) show(cards.indexOf(card));
});
dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener("keydown", event => {
  const by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  if (by) { event.preventDefault(); step(by); }
});
dialog.addEventListener("close", () => {
  const card = cards[open];
  if (card) { card.scrollIntoView({block: "nearest"}); card.querySelector("button").focus(); }
});
document.getElementById("before").addEventListener("click", () => step(-1));
document.getElementById("after").addEventListener("click", () => step(1));
document.getElementById("close").addEventListener("click", () => dialog.close());
addEventListener("beforeprint", () => cards.forEach(draw));
cards.forEach(card => near.observe(card));
document.getElementById("controls").hidden = false;
if (sort.value !== "rank") arrange();  // where the browser kept what was chosen
filter();
