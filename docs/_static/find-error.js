// A box on the page "Troubleshooting": an error is pasted into it, and the entries that are about it come up.
"use strict";

/** The entries that are about a text, the one that says most first: as `explains` of docs/messages.py has it. */
function entriesAbout(text, entries) {
  const said = text.replace(/\s+/g, " ");
  const isAbout = (entry) => {
    let from = 0;
    return entry.textContent.split("…").every((words) => {
      const at = said.indexOf(words, from);
      from = at + words.length;
      return at >= 0;
    });
  };
  return entries.filter(isAbout).sort((one, other) => other.textContent.length - one.textContent.length);
}

document.addEventListener("DOMContentLoaded", () => {
  const below = document.getElementById("how-bad-is-it");
  if (!below) return;
  const entries = [...document.querySelectorAll("h3 code")].filter((entry) => entry.textContent.includes(" "));
  const box = document.createElement("p");
  const label = document.createElement("label");
  const field = document.createElement("textarea");
  const found = document.createElement("ul");
  label.htmlFor = field.id = "error-text";
  label.textContent = "Paste an error here, as it is:";
  field.rows = 3;
  field.style.cssText = "display: block; width: 100%; box-sizing: border-box; font: inherit";
  found.setAttribute("aria-live", "polite");
  box.append(label, field);
  below.before(box, found);
  field.addEventListener("input", () => {
    const items = entriesAbout(field.value, entries).slice(0, 5).map((entry) => {
      const item = document.createElement("li");
      const link = document.createElement("a");
      link.href = `#${entry.closest("section").id}`;
      link.append(entry.cloneNode(true));
      item.append(link);
      return item;
    });
    if (field.value.trim() && !items.length) items.push("No entry is about this. The search may know some of its words.");
    found.replaceChildren(...items);
  });
});
