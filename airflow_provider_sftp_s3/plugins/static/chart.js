/** What the runs of a flow have moved in the last day, as a small picture. */

import { DAY } from "./flows.js";
import { bytes, files, moment } from "./format.js";
import { svg } from "./text.js";

const [WIDTH, LANE, GAP, LEFT] = [720, 56, 18, 8];
const HOUR = 3600 * 1000;

/**
 * Return the picture.
 *
 * @param runs what each run moved: `{at, state, files, bytes}`, null where that is not known.
 */
export function chart(runs, now) {
  const from = now - DAY;
  const x = (time) => LEFT + ((time - from) / DAY) * (WIDTH - 2 * LEFT);
  const inDay = runs.filter((run) => run.at >= from && run.at <= now);
  const lanes = [
    ["files", (value) => files(value)],
    ["bytes", (value) => bytes(value)],
  ].map(([name, words], index) => lane(inDay, name, words, x, GAP + index * (LANE + GAP), now));
  const height = 2 * (LANE + GAP) + GAP;
  const failed = inDay.filter((run) => run.state === "failed").length;
  const says = `${inDay.length} runs in 24 hours, ${failed} of them failed; the table below has them all`;
  const box = { class: "chart", viewBox: `0 0 ${WIDTH} ${height + GAP}`, role: "img", "aria-label": says };
  return svg("svg", box, ...lanes, hours(x, height, now));
}

function lane(runs, name, words, x, top, now) {
  const most = Math.max(1, ...runs.map((run) => run[name] ?? 0));
  const foot = top + LANE;
  const bars = runs.map((run) => {
    const value = run[name];
    const height = value ? Math.max(2, (value / most) * (LANE - 4)) : 2;
    const kind = run.state === "failed" ? "failed" : value === null ? "unknown" : value ? "moved" : "nothing";
    const [left, up] = [(x(run.at) - 2).toFixed(1), (foot - height).toFixed(1)];
    const box = { class: kind, x: left, y: up, width: "4", height: height.toFixed(1) };
    return svg("rect", box, svg("title", {}, `${moment(run.at, now)}, ${run.state}: ${words(value)}`));
  });
  const known = runs.map((run) => run[name]).filter((value) => value !== null);
  const label = known.length ? `${name}, at most ${words(Math.max(...known))} a run` : `${name}: not known`;
  return svg(
    "g",
    {},
    svg("text", { x: String(LEFT), y: String(top - 4) }, label),
    svg("line", { x1: String(LEFT), x2: String(WIDTH - LEFT), y1: String(foot), y2: String(foot) }),
    ...bars,
  );
}

function hours(x, height, now) {
  const ticks = [];
  for (let back = 24; back >= 0; back -= 6) {
    const time = now - back * HOUR;
    const anchor = back === 24 ? "start" : back === 0 ? "end" : "middle";
    const place = { x: x(time).toFixed(1), y: String(height + 2), "text-anchor": anchor };
    ticks.push(svg("text", place, back ? moment(time, now) : "now"));
  }
  return svg("g", {}, ...ticks);
}
