// SPDX-License-Identifier: Apache-2.0
// Elements and tables. Text enters the page here, and only as text: nothing that came by the network is markup.

export const byId = (id) => document.getElementById(id);

/** An element with attributes, and children that are elements or text. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Set a text only if it is another one: what is selected or read aloud stays. */
export function say(element, text) {
  const wanted = text ?? "";
  if (element.textContent !== wanted) element.textContent = wanted;
}

/** Show a refusal, or hide it with "". */
export function refuse(element, text) {
  say(element, text);
  element.hidden = !text;
}

/**
 * A table whose rows stay the same elements while their data change, so that focus and selection stay.
 *
 * columns: {label, text(item) | make(cell, item) once and update(cell, item), end: numbers, class, head: bool}.
 * compact: it fits on a phone as it is; the rows of others become blocks there.
 */
export class Table {
  constructor(place, label, columns, key, empty, { compact = false } = {}) {
    this.columns = columns;
    this.key = key;
    this.rows = new Map();
    this.body = el("tbody", { role: "rowgroup" });
    const heads = columns.map((column) =>
      el("th", { scope: "col", role: "columnheader", class: classes(column) }, column.label),
    );
    const head = el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...heads));
    this.table = el("table", { role: "table", "aria-label": label, class: compact ? "compact" : null }, head, this.body);
    this.none = el("p", { class: "hint none" }, empty);
    place.replaceChildren(this.table, this.none);
    this.clear();
  }

  /** Show nothing, not even that there is nothing: that is not known yet. */
  clear() {
    this.fill([]);
    this.none.hidden = true;
  }

  /** Show these items in this order. */
  fill(items) {
    const focused = document.activeElement;
    const before = this.rows;
    this.rows = new Map();
    for (const item of items) {
      const key = this.key(item);
      const row = before.get(key) ?? this.#make(item);
      before.delete(key);
      this.rows.set(key, row);
      row.item = item;
      this.#update(row, item);
    }
    for (const row of before.values()) row.element.remove();
    let place = this.body.firstElementChild;
    for (const { element } of this.rows.values()) {
      if (element === place) place = place.nextElementSibling;
      else this.body.insertBefore(element, place);
    }
    if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
    this.table.hidden = items.length === 0;
    this.none.hidden = items.length > 0;
  }

  #make(item) {
    const row = { item, cells: [] };
    for (const column of this.columns) {
      const attributes = { "data-label": column.label, class: classes(column) };
      const cell = column.head
        ? el("th", { ...attributes, scope: "row", role: "rowheader" })
        : el("td", { ...attributes, role: "cell" });
      column.make?.(cell, () => row.item);
      row.cells.push(cell);
    }
    row.element = el("tr", { role: "row" }, ...row.cells);
    return row;
  }

  #update(row, item) {
    this.columns.forEach((column, index) => {
      if (column.text) say(row.cells[index], column.text(item));
      column.update?.(row.cells[index], item);
    });
  }
}

function classes(column) {
  return [column.class, column.end && "end"].filter(Boolean).join(" ") || null;
}

/** A column of small buttons: [{label, title(item), act(item), scope, show(item)}]. */
export function actions(list) {
  return {
    label: "",
    class: "acts",
    make(cell, item) {
      for (const each of list) {
        const button = el("button", { type: "button", class: "small", "data-scope": each.scope ?? null }, each.label);
        button.addEventListener("click", () => each.act(item()));
        if (each.scope) permission.check(button);
        cell.append(button);
      }
    },
    update(cell, item) {
      list.forEach((each, index) => {
        const button = cell.children[index];
        button.setAttribute("aria-label", each.title(item));
        button.hidden = each.show ? !each.show(item) : false;
      });
    },
  };
}

/** A column with a number and a bar beneath it; `share(item)` is from 0 to 1, `kind(item)` a verdict. */
export function barColumn(label, text, share, kind = () => "drop") {
  return {
    label,
    end: true,
    class: "bar-cell",
    make(cell) {
      cell.append(el("span", { class: "number" }), el("span", { class: "meter", "aria-hidden": "true" }, el("span")));
    },
    update(cell, item) {
      say(cell.firstElementChild, text(item));
      cell.lastElementChild.className = `meter ${kind(item)}`;
      cell.lastElementChild.firstElementChild.style.width = `${(Math.min(1, share(item)) * 100).toFixed(1)}%`;
    },
  };
}

/** A word that is told apart by more than its colour. */
export function chip(text, kind) {
  return el("span", { class: `chip ${kind}` }, text);
}

/** A column with such a word. */
export function chipColumn(label, text, kind) {
  return {
    label,
    update(cell, item) {
      const wanted = text(item);
      const state = `chip ${kind(item)}`;
      const held = cell.firstElementChild ?? cell.appendChild(el("span"));
      say(held, wanted);
      if (held.className !== state) held.className = state;
    },
  };
}

/** What decides whether a button of a scope may be used: the session says, once it is known. */
export const permission = { check: () => {} };

let clearing;

/** Tell what was done: shown for a while, read aloud. */
export function tell(text) {
  const place = byId("told");
  place.textContent = text;
  clearTimeout(clearing);
  clearing = setTimeout(() => (place.textContent = ""), 8000);
}
