/** What is known of a flow's last run: why it has failed, what is left, since when. Asked for rows that are seen. */

import { PAGE, Refused, get, path, post, readLog } from "./api.js";
import { eventsOf, movedOf, runsOf } from "./flows.js";

const OPERATORS = ["SftpTreeToS3Operator", "S3ToSftpOperator"];
const BAD = ["failed", "up_for_retry"];
/** Reports of mapped tasks that are read of one run. */
const MOST_REPORTS = 20;
const MOST_PAGES = 5;
const NOT_SHOWN = "Airflow shows you no log of it, and no report.";
/** An event is recorded so many milliseconds after its run's last report at most. */
const SAME_RUN = 60_000;

function isAnotherTry(task) {
  return task.state === "running" && task.try_number > 1;
}

/** Return the number of a task's last try that has failed: the one before a try that is under way. */
export function failedTry(task) {
  return isAnotherTry(task) ? task.try_number - 1 : task.try_number;
}

/** Return the run that a flow's row is about: one whose tries fail, else the last that has ended. */
export function runShown(flow) {
  if (flow.ended?.state !== "failed" && flow.trying.length) return flow.trying[0].dag_run_id;
  return flow.ended ? flow.ended.dag_run_id : null;
}

/** What the details of a flow are of: they stay as they are while this does. */
export function keyOf(flow) {
  const tries = flow.trying.map((task) => `${task.id} ${task.try_number} ${task.state}`);
  return JSON.stringify([flow.id, runShown(flow), flow.ended?.end_date, tries]);
}

/**
 * Ask for the details of some flows.
 *
 * `left`, `oldest` (milliseconds since 1970) are null where they are not known. `moved` is null where there is nothing
 * recorded, and undefined where it is not known. `atLeast`: there may be more.
 */
export async function detailsOf(flows) {
  const withRun = flows.filter((flow) => runShown(flow) !== null);
  const tasks = withRun.length ? await tasksOf(withRun) : [];
  return Promise.all(
    flows.map(async (flow) => {
      const run = runShown(flow);
      const own = tasks.filter((task) => task.dag_id === flow.id && task.dag_run_id === run);
      const transfers = own.filter(isTransfer);
      const reports = await reportsOf(flow, transfers);
      const bad = own.filter((task) => BAD.includes(task.state) || isAnotherTry(task)).sort(byEnd);
      const [failure, failing, event] = await Promise.all([
        bad.length ? failureOf(flow, bad[0], reports) : null,
        flow.ended?.state === "failed" ? failingSince(flow) : null,
        flow.events[0] ?? orNull(async () => (await eventsOf(flow, { limit: 1 }, 1)).found[0] ?? null, false),
      ]);
      const moved = lastMoved(event || null, reports) ?? (event === false ? undefined : null);
      return { transfers, reports, failure, failing, moved, ...waiting(transfers, reports) };
    }),
  );
}

function isTransfer(task) {
  return OPERATORS.includes(task.operator) || ["pull", "push"].includes(task.task_id);
}

function byEnd(one, other) {
  return (one.end_date ?? "") < (other.end_date ?? "") ? -1 : 1;
}

async function tasksOf(flows) {
  const body = {
    dag_ids: flows.map((flow) => flow.id),
    dag_run_ids: [...new Set(flows.map(runShown))],
    order_by: "map_index",
    page_limit: PAGE,
  };
  const found = [];
  for (let page = 0; page < MOST_PAGES; page += 1) {
    const answer = await post("dags/~/dagRuns/~/taskInstances/list", { ...body, page_offset: found.length });
    found.push(...answer.task_instances);
    if (!answer.task_instances.length || found.length >= answer.total_entries) break;
  }
  return found;
}

/** Return null, or something else, where Airflow has no answer, or none for this user. */
async function orNull(ask, refused = null) {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof Refused && error.status !== 401) return refused;
    throw error;
  }
}

/** Return the reports of a run's transfers that can be had, each with its task instance. */
async function reportsOf(flow, transfers) {
  const ended = transfers.filter((task) => task.state === "success" || BAD.includes(task.state));
  const reports = await Promise.all(
    ended.slice(0, MOST_REPORTS).map(async (task) => {
      const key = task.state === "success" ? "return_value" : "report";
      const of = path`dags/${flow.id}/dagRuns/${task.dag_run_id}/taskInstances/${task.task_id}`;
      const where = `${of}/xcomEntries/${key}`;
      const entry = await orNull(() => get(where, { map_index: task.map_index }));
      const report = entry && parsed(entry.value);
      return report && { task, report };
    }),
  );
  return reports.filter(Boolean);
}

/** Return a report out of XCom, which Airflow hands out as text or as it is; null: it is something else. */
function parsed(value) {
  try {
    const report = typeof value === "string" ? JSON.parse(value) : value;
    return typeof report === "object" && report !== null && "direction" in report ? report : null;
  } catch {
    return null;
  }
}

function waiting(transfers, reports) {
  const nothing = transfers.length > 0 && transfers.every((task) => task.state === "skipped");
  if (nothing) return { left: 0, oldest: null, atLeast: false };
  const known = reports.filter(({ report }) => Number.isFinite(report.left));
  if (!known.length) return { left: null, oldest: null, atLeast: false };
  const oldest = known
    .filter(({ report }) => Number.isFinite(report.oldest_age))
    .map(({ report, task }) => Date.parse(task.end_date) - report.oldest_age * 1000);
  return {
    left: known.reduce((sum, { report }) => sum + report.left, 0),
    oldest: oldest.length ? Math.min(...oldest) : null,
    atLeast: known.length < transfers.length || known.some(({ report }) => report.more_left),
  };
}

/** Return the last time that a flow has moved something: as its event says, or reports of which there is no event. */
function lastMoved(event, reports) {
  const told = event && movedOf(event);
  const moves = reports.filter(({ report }) => totalOf(report)?.files !== 0);
  if (!moves.length) return told;
  const sum = (name) => moves.reduce((all, { report }) => add(all, totalOf(report)?.[name] ?? null), 0);
  const at = Math.max(...moves.map(({ task }) => Date.parse(task.end_date)));
  const reported = { files: sum("files"), bytes: sum("bytes"), at };
  // The event comes seconds after the reports, or not at all: none tells of a run that has failed.
  const ofTheSame = told !== null && at < told.at + SAME_RUN;
  if (told && ofTheSame && (told.files !== null || at < told.at - SAME_RUN)) return told;
  return reported;
}

/** Return what a report says was moved, with the tries before it; null is not known. */
function totalOf(report) {
  return "total" in report ? report.total : { files: report.transferred, bytes: report.bytes };
}

function add(one, other) {
  return one === null || other === null ? null : one + other;
}

/** Return how often a flow has failed since it last succeeded, and since when. */
async function failingSince(flow) {
  const answer = await orNull(() => runsOf(flow, {}, 1));
  const runs = (answer?.found ?? []).filter((run) => ["success", "failed"].includes(run.state));
  const good = runs.findIndex((run) => run.state === "success");
  const failed = good < 0 ? runs : runs.slice(0, good);
  if (!failed.length) return null;
  return { times: failed.length, atLeast: good < 0 && !answer.whole, first: failed.at(-1), good: runs[good] ?? null };
}

/** Return what a task has failed with: a text, its files, and the task itself. */
async function failureOf(flow, task, reports) {
  const files = reports
    .filter(({ report }) => Array.isArray(report.failures))
    .flatMap(({ report, task: of }) => report.failures.map((each) => ({ ...each, task: of })));
  const count = reports.reduce((sum, { report }) => sum + (report.failed ?? 0), 0);
  if (files.length) {
    const more = count > 1 ? ` (and ${count - 1} more)` : "";
    return { task, files, count, reason: `${files[0].source}: ${files[0].error}${more}` };
  }
  return { task, files, count, reason: await orNull(() => lastError(flow, task, failedTry(task)), NOT_SHOWN) };
}

/** Return the last error in a task's log, or null. */
async function lastError(flow, task, number) {
  let last = null;
  let weaker = null;
  const where = path`dags/${flow.id}/dagRuns/${task.dag_run_id}/taskInstances/${task.task_id}/logs/${number}`;
  await readLog(where, { map_index: task.map_index }, (line) => {
    const [raised] = line.error_detail ?? [];
    if (raised) last = raised.exc_value || raised.exc_type;
    else if (["error", "critical"].includes(line.level)) weaker = line.event;
  });
  return last ?? weaker;
}
