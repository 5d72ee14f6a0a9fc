/** The table of all flows: a row each, and under a broken one why it is. */

import { path } from "./api.js";
import { failedTry } from "./details.js";
import { DAY, EVENTS, stateOf, sumOf } from "./flows.js";
import { bytes, count, files, moment, span, when } from "./format.js";
import { el, link, shown } from "./text.js";

const WORDS = {
  failed: ["✕", "Failed"],
  "import error": ["✕", "Import error"],
  retrying: ["↻", "Retrying"],
  unknown: ["…", "…"],
  ok: ["✓", "OK"],
  never: ["–", "No run yet"],
};
const COLUMNS = ["State", "Flow", "From, to", "Schedule", "Last run", "Last moved", "Waiting"];

/** Return where Airflow shows something of a flow. */
export const places = {
  dag: (flow) => `../${path`dags/${flow.id}`}`,
  run: (flow, run) => `../${path`dags/${flow.id}/runs/${run}`}`,
  log: (task) => {
    const mapped = task.map_index >= 0 ? path`/mapped/${task.map_index}` : "";
    const of = path`dags/${task.dag_id}/runs/${task.dag_run_id}/tasks/${task.task_id}`;
    return `../${of}${mapped}?try_number=${failedTry(task)}`;
  },
  asset: (id) => `../assets/${Number(id)}`,
  here: (flow) => `#/flow/${encodeURIComponent(flow.id)}`,
};

/** Return the state of a flow as a word with a sign: colours alone do not tell. */
export function badge(flow) {
  const state = stateOf(flow) === "ok" && flow.ended === null ? "never" : stateOf(flow);
  const [sign, word] = WORDS[state];
  const runs = flow.active?.state === "running" && state !== "retrying";
  const running = runs ? el("span", { class: "minor" }, ", running") : null;
  const kind = state.replace(" ", "-");
  return el("span", { class: `state ${kind}` }, el("span", { "aria-hidden": "true" }, sign), ` ${word}`, running);
}

/** Return the whole table; `seen(flow)` is called when a row comes into view. */
export function table(flows, all, now, seen) {
  const whole = flows.eventsSince <= flows.at - DAY;
  const columns = [...COLUMNS, whole ? "24 h" : `Since ${moment(flows.eventsSince, now)}`];
  const bodies = all.map((flow) => body(flow, flows, now));
  watch(bodies, all, seen);
  return el(
    "table",
    { id: "flows" },
    el("caption", {}, `${count(all.length)} ${all.length === 1 ? "row" : "rows"}, what is broken first`),
    el("thead", {}, el("tr", {}, ...columns.map((name) => el("th", { scope: "col" }, name)))),
    ...bodies,
  );
}

/** Return the rows of one flow. */
export function body(flow, flows, now) {
  const says = flow.says ? el("div", { class: "minor clip" }, shown(flow.says)) : null;
  const cells = [
    el("td", {}, badge(flow)),
    el("th", { scope: "row" }, link(places.here(flow), shown(flow.id)), says),
    el("td", { class: "places" }, ...fromTo(flow)),
    el("td", {}, ...schedule(flow, now)),
    el("td", {}, ...lastRun(flow, now)),
    el("td", {}, ...lastMoved(flow, now)),
    el("td", { class: "short" }, ...waiting(flow, now)),
    el("td", { class: "short" }, ...daySum(flow, flows)),
  ];
  const reason = why(flow, now);
  const rows = [el("tr", {}, ...cells)];
  const across = { colspan: String(cells.length - 1) };
  if (reason) rows.push(el("tr", { class: "why" }, el("td"), el("td", across, ...reason)));
  return el("tbody", { "data-flow": flow.id, class: stateOf(flow).replace(" ", "-") }, ...rows);
}

let watcher = null;

/** Call `seen` with each flow whose rows come into view. */
function watch(bodies, all, seen) {
  watcher?.disconnect();
  watcher = new IntersectionObserver((entries) => {
    const inView = entries.filter((entry) => entry.isIntersecting).map((entry) => entry.target.dataset.flow);
    seen(all.filter((flow) => inView.includes(flow.id)));
  });
  for (const each of bodies) watcher.observe(each);
}

/** Return the rows of a flow that are in the page, if any. */
export function rowsOf(id) {
  return [...document.querySelectorAll("#flows > tbody")].find((each) => each.dataset.flow === id);
}

/** Put new rows in the place of a flow's old ones; a link of theirs that has the focus keeps it. */
export function renew(flow, flows, now) {
  const old = rowsOf(flow.id);
  if (!old) return;
  const held = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  const made = body(flow, flows, now);
  old.replaceWith(made);
  if (held) [...made.querySelectorAll("a")].find((each) => each.getAttribute("href") === held)?.focus();
}

export function fromTo(flow) {
  if (!flow.places) return [flow.dag ? "?" : ""];
  return [el("div", {}, shown(flow.places.from)), el("div", {}, "→ ", shown(flow.places.to))];
}

export function schedule(flow, now) {
  const { dag } = flow;
  if (!dag) return ["no Dag"];
  const parts = [dag.timetable_summary ? shown(dag.timetable_summary) : "by hand"];
  if (dag.is_paused) parts.push(" ", el("strong", { class: "paused" }, "paused"));
  else if (dag.next_dagrun_run_after) {
    parts.push(el("div", { class: "minor" }, "next ", when(Date.parse(dag.next_dagrun_run_after), now)));
  }
  return parts;
}

export function lastRun(flow, now) {
  if (flow.ended === undefined) return ["…"];
  const parts = [];
  if (flow.ended) {
    const { dag_run_id: id, state, start_date: start, end_date: end, run_after: after } = flow.ended;
    const ended = Date.parse(end ?? after);
    parts.push(el("div", {}, link(places.run(flow, id), when(ended, now))));
    const took = start && end ? `, took ${span(ended - Date.parse(start))}` : "";
    parts.push(el("div", { class: "minor" }, `${state}${took}`));
  }
  if (flow.active) {
    const { dag_run_id: id, state, start_date: start, run_after: after } = flow.active;
    const says = `${state} for ${span(now - Date.parse(start ?? after))}`;
    parts.push(el("div", { class: "minor" }, link(places.run(flow, id), says)));
  }
  return parts.length ? parts : [flow.dag ? "none" : ""];
}

export function lastMoved(flow, now) {
  const { details } = flow;
  if (!flow.dag) return [""];
  if (details === undefined) return ["…"];
  if (details.moved === undefined) return ["not known"];
  if (details.moved === null) return ["nothing recorded"];
  const { at, files: number, bytes: size } = details.moved;
  return [el("div", {}, when(at, now)), el("div", { class: "minor" }, `${files(number)}, ${bytes(size)}`)];
}

export function waiting(flow, now) {
  const { details } = flow;
  if (!flow.dag) return [""];
  if (details === undefined) return ["…"];
  if (details.left === null) return [el("span", { title: "The last run has left no report that you may see" }, "not known")];
  const more = details.atLeast ? " or more" : "";
  const parts = [el("div", {}, details.left ? `${files(details.left)}${more}` : `0${more}`)];
  if (details.left && details.oldest !== null) {
    parts.push(el("div", { class: "minor" }, `oldest ${span(now - details.oldest)} old`));
  } else if (details.left) parts.push(el("div", { class: "minor" }, "age not known"));
  return parts;
}

function daySum(flow, flows) {
  if (!flow.dag) return [""];
  if (flows.notes.has(EVENTS)) return ["?"];
  if (!flow.places && !flow.events.length) return ["?"];
  const sum = sumOf(flow, flows.eventsSince);
  const least = sum.whole ? "" : "≥ ";
  return [el("div", {}, `${least}${files(sum.files)}`), el("div", { class: "minor" }, `${least}${bytes(sum.bytes)}`)];
}

/** Return why a flow is broken and since when; null for one that is not. */
export function why(flow, now) {
  const state = stateOf(flow);
  if (state === "import error") {
    const texts = flow.errors.map((error) => el("div", { class: "reason" }, shown(error.text, { lines: true })));
    const seen = when(Date.parse(flow.errors[0].timestamp), now);
    return [...texts, el("div", { class: "minor" }, "No Dag is made of it. Seen ", seen)];
  }
  if (state !== "failed" && state !== "retrying") return null;
  const { details } = flow;
  if (details === undefined) return ["…"];
  const parts = [];
  if (details.failure) {
    const { reason, task } = details.failure;
    const says = reason ? shown(reason, { lines: true }) : "The reason is in the log only.";
    parts.push(el("div", { class: "reason" }, says));
    parts.push(link(places.log(task), "Log of ", shown(task.task_id), `, try ${failedTry(task)}`));
  } else parts.push(el("div", { class: "reason" }, "No task of it has failed by itself: see the run."));
  return [...parts, " ", el("span", { class: "minor" }, ...sinceWhen(flow, now))];
}

function sinceWhen(flow, now) {
  const { failing, failure } = flow.details;
  if (stateOf(flow) === "retrying") {
    const of = failure ? ` (try ${failedTry(failure.task)} of ${failure.task.max_tries + 1} has failed)` : "";
    const begun = flow.active ? [" since ", when(Date.parse(flow.active.start_date ?? flow.active.run_after), now)] : [];
    return ["Being tried again", ...begun, of];
  }
  if (!failing) return [];
  const first = Date.parse(failing.first.start_date ?? failing.first.run_after);
  const least = failing.atLeast ? "at least " : "";
  const times = failing.times === 1 ? "the first time" : `${least}${count(failing.times)} times`;
  const { good } = failing;
  const before = good ? [", last success ", when(Date.parse(good.end_date), now)] : [", with no success before"];
  return ["Failing since ", when(first, now), `, ${times}`, ...before];
}
