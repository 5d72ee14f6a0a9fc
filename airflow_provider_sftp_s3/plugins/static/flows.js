/** What Airflow knows of all flows: asked in a few requests, whatever their number. */

import { PAGE, Refused, asked, get, pages, path, post } from "./api.js";

export const TAG = "sftp-s3";
/** Requests until the table is there. Whatever they leave open is asked for after that. */
const BEFORE_THE_TABLE = 20;
export const DAY = 24 * 3600 * 1000;
/** The tasks of a flow that record the events of its assets. */
const EVENT_TASKS = ["pull", "push", "update_asset"];
/** Pages of events that are read: with more in a day, what they hold is of less than a day. */
const EVENT_PAGES = 20;
/** Pages of import errors, of tries and of runs under way that are read. */
const [ERROR_PAGES, TRY_PAGES, ACTIVE_PAGES] = [4, 2, 5];
/** What is not known where Airflow does not show asset events. */
export const EVENTS = "asset events, so what was moved is not known";
const ENDED = ["success", "failed"];
const UNDER_WAY = ["queued", "running"];

/**
 * Return what is between a flow's two places, or null where its description does not end with them: see
 * `flows/dag.py`, which writes them there.
 */
export function placesOf(description) {
  const lines = (description ?? "").split("\n");
  const found = /^(\(?)(.+?) → (.+?)(\)?)$/u.exec(lines.at(-1));
  if (!found || (found[1] === "(") !== (found[4] === ")")) return null;
  const [, , from, to] = found;
  if (from.startsWith("s3://") === to.startsWith("s3://")) return null;
  return { from, to, direction: to.startsWith("s3://") ? "pull" : "push", says: lines.slice(0, -1).join("\n") };
}

/** A flow, as far as it is known. What is `undefined` has not been asked yet, what is `null` is not there. */
function flowOf(dag) {
  const places = placesOf(dag.description);
  return {
    id: dag.dag_id,
    dag,
    places,
    says: places ? places.says : (dag.description ?? ""),
    ended: undefined,
    active: null,
    trying: [],
    errors: [],
    events: [],
    details: undefined,
    asking: null,
  };
}

/** A flow of which Airflow has no Dag, since its entry in flows.yaml is wrong. */
function withoutDag(id) {
  return { ...flowOf({ dag_id: id }), dag: null, ended: null };
}

/** All flows, at one time. */
export class Flows {
  constructor() {
    this.at = Date.now();
    this.byId = new Map();
    /** Import errors that name no flow. */
    this.errors = [];
    /** What Airflow would not tell, in words. */
    this.notes = new Map();
    /** Since when all events are known, in milliseconds. */
    this.eventsSince = this.at - DAY;
    this._open = new Set();
    this._allActive = true;
    this._eventReaders = EVENT_TASKS.map((task) => ({ task, offset: 0, done: false, oldest: this.at }));
    this._events = new Map();
    this._asked = asked;
  }

  /** Ask for what the table needs, in no more than BEFORE_THE_TABLE requests. */
  async load() {
    const query = { tags: TAG, limit: PAGE, order_by: "dag_id" };
    const { found: dags } = await pages((offset) => get("dags", { ...query, offset }), "dags");
    for (const dag of dags) this.byId.set(dag.dag_id, flowOf(dag));
    this._open = new Set(this.byId.keys());
    await Promise.all([
      this._try("import errors", () => this._loadErrors()),
      this._try("runs", () => this._loadActive(1)),
      this._try("task instances", () => this._loadTrying()),
      this._try(EVENTS, () => this._loadEvents(1)),
    ]);
    await this._try("runs", () => this._loadEnded(() => asked - this._asked < BEFORE_THE_TABLE));
  }

  /** Ask for the rest, and call `changed` whenever there is more of it. */
  async loadRest(changed) {
    await this._try("runs", () => this._loadEnded(() => (changed(), true)));
    if (!this._allActive) await this._try("runs", () => this._loadActive(ACTIVE_PAGES));
    await this._try(EVENTS, () => this._loadEvents(EVENT_PAGES));
    changed();
  }

  /** Return all flows: what is broken first, the latest of it on top. */
  sorted() {
    const key = (flow) => [RANKS.indexOf(stateOf(flow)), -sinceOf(flow), flow.id];
    const keyed = [...this.byId.values()].map((flow) => [key(flow), flow]);
    keyed.sort(([a], [b]) => {
      const first = a.findIndex((each, index) => each !== b[index]);
      return first < 0 ? 0 : a[first] < b[first] ? -1 : 1;
    });
    return keyed.map(([, flow]) => flow);
  }

  /** Do something that Airflow may refuse to this user: then it is said, and the rest goes on. */
  async _try(what, action) {
    try {
      await action();
    } catch (error) {
      if (error instanceof Refused && error.status === 401) throw error;
      this.notes.set(what, error instanceof Refused && error.status === 403 ? "you may not see them" : error.message);
    }
  }

  /** The runs that are under way, those first that are so for long. */
  async _loadActive(most) {
    const body = { dag_ids: [...this.byId.keys()], states: UNDER_WAY, order_by: "run_after", page_limit: PAGE };
    if (!body.dag_ids.length) return;
    const { found, whole } = await pages((offset) => listed("dagRuns", body, offset), "dag_runs", most);
    this._allActive = whole;
    for (const run of found) {
      const flow = this.byId.get(run.dag_id);
      const better = flow && (flow.active === null || (run.state === "running" && flow.active.state !== "running"));
      if (better) flow.active = run;
    }
  }

  /** The tries that are under way: those after the first are flows in trouble, though no run of theirs has failed. */
  async _loadTrying() {
    const all = [...this.byId.keys()];
    if (!all.length) return;
    const ask = async (states) => {
      const body = { dag_ids: all, state: states, order_by: "-start_date", page_limit: PAGE };
      return pages((offset) => listed("dagRuns/~/taskInstances", body, offset), "task_instances", TRY_PAGES);
    };
    // By themselves: where hundreds of tasks run, those that wait for their next try are the last of all.
    const found = await Promise.all([ask(["up_for_retry"]), ask(["running"])]);
    for (const task of found.flatMap((each) => each.found)) {
      const again = task.state === "up_for_retry" || task.try_number > 1;
      if (again) this.byId.get(task.dag_id)?.trying.push(task);
    }
    if (found.some((each) => !each.whole)) this.notes.set("all tries", `there are more than ${TRY_PAGES * PAGE}`);
  }

  /**
   * The last run of each flow that has ended: the newest runs of those that are not known yet, until there are none.
   * Flows that run often come in the first pages and make room for the others.
   */
  async _loadEnded(mayGoOn) {
    while (this._open.size && mayGoOn()) {
      const body = { dag_ids: [...this._open], states: ENDED, order_by: "-run_after", page_limit: PAGE };
      const { dag_runs: runs, total_entries: total } = await listed("dagRuns", body, 0);
      for (const run of runs) if (this._open.delete(run.dag_id)) this.byId.get(run.dag_id).ended = run;
      if (runs.length >= total || !runs.length) {
        for (const id of this._open) this.byId.get(id).ended = null;
        this._open.clear();
      }
    }
  }

  /** The events of the last day, newest first: each tells what a run has moved, and where to. */
  async _loadEvents(pages) {
    const from = new Date(this.at - DAY).toISOString();
    await Promise.all(
      this._eventReaders.map(async (reader) => {
        const query = { source_task_id: reader.task, timestamp_gte: from, order_by: "-timestamp", limit: PAGE };
        for (let page = 0; page < pages && !reader.done; page += 1) {
          const answer = await get("assets/events", { ...query, offset: reader.offset });
          const { asset_events: events } = answer;
          reader.offset += events.length;
          reader.done = !events.length || reader.offset >= answer.total_entries;
          if (events.length) reader.oldest = Date.parse(events.at(-1).timestamp);
          for (const event of events) this._take(event);
        }
      }),
    );
    this.eventsSince = Math.max(...this._eventReaders.map((each) => (each.done ? this.at - DAY : each.oldest)));
    for (const flow of this.byId.values()) flow.events.sort((a, b) => (a.timestamp < b.timestamp ? 1 : -1));
  }

  _take(event) {
    const flow = this.byId.get(event.source_dag_id);
    if (!flow || this._events.has(event.id)) return;
    this._events.set(event.id, event);
    flow.events.push(event);
  }

  async _loadErrors() {
    const query = { limit: PAGE, order_by: "-timestamp" };
    const ask = (offset) => get("importErrors", { ...query, offset });
    const { found: errors, whole } = await pages(ask, "import_errors", ERROR_PAGES);
    if (!whole) this.notes.set("all import errors", `there are more than ${errors.length}`);
    const dags = [...this.byId.values()].map((flow) => flow.dag);
    const files = new Set(dags.map((dag) => fileOf(dag.bundle_name, dag.relative_fileloc)));
    for (const error of errors) {
      const ours = error.stack_trace.includes("airflow_provider_sftp_s3");
      if (!ours && !files.has(fileOf(error.bundle_name, error.filename))) continue;
      const named = flowErrors(error.stack_trace);
      for (const [id, lines] of named) {
        if (!this.byId.has(id)) this.byId.set(id, withoutDag(id));
        this.byId.get(id).errors.push({ ...error, text: lines.join("\n") });
      }
      if (!named.size) this.errors.push(error);
    }
  }
}

/** Ask for a page of a list of all Dags. */
function listed(what, body, offset) {
  return post(`dags/~/${what}/list`, { ...body, page_offset: offset });
}

function fileOf(bundle, file) {
  return `${bundle ?? ""}\n${file ?? ""}`;
}

/** Return what an import error says of each flow that it names: as `FlowError` writes it. */
export function flowErrors(text) {
  const found = new Map();
  const line = /^(?:[\w.]+: )?(.*\bline \d+: flow '([\w.-]{1,250})'(?: and \d+ more of its for_each)?: .*)$/u;
  for (const each of text.split("\n")) {
    const parts = line.exec(each);
    if (parts) found.set(parts[2], [...(found.get(parts[2]) ?? []), parts[1]]);
  }
  return found;
}

/** How a flow is: one of these, in the order of the table. */
export const BROKEN = ["import error", "failed", "retrying"];
const RANKS = [...BROKEN, "unknown", "ok"];

export function stateOf(flow) {
  if (flow.errors.length) return "import error";
  if (flow.ended?.state === "failed") return "failed";
  if (flow.trying.length) return "retrying";
  return flow.ended === undefined ? "unknown" : "ok";
}

/** Return when a broken flow was seen broken last, in milliseconds; 0 for one that is not. */
function sinceOf(flow) {
  const state = stateOf(flow);
  if (state === "import error") return Date.parse(flow.errors[0].timestamp);
  if (state === "failed") return Date.parse(flow.ended.end_date ?? flow.ended.run_after);
  if (state === "retrying") return Date.parse(flow.trying[0].start_date ?? flow.trying[0].run_after);
  return 0;
}

/** Return what an event says was moved; null is not known. */
export function movedOf(event) {
  const number = (value) => (typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : null);
  return { files: number(event.extra?.files), bytes: number(event.extra?.bytes), at: Date.parse(event.timestamp) };
}

/** Return the sum of what was moved since a time: at least so much, where `whole` is false. */
export function sumOf(flow, since) {
  let files = 0;
  let bytes = 0;
  // What a failed run has moved is in no event, and what a Dag calls a task may not be known here.
  let whole = Boolean(flow.places) && flow.ended?.state !== "failed" && !flow.trying.length;
  for (const event of flow.events) {
    const moved = movedOf(event);
    if (moved.at < since) continue;
    whole &&= moved.files !== null && moved.bytes !== null;
    files += moved.files ?? 0;
    bytes += moved.bytes ?? 0;
  }
  return { files, bytes, whole };
}

/** Return a flow's own events, the newest first: see `pages`. */
export function eventsOf(flow, query, most) {
  const own = { source_dag_id: flow.id, order_by: "-timestamp", limit: PAGE, ...query };
  return pages((offset) => get("assets/events", { ...own, offset }), "asset_events", most);
}

/** Return a flow's runs, the newest first: see `pages`. */
export function runsOf(flow, query, most) {
  const own = { order_by: "-run_after", limit: PAGE, ...query };
  return pages((offset) => get(path`dags/${flow.id}/dagRuns`, { ...own, offset }), "dag_runs", most);
}
