// Filters and sorts the matrices; what is chosen lives in the URL's hash, so that it can be shared.
"use strict";

const form = document.querySelector("[data-filters]");

function chosen() {
  return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
}

function filter(matrix, { model, defense, risk, verdict }) {
  for (const cell of matrix.querySelectorAll("[data-risk]")) {
    cell.hidden = Boolean(risk) && cell.dataset.risk !== risk;
  }
  for (const group of matrix.tBodies) {
    for (const row of group.querySelectorAll("[data-row]")) {
      const cells = [...row.querySelectorAll("[data-verdicts]")];
      const hits = cells.filter(
        (cell) => !cell.hidden && (!verdict || cell.dataset.verdicts.split("|").includes(verdict)),
      );
      for (const cell of cells) cell.classList.toggle("dim", !hits.includes(cell));
      row.hidden =
        (Boolean(model) && row.dataset.model !== model) ||
        (Boolean(defense) && row.dataset.defense !== defense) ||
        (Boolean(verdict) && hits.length === 0);
    }
    group.hidden = [...group.querySelectorAll("[data-row]")].every((row) => row.hidden);
  }
}

function sort(matrix, number, { sort: key, order }) {
  const [table, column] = (key ?? "").split(".");
  const direction = table === String(number) ? (order === "up" ? 1 : -1) : 0;
  for (const button of matrix.querySelectorAll("button.sort")) {
    const here = direction !== 0 && button.dataset.column === column;
    button.textContent = here ? (direction > 0 ? "▲ lowest first" : "▼ highest first") : "↕ sort";
    button.closest("th").setAttribute("aria-sort", here ? (direction > 0 ? "ascending" : "descending") : "none");
  }
  for (const group of matrix.tBodies) {
    const rows = [...group.querySelectorAll("[data-row]")];
    const value = (row) => row.querySelector(`td[data-column="${CSS.escape(column ?? "")}"]`)?.dataset.value ?? "";
    rows.sort((a, b) => {
      if (direction !== 0) {
        const [left, right] = [value(a), value(b)];
        if (left !== right) {
          // What has no number stays last in both directions.
          if (left === "" || right === "") return left === "" ? 1 : -1;
          return direction * (Number(left) - Number(right));
        }
      }
      return Number(a.dataset.row) - Number(b.dataset.row);
    });
    group.append(...rows);
  }
}

function show() {
  const choice = chosen();
  const matrices = [...document.querySelectorAll("[data-matrix]")];
  for (const select of form.querySelectorAll("select")) {
    select.value = choice[select.name] ?? "";
  }
  matrices.forEach((matrix, number) => {
    filter(matrix, choice);
    sort(matrix, number, choice);
  });
  const rows = [...document.querySelectorAll("[data-row]")];
  const visible = rows.filter((row) => !row.hidden).length;
  form.querySelector("[data-shown]").textContent = `${visible} of ${rows.length} rows`;
}

function choose(changes) {
  const next = Object.entries({ ...chosen(), ...changes }).filter(([, value]) => value);
  history.replaceState(null, "", `#${new URLSearchParams(next)}`);
  show();
}

function addSorting(matrix, number) {
  for (const head of matrix.querySelectorAll("thead th[data-column]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.dataset.column = head.dataset.column;
    button.addEventListener("click", () => {
      const key = `${number}.${head.dataset.column}`;
      const { sort: current, order } = chosen();
      if (current !== key) choose({ sort: key, order: "down" });
      else if (order === "down") choose({ order: "up" });
      else choose({ sort: "", order: "" });
    });
    head.append(button);
  }
}

if (form) {
  document.querySelectorAll("[data-matrix]").forEach(addSorting);
  form.addEventListener("change", ({ target }) => choose({ [target.name]: target.value }));
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    history.replaceState(null, "", location.pathname);
    show();
  });
  addEventListener("hashchange", show);
  form.hidden = false;
  show();
}
