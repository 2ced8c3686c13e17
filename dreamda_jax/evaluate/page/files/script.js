"use strict";
(() => {
  // All pages work without this; it adds a choice of colours, enlarging, sorting, and folds that print.
  const root = document.documentElement;
  for (const element of document.querySelectorAll(".scripted")) element.hidden = false;

  // Light or dark
  const KEY = "dreamda-scheme";
  const system = matchMedia("(prefers-color-scheme: dark)");
  const scheme = document.getElementById("scheme");
  const isDark = () => (root.dataset.scheme ? root.dataset.scheme === "dark" : system.matches);
  const nameIt = () => { scheme.textContent = isDark() ? "Light" : "Dark"; scheme.setAttribute("aria-label", `${scheme.textContent} colours`); };
  try { // a browser may forbid storage to a file
    const kept = localStorage.getItem(KEY);
    if (kept === "light" || kept === "dark") root.dataset.scheme = kept;
  } catch { /* then the choice lasts as long as the page */ }
  scheme.addEventListener("click", () => {
    root.dataset.scheme = isDark() ? "light" : "dark";
    try { localStorage.setItem(KEY, root.dataset.scheme); } catch { /* as above */ }
    nameIt();
  });
  system.addEventListener("change", nameIt);
  scheme.hidden = false;
  nameIt();

  // Enlarging
  const make = (name, properties, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  const large = make("img");
  const caption = make("p");
  const control = (text, action) => make("button", { type: "button", className: "quiet", textContent: text, onclick: action });
  const viewer = make("dialog", {}, large, caption, make("div", { className: "controls" },
    control("Previous", () => step(-1)), control("Next", () => step(1)), control("Close", () => viewer.close())));
  viewer.setAttribute("aria-label", "Enlarged picture");
  let pictures = [];
  let place = 0;
  const show = (wanted) => {
    place = (wanted + pictures.length) % pictures.length;
    const picture = pictures[place];
    large.src = picture.src;
    large.alt = picture.alt;
    large.className = picture.naturalWidth < 160 ? "small" : "";
    caption.textContent = `${picture.dataset.caption} (${place + 1} of ${pictures.length})`;
  };
  const step = (by) => show(place + by);
  viewer.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) { event.preventDefault(); step(by); }
  });
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
  document.body.append(viewer);
  for (const section of document.querySelectorAll("[data-pictures]")) {
    const all = [...section.querySelectorAll("img.picture")];
    all.forEach((picture, index) => {
      const opener = make("button", { type: "button", className: "open" });
      picture.replaceWith(opener);
      opener.append(picture);
      opener.addEventListener("click", () => { pictures = all; show(index); viewer.showModal(); });
    });
  }

  // Sorting. Cells carry their number in data-value; without one they come last.
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  };
  const isNumeric = (rows, column) => rows.some((row) => valueOf(row, column) !== null);
  const textOf = (row, column) => row.cells[column].textContent.trim();
  const sort = (table, column, down) => {
    const rows = [...table.tBodies[0].rows];
    const sign = down ? -1 : 1;
    const numeric = isNumeric(rows, column);
    rows.sort((a, b) => {
      if (!numeric) return sign * textOf(a, column).localeCompare(textOf(b, column), undefined, { numeric: true });
      const [x, y] = [valueOf(a, column), valueOf(b, column)];
      return x === null || y === null ? (x === null) - (y === null) : sign * (x - y);
    });
    table.tBodies[0].append(...rows);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = make("button", { type: "button" }, ...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const before = head.getAttribute("aria-sort"); // numbers start with the largest, words with A
        const down = before ? before === "ascending" : isNumeric([...table.tBodies[0].rows], column);
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        sort(table, column, down);
      });
    });
  }

  // What is folded is printed too
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const element of folded) element.open = true;
  });
  addEventListener("afterprint", () => { for (const element of folded) element.open = false; });
})();
