// Keeps a part of a page up to date. Without this script the page is loaded anew now and then.

const SECONDS = 5;
const place = document.getElementById("live");
const pause = document.getElementById("pause");
const age = document.getElementById("age");
const said = document.getElementById("said");
let last = Date.now();

const state = () => document.getElementById("state")?.dataset.state;

// What can have the focus is told by its link, its name or what it opens.
const key = (each) =>
  each.getAttribute("href") || each.getAttribute("aria-label") || each.parentElement.id;
const find = (wanted) =>
  [...place.querySelectorAll("a, summary, [tabindex]")].find((each) => key(each) === wanted);

async function refresh() {
  const response = await fetch(place.dataset.from);
  if (!response.ok) throw new Error(response.statusText);
  const made = document.createElement("div");
  made.innerHTML = await response.text();
  const open = new Set([...place.querySelectorAll("details[open]")].map((each) => each.id));
  for (const each of made.querySelectorAll("details")) each.open = open.has(each.id);
  const before = state();
  const focused = place.contains(document.activeElement) ? key(document.activeElement) : null;
  place.replaceChildren(...made.childNodes);
  if (focused) find(focused)?.focus({ preventScroll: true });
  if (state() !== before) said.textContent = `The service is ${state()} now`;
  last = Date.now();
}

setInterval(async () => {
  const held = pause.getAttribute("aria-pressed") === "true";
  if (!held && !document.hidden) await refresh().catch(() => {});
  const seconds = Math.round((Date.now() - last) / 1000);
  age.textContent = seconds > 2 * SECONDS ? `as of ${seconds} s ago` : "up to date";
}, SECONDS * 1000);

pause.hidden = false;
pause.addEventListener("click", () => {
  pause.setAttribute("aria-pressed", String(pause.getAttribute("aria-pressed") !== "true"));
});
