"use strict";
// Headers become buttons: rising, falling, as it was. A cell counts by the number that it begins with, else as text.
const number = /^[[(<>~≤≥\s]*([+\-−]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:e[+\-]?\d+)?)(?=$|[\s%*×,;)\]])/i;
const key = row => {
  const text = row.textContent.trim(), found = number.exec(text);
  const value = found && found[1] ? Number(found[1].replaceAll(",", "").replace("−", "-")) : NaN;
  return Number.isNaN(value) ? text : value;
};
const rank = one => one === "" || one === "–" ? 2 : typeof one === "string" ? 1 : 0;
const order = (one, other) => rank(one) || rank(other)
  ? rank(one) - rank(other) || String(one).localeCompare(String(other), undefined, {numeric: true})
  : one - other;
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  if (rows.length < 2) continue;
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const way = {ascending: "descending", descending: "none"}[head.ariaSort] ?? "ascending";
      for (const one of heads) one.removeAttribute("aria-sort");
      const keyed = rows.map(row => [key(row.cells[column]), row]);
      const sign = way === "descending" ? -1 : 1;
      const empty = one => rank(one[0]) === 2;
      if (way !== "none") {
        head.setAttribute("aria-sort", way);
        keyed.sort((one, other) => empty(one) - empty(other) || sign * order(one[0], other[0]));
      }
      body.append(...keyed.map(one => one[1]));
    });
  });
}
