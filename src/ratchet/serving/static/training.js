// The page of searches: follows the job that runs, and counts what the form asks for.
// Without this script the page works as well: it is reloaded every few seconds.

const byId = (id) => document.getElementById(id);

function say(text) {
  byId("live").textContent = text;
}

function time(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

const number = (value) => (value === null ? "–" : String(Number(value.toPrecision(4))));

// Says once that the connection is lost, and once that it is back.
function tell(job, text) {
  const place = byId("connection");
  if (!place || place.textContent === text) return;
  place.textContent = text;
  place.hidden = !text;
  say(text || "The service answers again.");
}

// The stream that is read, and the last event of it. A browser opens six connections to a service at
// most, of all tabs together: a hidden tab closes its own.
let following = null;

document.addEventListener("visibilitychange", () => {
  if (!following) return;
  if (document.hidden) following.source.close();
  else if (following.source.readyState === EventSource.CLOSED) follow(byId("job"), following.after);
});

// A browser connects again by itself where nothing answers; where a proxy or a service that is
// starting answers with an error, it gives up, and we ask why.
function reconnect(job, source) {
  if (source.readyState !== EventSource.CLOSED) {
    tell(job, "The service does not answer. The search goes on without it; this page tries again.");
    return;
  }
  setTimeout(async () => {
    if (document.hidden || following?.source !== source) return;
    const found = await fetch(`/jobs/${job.dataset.job}`).catch(() => null);
    if (found?.status === 401 || found?.status === 403) {
      tell(job, "You are signed out. Reload this page to sign in again.");
      return;
    }
    if (found?.status === 404) {
      tell(job, "There is no such search any more.");
      return;
    }
    if (!found?.ok) tell(job, "The service does not answer. This page tries again.");
    if (following?.source === source) follow(job, following.after);
  }, 3000);
}

function follow(job, start) {
  const source = new EventSource(`/jobs/${job.dataset.job}/events?after=${start}`);
  const log = byId("log");
  const lines = log.textContent.split("\n").filter(Boolean);
  let tenth = -1;
  const mine = (following = { source, after: start });

  source.addEventListener("open", () => tell(job, ""));
  source.addEventListener("error", () => reconnect(job, source));
  for (const kind of ["stage", "trial", "log"]) {
    source.addEventListener(kind, (event) => (mine.after = event.lastEventId || mine.after));
  }
  log.scrollTop = log.scrollHeight;
  source.addEventListener("stage", (event) => {
    const { name } = JSON.parse(event.data);
    byId("stage").textContent = job.querySelector(`[data-stage="${CSS.escape(name)}"]`)?.textContent ?? name;
  });
  source.addEventListener("trial", (event) => {
    const { done, total, best, params, seconds_left: left } = JSON.parse(event.data);
    const bar = byId("bar");
    bar.max = total;
    bar.value = done;
    byId("trials").textContent = `${done} of ${total}`;
    byId("best").textContent = number(best);
    byId("left").textContent = time(left);
    const named = Object.entries(params).sort().map(([name, value]) => `${name} ${value}`);
    if (named.length) byId("last").textContent = named.join(", "); // a rung of halving names none
    const now = Math.floor((10 * done) / total);
    if (now > tenth && done > 0) say(`${done} of ${total} trials, best loss ${number(best)}`);
    tenth = Math.max(now, tenth);
  });
  source.addEventListener("log", (event) => {
    lines.push(JSON.parse(event.data).text);
    log.textContent = lines.slice(-12).join("\n");
    log.scrollTop = log.scrollHeight;
  });
  source.addEventListener("status", (event) => {
    const badge = job.querySelector(".badge");
    badge.textContent = JSON.parse(event.data).status;
    badge.className = `badge ${badge.textContent}`;
  });
  source.addEventListener("end", async (event) => {
    source.close(); // or the browser would ask again
    following = null;
    const focused = job.contains(document.activeElement);
    await replace(`/advanced-training?job=${job.dataset.job}`).catch(() => location.reload());
    if (focused) byId("job-title")?.focus(); // what had the focus is gone
    say(`The search has ended: ${JSON.parse(event.data).status}`);
  });
}

// Shows what the server says by now, without losing what was filled in.
async function replace(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(response.statusText);
  const made = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const id of ["job", "history"]) {
    const [old, fresh] = [byId(id), made.getElementById(id)];
    if (old && fresh) old.replaceWith(document.adoptNode(fresh));
  }
}

function count(form) {
  const networks = form.querySelectorAll("[name=model_ids]:checked").length;
  const fast = form.elements.mode.value === "fast";
  const each = fast ? 1 : Number(form.elements.n_trials.value) || 0;
  const budget = Number(form.dataset.budget);
  const trials = networks * each;
  for (const id of ["strategy", "n_trials"]) byId(id).closest("div").hidden = fast;
  const beyond = trials > budget ? `, more than the ${budget} that one search may have` : "";
  byId("size").textContent = `${networks} networks, ${trials} trials in all${beyond}`;
  byId("size").classList.toggle("wrong", trials > budget || !networks);
}

const form = byId("search");
form.addEventListener("input", () => count(form));
for (const choice of form.querySelectorAll(".choose")) {
  choice.hidden = false;
  choice.addEventListener("click", (event) => {
    const which = event.target.closest("[data-choose]");
    if (!which) return;
    for (const box of choice.closest("fieldset").querySelectorAll("[type=checkbox]")) {
      box.checked = which.dataset.choose === "all";
    }
    count(form);
  });
}
count(form);

const job = byId("job");
if (job && ["queued", "running"].includes(job.dataset.status)) follow(job, job.dataset.after);
