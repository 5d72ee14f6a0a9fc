/**
 * Elements, made of text. Names, errors and docs come from partners: they get into the page through `shown` and `link`
 * only, as text nodes and as addresses of known kinds.
 */

const SVG = "http://www.w3.org/2000/svg";
/** Characters that are not seen, or turn round what follows them: control, format, unassigned; line separators. */
const UNSEEN = /[\p{C}\u2028\u2029]/gu;
const UNSEEN_IN_LINES = /(?![\n\t])[\p{C}\u2028\u2029]/gu;
const SCHEMES = ["http:", "https:"];

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (/^(on|style$|href$|src$)/.test(name)) throw new Error(`not by this function: ${name}`);
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Return an element. Children are elements or texts; null and false are left out. */
export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** Return an element of an SVG. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

/** Return a text that came from anywhere, with what cannot be seen in it shown as U+202E, in a direction of its own. */
export function shown(value, { lines = false } = {}) {
  const text = String(value);
  const parts = [];
  let end = 0;
  for (const found of text.matchAll(lines ? UNSEEN_IN_LINES : UNSEEN)) {
    const code = found[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    parts.push(text.slice(end, found.index), el("span", { class: "unseen" }, `U+${code}`));
    end = found.index + found[0].length;
  }
  return el("bdi", {}, ...parts, text.slice(end));
}

/** Say whether there is something in a text that cannot be seen, a line's end included. */
export function hasUnseen(text) {
  return text.search(UNSEEN) >= 0;
}

/** Return an address if it is of a kind that may be followed, or null. */
export function address(target) {
  try {
    const url = new URL(target, document.baseURI);
    return SCHEMES.includes(url.protocol) ? url : null;
  } catch {
    return null;
  }
}

/** Return a link; the text alone where its target is of no known kind. What is not on this page opens beside it. */
export function link(target, ...children) {
  const url = address(target);
  if (url === null) return el("span", {}, ...children);
  const made = el("a", {}, ...children);
  made.href = url.href;
  if (!String(target).startsWith("#")) {
    made.target = "_blank";
    made.rel = "noopener noreferrer";
  }
  return made;
}
