/** Numbers and times as people read them. A fact that is not known is a question mark, and never 0. */

import { el } from "./text.js";

export const UNKNOWN = "?";
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const MINUTE = 60_000;

/** The time zone that was chosen in Airflow, or else the browser's. */
export const zone = chosenZone();

function chosenZone() {
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  try {
    const chosen = localStorage.getItem("timezone") ?? "";
    return Intl.DateTimeFormat("en", { timeZone: chosen || own }).resolvedOptions().timeZone;
  } catch {
    return own;
  }
}

const clock = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { timeZone: zone, weekday: "short", day: "2-digit", month: "short" });
const exact = new Intl.DateTimeFormat("en-GB", { timeZone: zone, dateStyle: "full", timeStyle: "long" });

export function count(number) {
  return number === null ? UNKNOWN : new Intl.NumberFormat("en").format(number);
}

export function files(number) {
  return number === 1 ? "1 file" : `${count(number)} files`;
}

export function bytes(number) {
  if (number === null) return `${UNKNOWN} bytes`;
  const power = Math.min(Math.floor(Math.log2(Math.max(number, 1)) / 10), UNITS.length - 1);
  const value = number / 1024 ** power;
  return `${power && value < 10 ? value.toFixed(1) : Math.round(value)} ${UNITS[power]}`;
}

/** Return a time span in its two largest units. */
export function span(milliseconds) {
  const minutes = Math.max(0, Math.floor(milliseconds / MINUTE));
  if (minutes < 1) return `${Math.max(0, Math.round(milliseconds / 1000))} s`;
  const [days, hours] = [Math.floor(minutes / 1440), Math.floor((minutes % 1440) / 60)];
  if (days) return days < 10 && hours ? `${days} d ${hours} h` : `${days} d`;
  return hours ? (minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`) : `${minutes} min`;
}

/** Return a time of the day, with its date if that is not today's. */
export function moment(time, now) {
  const date = new Date(time);
  return day.format(date) === day.format(now) ? clock.format(date) : `${day.format(date)} ${clock.format(date)}`;
}

/** Return an element with a time: when, and how long ago or from now. */
export function when(time, now) {
  const far = now - time;
  const apart = far >= 0 ? `${span(far)} ago` : `in ${span(-far)}`;
  const date = new Date(time);
  return el("time", { datetime: date.toISOString(), title: exact.format(date) }, `${moment(time, now)} (${apart})`);
}
