/** The page: the table of all flows, or one of them, as the address after # says; asked anew each minute. */

import { Refused } from "./api.js";
import { detailsOf, keyOf } from "./details.js";
import { moreOf, page } from "./flow.js";
import { BROKEN, Flows, stateOf } from "./flows.js";
import { count, moment, zone } from "./format.js";
import { renew, rowsOf, table } from "./table.js";
import { el, link, shown } from "./text.js";

const EACH = 60_000;
/** Rows whose details are asked for together. */
const TOGETHER = 20;

const content = document.getElementById("content");
const status = document.getElementById("status");
const notes = document.getElementById("notes");

let flows = null;
let filter = "";
let loading = null;
/** Details of flows by what they are of. */
const known = new Map();
/** What the page of a flow has asked for, by flow, and for which of all flows. */
const more = new Map();

function opened() {
  const found = /^#\/flow\/(.+)$/u.exec(location.hash);
  if (!found) return null;
  try {
    return decodeURIComponent(found[1]);
  } catch {
    return found[1];
  }
}

/** Ask Airflow for everything again; who asks while that is going on gets the same. */
function load() {
  loading ??= reload().finally(() => {
    loading = null;
  });
  return loading;
}

async function reload() {
  const next = new Flows();
  try {
    await next.load();
    flows = next;
    for (const flow of next.byId.values()) flow.details = known.get(keyOf(flow));
    draw();
    await next.loadRest(draw);
  } catch (error) {
    tell(error);
  }
}

function tell(error) {
  const signedOut = error instanceof Refused && error.status === 401;
  if (signedOut) {
    flows = null;
    known.clear();
    more.clear();
    content.replaceChildren();
    notes.replaceChildren(el("p", {}, "You are signed out. ", link("../", "Sign in to Airflow"), ", then refresh."));
  } else notes.replaceChildren(el("p", {}, "Airflow does not answer: ", shown(error.message)));
  status.textContent = flows ? `As of ${moment(flows.at, Date.now())}: what follows is old` : "";
}

/** Draw what is known. The focus stays where it is. */
function draw() {
  if (!flows) return;
  const now = Date.now();
  drawNotes();
  const states = [...flows.byId.values()].map(stateOf);
  const sums = BROKEN.map((state) => [state, states.filter((each) => each === state).length]);
  const broken = sums.reduce((all, [, number]) => all + number, 0);
  const said = sums.filter(([, number]) => number).map(([state, number]) => `${count(number)} ${state}`);
  const flowsOf = states.length === 1 ? "1 flow" : `${count(states.length)} flows`;
  const sum = `${flowsOf}: ${said.join(", ") || "nothing is broken"}`;
  status.textContent = `${sum} · as of ${moment(flows.at, now)} · times in ${zone}`;
  document.title = `${broken ? `(${broken}) ` : ""}SFTP and S3 flows`;
  const held = heldFocus();
  const id = opened();
  if (id === null) drawTable(now);
  else drawFlow(id, now);
  held();
}

/** Return what gives the focus to the element that is now where the focused one is. */
function heldFocus() {
  const name = (each) => each.id || each.getAttribute("href") || each.getAttribute("aria-label") || each.tagName;
  const all = () => [...content.querySelectorAll("a, button, input, [tabindex]")];
  const named = (wanted) => all().filter((each) => name(each) === wanted);
  const now = document.activeElement;
  if (!content.contains(now) || now === content) return () => {};
  const wanted = name(now);
  const index = named(wanted).indexOf(now);
  return () => (named(wanted)[index] ?? content).focus({ preventScroll: true });
}

function drawNotes() {
  const said = [...flows.notes].map(([what, why]) => el("p", {}, `Airflow does not tell of ${what}: `, shown(why)));
  const errors = flows.errors.map((error) => {
    const summary = el("summary", {}, "Import error in ", shown(error.filename));
    return el("details", {}, summary, el("pre", { tabindex: "0" }, shown(error.stack_trace, { lines: true })));
  });
  const made = el("div", {}, ...said, ...errors);
  if (made.textContent !== notes.textContent) notes.replaceChildren(made); // else what was opened stays open
}

function drawTable(now) {
  if (!content.querySelector("#list")) {
    const label = el("label", { for: "filter" }, "Filter ");
    content.replaceChildren(el("p", {}, label, filterBox()), el("div", { id: "list" }));
  }
  const all = flows.sorted().filter(matches);
  const none = el("p", {}, "There is no flow here that you may see: flows are Dags with the tag sftp-s3.");
  const box = { class: "wide", tabindex: "0", role: "region", "aria-label": "Flows" };
  const made = flows.byId.size ? el("div", box, table(flows, all, now, wanted)) : none;
  content.querySelector("#list").replaceChildren(made);
}

function filterBox() {
  const box = el("input", { id: "filter", type: "search", autocomplete: "off", title: "Press / to come here" });
  box.value = filter;
  box.addEventListener("input", () => {
    filter = box.value;
    drawTable(Date.now());
  });
  return box;
}

function matches(flow) {
  const paused = flow.dag?.is_paused ? "paused" : "";
  const text = [flow.id, flow.says, flow.places?.from, flow.places?.to, stateOf(flow), paused].join("\n").toLowerCase();
  return filter.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

function drawFlow(id, now) {
  const flow = flows.byId.get(id);
  if (!flow) {
    const none = el("p", {}, "There is no flow ", shown(id), " that you may see.");
    content.replaceChildren(el("p", {}, link("#/", "← All flows")), none);
    return;
  }
  content.replaceChildren(page(flow, more.get(id)?.answer, now));
  if (flow.dag && flow.ended !== undefined && more.get(id)?.of !== flows) askMore(flow).catch(tell);
}

/** Ask for what the page of a flow needs; what was known before stays there meanwhile. */
async function askMore(flow) {
  const of = flows;
  more.set(flow.id, { of, answer: more.get(flow.id)?.answer });
  await wanted([flow]);
  more.set(flow.id, { of, answer: await moreOf(flow, Date.now()) });
  if (flows === of && opened() === flow.id) draw();
}

/** Ask for the details of flows that are looked at, if nobody has. */
async function wanted(seen) {
  const fresh = seen.filter((flow) => flow.dag && flow.ended !== undefined && !flow.details && !flow.asking);
  for (let start = 0; start < fresh.length; start += TOGETHER) {
    const bunch = fresh.slice(start, start + TOGETHER);
    const asking = details(bunch);
    for (const flow of bunch) flow.asking = asking;
  }
  await Promise.all(seen.map((flow) => flow.asking));
}

async function details(bunch) {
  const of = flows;
  try {
    const found = await detailsOf(bunch);
    bunch.forEach((flow, index) => {
      flow.details = found[index];
      known.set(keyOf(flow), found[index]);
      if (flows === of && opened() === null) renew(flow, flows, Date.now());
    });
  } catch (error) {
    tell(error);
  } finally {
    for (const flow of bunch) flow.asking = null;
  }
}

/** Take over the theme that was chosen in Airflow; else the system's is taken, by the style sheet. */
function theme() {
  let chosen = null;
  try {
    chosen = localStorage.getItem("theme");
  } catch {
    // no storage, no choice
  }
  if (["dark", "light"].includes(chosen)) document.documentElement.dataset.theme = chosen;
  else delete document.documentElement.dataset.theme;
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest("input");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    const filter = () => document.getElementById("filter")?.focus();
    if (opened() === null) filter(); // at once: what is typed next is meant for it
    else {
      location.hash = "#/";
      setTimeout(filter);
    }
  } else if (event.key === "Escape" && opened() !== null) {
    location.hash = "#/";
  }
}

let before = null;

/** Go to what the address says: into a flow with the focus on its name, and back to the row one came from. */
function go() {
  draw();
  const id = opened();
  if (id !== null) document.getElementById("flow")?.focus();
  else if (before !== null) rowsOf(before)?.querySelector("a").focus();
  before = id;
}

theme();
window.addEventListener("storage", theme);
window.addEventListener("hashchange", go);
window.addEventListener("keydown", key);
document.getElementById("refresh").addEventListener("click", () => {
  known.clear();
  load();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address after # is that of a flow
  content.focus();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && flows && Date.now() - flows.at > EACH) load();
});
setInterval(() => {
  // Who has selected a text is about to copy it.
  if (!document.hidden && getSelection().isCollapsed) load();
}, EACH);
before = opened();
load();
