"use strict";
// Tables marked data-sortable: a button in each heading sorts the rows up, then down, then as they were.
(() => {
  const collator = new Intl.Collator(undefined, {numeric: true});
  const text = cell => cell.textContent.trim();
  const value = words => {
    const found = words.replace(/\u2212/g, "-").replace(/(\d),(?=\d{3})/g, "$1").match(/-?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?/i);
    if (!found) return null;
    return Number(found[0]) - (words.slice(0, found.index).includes("<") ? 1e-12 : 0);
  };
  const place = row => row.classList.contains("baseline") ? 2 : row.classList.contains("residual") ? 1 : 0;

  function compare(column, isNumber, sign) {
    return (a, b) => {
      const x = text(a.cells[column]), y = text(b.cells[column]);
      if (!isNumber) return place(a) - place(b) || sign * collator.compare(x, y);
      const one = value(x), other = value(y);
      if (one === null || other === null) return place(a) - place(b) || (one === null) - (other === null);
      return place(a) - place(b) || sign * (one - other);
    };
  }

  function sortable(table) {
    const body = table.tBodies[0], rows = Array.from(body.rows), heads = Array.from(table.tHead.rows[0].cells);
    if (rows.length < 2) return;
    heads.forEach((head, column) => {
      if (head.querySelector(".hidden") || !text(head)) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const next = {none: "ascending", ascending: "descending", descending: "none"}[head.ariaSort || "none"];
        heads.forEach(other => { if (other.ariaSort) other.ariaSort = "none"; });
        head.ariaSort = next;
        const by = compare(column, head.classList.contains("number"), next === "descending" ? -1 : 1);
        body.append(...(next === "none" ? rows : rows.slice().sort(by)));
      });
      head.ariaSort = "none";
    });
  }

  document.querySelectorAll("table[data-sortable]").forEach(sortable);
})();
