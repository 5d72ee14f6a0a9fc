/** Airflow's own REST API, asked with the session of whoever looks at the page: Airflow decides what is shown. */

const BASE = new URL("../api/v2/", document.baseURI);
const TIMEOUT = 60_000;
/** Airflow gives no more at a time, unless it is configured to. */
export const PAGE = 100;
/** More at a time would wait for each other in the browser. */
const AT_ONCE = 6;

/** How many requests were sent. */
export let asked = 0;

/** Airflow's answer was no: 401 nobody is signed in, 403 not allowed, 404 not there. */
export class Refused extends Error {
  constructor(status, detail) {
    super(`${status}: ${detail}`);
    this.status = status;
  }
}

let running = 0;
const waiting = [];

async function send(path, options = {}, accept = "application/json") {
  if (running >= AT_ONCE) await new Promise((go) => waiting.push(go));
  running += 1;
  asked += 1;
  try {
    const response = await fetch(new URL(path, BASE), {
      cache: "no-store",
      credentials: "same-origin",
      redirect: "error",
      signal: AbortSignal.timeout(TIMEOUT),
      ...options,
      headers: { Accept: accept, ...options.headers },
    });
    if (!response.ok) throw new Refused(response.status, await detailOf(response));
    return response;
  } finally {
    running -= 1;
    waiting.shift()?.();
  }
}

async function detailOf(response) {
  const text = await response.text();
  try {
    const { detail } = JSON.parse(text);
    return typeof detail === "string" ? detail : JSON.stringify(detail);
  } catch {
    return response.statusText;
  }
}

/** Return a path whose `${parts}` are encoded: path`dags/${dag}/dagRuns`. */
export function path(strings, ...parts) {
  return String.raw({ raw: strings }, ...parts.map(encodeURIComponent));
}

export async function get(where, query = {}) {
  const parameters = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== undefined));
  return (await send(`${where}?${parameters}`)).json();
}

export async function post(where, body) {
  const headers = { "Content-Type": "application/json" };
  return (await send(where, { method: "POST", headers, body: JSON.stringify(body) })).json();
}

/** Call `take` with each line of a log, as Airflow has it. A line at a time: a log may be larger than memory. */
export async function readLog(where, query, take) {
  const response = await send(`${where}?${new URLSearchParams(query)}`, {}, "application/x-ndjson");
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let { value, done } = await reader.read(); !done; { value, done } = await reader.read()) {
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines.filter(Boolean)) take(JSON.parse(line));
  }
  if (rest) take(JSON.parse(rest));
}

/**
 * Return a list that comes in pages, and whether that is all of it: `most` pages are asked for.
 *
 * @param ask returns the page at an offset, with its items under the name `items`.
 */
export async function pages(ask, items, most = Infinity) {
  const first = await ask(0);
  const step = first[items].length;
  const offsets = [];
  for (let offset = step; step && offset < first.total_entries && offsets.length + 1 < most; offset += step) {
    offsets.push(offset);
  }
  const found = [first, ...(await Promise.all(offsets.map(ask)))].flatMap((page) => page[items]);
  return { found, whole: found.length >= first.total_entries };
}
