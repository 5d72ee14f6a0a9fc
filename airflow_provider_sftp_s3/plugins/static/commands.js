/** Lines for a shell, to be pasted: what is in them comes from a flow's settings, and stays the argument that it is. */

import { el, hasUnseen } from "./text.js";

const PROGRAM = "python -m airflow_provider_sftp_s3";

/** Return a flow's settings by name, as far as its documentation tells them: see `flows/docs.py`. */
export function settingsOf(docs) {
  const found = new Map();
  for (const [, name, value] of (docs ?? "").matchAll(/^ {4}(\w+): (.+)$/gmu)) {
    try {
      found.set(name, JSON.parse(value));
    } catch {
      found.set(name, value); // none
    }
  }
  return found;
}

/** Return the lines that try a flow's connections: none of what nobody can type, or of which nothing is known. */
export function testsOf(settings) {
  const of = (name) => {
    const value = settings.get(name);
    return typeof value === "string" ? value : null;
  };
  const [server, store] = [of("sftp_conn_id"), of("aws_conn_id")];
  return [
    server && line("test-connection", { path: of("sftp_path") }, server),
    store && line("test-connection", { bucket: of("s3_bucket"), prefix: of("s3_prefix") }, store),
  ].filter(Boolean);
}

/** Return a line; null if a character of it cannot be seen. A value that is made when a task runs is left out. */
function line(command, options, id) {
  const told = Object.entries(options).filter(([, value]) => value && !/\{[{%#]/u.test(value));
  const words = [...told.map(([name, value]) => `--${name}=${quoted(value)}`), ...(id.startsWith("-") ? ["--"] : [])];
  const made = [PROGRAM, command, ...words, quoted(id)].join(" ");
  return hasUnseen(made) ? null : made;
}

/** Return a word of a shell, whatever is in it. */
function quoted(word) {
  return /^[A-Za-z0-9_@%+:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

/** Return a line with a button that copies it or, where a browser lets no page do that, selects it. */
export function pasted(text) {
  const code = el("code", {}, text);
  const button = el("button", { type: "button", "aria-label": `Copy: ${text}` }, "Copy");
  button.addEventListener("click", async () => {
    getSelection().selectAllChildren(code);
    try {
      await navigator.clipboard.writeText(text); // there is none on a page that came by plain http
      button.textContent = "Copied";
    } catch {
      button.textContent = "Selected";
    }
  });
  return el("p", { class: "line" }, code, " ", button);
}
