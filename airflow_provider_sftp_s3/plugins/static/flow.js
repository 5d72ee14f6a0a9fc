/** One flow: its runs, what has failed in the last of them, what is left, and where to go on from there. */

import { get, path } from "./api.js";
import { chart } from "./chart.js";
import { pasted, settingsOf, testsOf } from "./commands.js";
import { DAY, eventsOf, movedOf, runsOf } from "./flows.js";
import { bytes, count, files, span, when } from "./format.js";
import { badge, fromTo, lastMoved, lastRun, places, schedule, waiting, why } from "./table.js";
import { address, el, link, shown } from "./text.js";

/** Runs that the table below the picture shows. */
const SHOWN_RUNS = 50;
/** Pages of its runs and events of a day: a run each three minutes. */
const MOST_PAGES = 5;
/** The name of the link that a task of either operator has itself: it knows the region. */
const PREFIX_LINK = "S3 prefix";
const CONSOLE = "https://console.aws.amazon.com/s3/buckets";

/** Ask for what only this page needs. What Airflow does not tell is null. */
export async function moreOf(flow, now) {
  const orNull = (answer) => answer.then((value) => value, () => null);
  const from = new Date(now - DAY).toISOString();
  const task = flow.details?.transfers.at(-1);
  const own = task && path`dags/${flow.id}/dagRuns/${task.dag_run_id}/taskInstances/${task.task_id}/links`;
  const [runs, events, details, links] = await Promise.all([
    orNull(runsOf(flow, { run_after_gte: from }, MOST_PAGES)),
    orNull(eventsOf(flow, { timestamp_gte: from }, MOST_PAGES)),
    orNull(get(path`dags/${flow.id}/details`)),
    own ? orNull(get(own, { map_index: task.map_index })) : null,
  ]);
  return { runs, events, docs: details?.doc_md ?? null, links: links?.extra_links ?? {} };
}

/** Return the page of a flow; `more` is undefined while it is being asked for. */
export function page(flow, more, now) {
  const parts = [
    el("p", {}, link("#/", "← All flows")),
    el("h2", { tabindex: "-1", id: "flow" }, shown(flow.id), " ", badge(flow)),
    flow.says ? el("p", {}, shown(flow.says, { lines: true })) : null,
  ];
  const reason = why(flow, now);
  if (reason) parts.push(el("section", { class: "why", "aria-label": "What is wrong" }, ...reason));
  const mend = "Mend its entry in flows.yaml: the runs that it had are kept, and it goes on then. Is it right now?";
  const check = pasted("python -m airflow_provider_sftp_s3 check flows.yaml");
  if (!flow.dag) return el("article", {}, ...parts, el("p", {}, mend), check);
  parts.push(facts(flow, more, now));
  if (flow.details?.failure?.files.length) parts.push(failedFiles(flow.details.failure));
  if (more === undefined) parts.push(el("p", {}, "…"));
  else parts.push(connections(more), runs(flow, more, now), docs(more));
  return el("article", {}, ...parts);
}

function facts(flow, more, now) {
  const pairs = [
    ["From, to", fromTo(flow)],
    ["Schedule", schedule(flow, now)],
    ["Last run", lastRun(flow, now)],
    ["Last moved", lastMoved(flow, now)],
    ["Waiting", waiting(flow, now)],
    ["Go to", goTo(flow, more)],
  ];
  return el("dl", {}, ...pairs.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, ...value)]));
}

function goTo(flow, more) {
  const links = [link(places.dag(flow), "the Dag")];
  const bucket = [flow.places?.from, flow.places?.to].find((place) => place?.startsWith("s3://"));
  const own = Object.entries(more?.links ?? {}).filter(([, target]) => target && address(target));
  for (const [name, target] of own) links.push(link(target, shown(name)));
  // A task whose bucket is not in AWS has a link with no address.
  if (more && !(PREFIX_LINK in more.links) && inConsole(bucket)) links.push(link(inConsole(bucket), "S3 prefix"));
  const event = eventsKnown(flow, more)[0];
  if (event) links.push(link(places.asset(event.asset_id), "the asset ", shown(event.uri ?? event.name ?? "")));
  const receipt = receiptsOf(flow, more)[0];
  if (receipt) links.push(el("span", {}, "receipts in ", shown(receipt)));
  return links.flatMap((each, index) => (index ? [" · ", each] : [each]));
}

/** Return where s3://bucket/prefix is in the S3 console; null for what is rendered when the task runs. */
function inConsole(uri) {
  const found = /^s3:\/\/([A-Za-z0-9._-]{3,255})\/(.*)$/su.exec(uri ?? "");
  if (!found || /\{[{%#]/.test(uri)) return null;
  return `${CONSOLE}/${found[1]}?prefix=${encodeURIComponent(found[2])}`;
}

function eventsKnown(flow, more) {
  return more?.events?.found ?? flow.events;
}

/** Return where the receipts of a flow are, the newest first. */
function receiptsOf(flow, more) {
  const events = eventsKnown(flow, more).map((event) => event.extra?.receipt);
  const told = [...events, ...(flow.details?.reports ?? []).map(({ report }) => report.receipt)];
  return [...new Set(told.filter((each) => typeof each === "string" && each.startsWith("s3://")))];
}

function failedFiles({ files: failed, count: all, task }) {
  const rows = failed.map((each) => {
    const name = el("th", { scope: "row" }, shown(each.source));
    const reason = el("td", {}, shown(each.error, { lines: true }));
    return el("tr", {}, name, reason, el("td", {}, link(places.log(each.task), "log")));
  });
  const more = all > failed.length ? `; ${count(all - failed.length)} more are in the log` : "";
  return el(
    "section",
    {},
    el("h3", {}, "Failed files of run ", shown(task.dag_run_id)),
    el("p", { class: "minor" }, `${files(all)}${more}`),
    el("table", {}, head("File", "Reason", "Log"), el("tbody", {}, ...rows)),
  );
}

function runs(flow, { runs: answer, events }, now) {
  if (answer === null) return el("p", {}, "Airflow does not show you its runs.");
  const { found } = answer;
  const list = found.map((run) => {
    const own = (events?.found ?? []).filter((event) => event.source_run_id === run.dag_run_id);
    return { ...run, at: Date.parse(run.end_date ?? run.start_date ?? run.run_after), ...movedIn(run, own, events) };
  });
  const rows = list.slice(0, SHOWN_RUNS).map((run) =>
    el(
      "tr",
      { class: run.state },
      el("th", { scope: "row" }, link(places.run(flow, run.dag_run_id), when(run.at, now))),
      el("td", {}, run.state),
      el("td", {}, run.start_date && run.end_date ? span(Date.parse(run.end_date) - Date.parse(run.start_date)) : ""),
      el("td", { class: "number" }, files(run.files)),
      el("td", { class: "number" }, bytes(run.bytes)),
    ),
  );
  return el(
    "section",
    {},
    el("h3", {}, "Runs of the last 24 hours"),
    chart(list.filter((run) => run.end_date), now),
    el("table", {}, head("Run", "State", "Took", "Files", "Bytes"), el("tbody", {}, ...rows)),
    found.length > SHOWN_RUNS ? el("p", { class: "minor" }, `The newest ${SHOWN_RUNS}.`) : null,
    answer.whole ? null : el("p", { class: "minor" }, `The picture is of the newest ${count(found.length)} runs only.`),
  );
}

/** Return what a run moved. One that succeeded with no event has moved nothing; one that failed has no event. */
function movedIn(run, own, events) {
  const unknown = { files: null, bytes: null };
  if (!own.length) return run.state === "success" && events?.whole ? { files: 0, bytes: 0 } : unknown;
  const all = own.map(movedOf);
  const add = (one, other) => (one === null || other === null ? null : one + other);
  const sum = (name) => all.map((each) => each[name]).reduce(add, 0);
  return { files: sum("files"), bytes: sum("bytes") };
}

function connections({ docs: text }) {
  const tests = testsOf(settingsOf(text));
  if (!tests.length) return null;
  const says = "Step by step, each with what to change. Nothing that is there is touched. For a shell in which the command airflow works:";
  return el("section", {}, el("h3", {}, "Try its connections"), el("p", { class: "minor" }, says), ...tests.map(pasted));
}

function docs({ docs: text }) {
  if (!text) return null;
  return el("section", {}, el("h3", {}, "What it does"), el("pre", { tabindex: "0" }, shown(text, { lines: true })));
}

function head(...names) {
  return el("thead", {}, el("tr", {}, ...names.map((name) => el("th", { scope: "col" }, name))));
}
