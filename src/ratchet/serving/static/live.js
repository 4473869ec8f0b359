// Keeps a part of a page up to date. Without this script the page is reloaded now and then.

const SECONDS = 5;
const place = document.getElementById("live");
const pause = document.getElementById("pause");
const age = document.getElementById("age");
const said = document.getElementById("said");
let last = Date.now();
let failing = "";

const state = () => document.getElementById("state")?.dataset.state;
const paused = () => pause.getAttribute("aria-pressed") === "true";

// Elements that can have the focus are identified by their link, their name or what they open.
const key = (each) =>
  each.getAttribute("href") || each.getAttribute("aria-label") || each.parentElement.id;
const find = (wanted) =>
  [...place.querySelectorAll("a, summary, [tabindex]")].find((each) => key(each) === wanted);
const scrolled = () => [...place.querySelectorAll(".wide[aria-label]")];

async function refresh() {
  const response = await fetch(place.dataset.from, { signal: AbortSignal.timeout(10_000) });
  if (response.status === 401 || response.status === 403) throw new Error("signed out");
  if (!response.ok) throw new Error("failed");
  const made = document.createElement("div");
  made.innerHTML = await response.text();
  if (paused()) return; // pressed while the answer was on its way
  const open = new Set([...place.querySelectorAll("details[open]")].map((each) => each.id));
  for (const each of made.querySelectorAll("details")) each.open = open.has(each.id);
  const before = state();
  const focused = place.contains(document.activeElement) ? key(document.activeElement) : null;
  const lefts = new Map(scrolled().map((each) => [key(each), each.scrollLeft]));
  place.replaceChildren(...made.childNodes);
  for (const each of scrolled()) each.scrollLeft = lefts.get(key(each)) ?? 0;
  if (focused) find(focused)?.focus({ preventScroll: true });
  if (state() !== before) said.textContent = `The service is ${state()} now`;
  last = Date.now();
}

const SIGN_IN = "You are signed out. Reload this page to sign in again.";

function why(error) {
  if (error.message === "signed out") return SIGN_IN;
  return "The service does not answer. This page tries again every few seconds.";
}

// Says once that the connection is lost, and once that it is back.
function tell(problem) {
  const seconds = Math.round((Date.now() - last) / 1000);
  if (problem) age.textContent = `${problem} Shown: the state of ${seconds} s ago.`;
  else age.textContent = paused() ? `paused, state of ${seconds} s ago` : "up to date";
  age.classList.toggle("lost", Boolean(problem));
  if (problem !== failing) said.textContent = problem || "The service answers again.";
  failing = problem;
}

async function loop() {
  let problem = paused() ? failing : "";
  if (!paused() && !document.hidden) await refresh().catch((error) => (problem = why(error)));
  tell(problem);
  setTimeout(loop, SECONDS * 1000);
}

pause.hidden = false;
pause.addEventListener("click", () => {
  pause.setAttribute("aria-pressed", String(!paused()));
  tell(failing);
});
setTimeout(loop, SECONDS * 1000);
