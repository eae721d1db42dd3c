"use strict";
// A chart draws the table that it names: each number is on the page once.
const specs = JSON.parse(document.getElementById("specs").textContent);

function rowsOf(table) {
  const heads = [...table.tHead.rows[0].cells];
  return [...table.tBodies[0].rows].map((row) => Object.fromEntries(heads.map((head, place) => {
    const text = row.cells[place].textContent.trim();
    const number = head.classList.contains("n");
    return [head.dataset.key, text === "" ? null : number ? Number(text) : text];
  })));
}

async function draw(chart) {
  chart.dataset.drawn = "begun";
  const spec = structuredClone(specs[chart.dataset.spec]);
  spec.description = chart.closest("figure").querySelector("figcaption").textContent;
  spec.datasets = { rows: rowsOf(document.getElementById(chart.dataset.table)) };
  const width = chart.clientWidth;
  spec.config.legend.columns = width < 500 ? 1 : width < 800 ? 2 : 4;
  if (width < 500) spec.config.axisY = { labelLimit: 110 };
  const drawn = await vegaEmbed(chart, spec, { renderer: "svg", actions: false });
  chart.dataset.drawn = drawn ? "done" : "failed";
}

function drawVisible() {
  for (const chart of document.querySelectorAll(".chart:not([data-drawn])")) {
    if (chart.checkVisibility() && chart.clientWidth) draw(chart);
  }
}

// A link to a run opens what it is in.
function openTarget() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
}

document.addEventListener("toggle", drawVisible, true);
window.addEventListener("hashchange", openTarget);
openTarget();
drawVisible();
