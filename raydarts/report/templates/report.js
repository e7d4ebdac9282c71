// The script of a report's page: it draws the figures, and links them with the table of trials.
//
// Every text from a run is either escaped for Plotly already (what lies in the page's data as a label), or put into the
// page as text (`textContent`). Nothing is ever read as HTML or run as code.
"use strict";
(() => {
  const page = JSON.parse(document.getElementById("page-data").textContent);
  const root = document.documentElement;
  const table = document.getElementById("trial-table");
  const bar = document.getElementById("kept");
  const dialog = document.getElementById("trial");
  const narrow = window.innerWidth < 700 || window.matchMedia("(pointer: coarse)").matches;
  const config = {
    displaylogo: false,
    responsive: true,
    displayModeBar: !narrow,
    modeBarButtonsToRemove: ["sendChartToCloud", "sendDataToCloud", "select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
  };
  const drawn = new Map(); // element of a plot -> the figure as it was made
  const brushes = new Map(); // row of the parallel coordinates -> [from, to] along its axis
  let lines = []; // the parallel coordinates: {trial, x: a place in each row, hover}
  let words = ""; // typed into the table's filter
  let turn = 0; // of filtering: an older turn stops when a newer one begins

  function make(tag, content = "", attributes = {}) {
    const element = document.createElement(tag);
    element.textContent = content;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  }

  function button(content, action) {
    const element = make("button", content, { type: "button" });
    element.addEventListener("click", action);
    return element;
  }

  // Whether an element is on the screen, or soon to be.
  function near(element) {
    const box = element.getBoundingClientRect();
    return box.bottom > -window.innerHeight && box.top < 2 * window.innerHeight;
  }

  const rest = () => new Promise((resolve) => setTimeout(resolve));

  // Drawing -----------------------------------------------------------------------------------------------------------

  async function draw(element) {
    const figure = page.plots[element.id];
    drawn.set(element, figure);
    if (narrow) figure.layout.dragmode = false; // a finger scrolls the page
    if (narrow && element.dataset.kind === "arch-weights") delete figure.data[0].texttemplate; // no room for numbers
    await Plotly.newPlot(element, structuredClone(figure.data), structuredClone(figure.layout), config);
    element.on("plotly_click", (event) => {
      const trials = [event.points[0].customdata].flat().filter((trial) => trial in page.trials);
      if (trials.length && element.dataset.brushed !== "now") open(trials[0], trials);
    });
    if (element.dataset.kind === "parallel") brushable(element);
  }

  // Paper is narrower than a window, and the browser tells of no new size before it prints.
  function resize(paper) {
    for (const element of drawn.keys()) {
      const width = element.closest(".wide") ? 680 : 330;
      Plotly.relayout(element, paper ? { width, autosize: false } : { width: null, autosize: true });
    }
  }

  // Filtering ---------------------------------------------------------------------------------------------------------

  // The trials that all brushes keep, or null where there is no brush.
  function kept() {
    if (!brushes.size) return null;
    const inside = lines.filter((line) =>
      [...brushes].every(([row, [from, to]]) => line.x[row] >= from && line.x[row] <= to));
    return new Set(inside.map((line) => line.trial));
  }

  const keeps = (set, trials) => set === null || [trials].flat().some((trial) => set.has(trial));

  function filterTable(set) {
    if (!table) return;
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      const shown = keeps(set, row.dataset.trial) && wanted.every((word) => text.includes(word));
      row.hidden = !shown;
      count += shown;
    }
    document.getElementById("trial-count").textContent = `${count} of ${table.tBodies[0].rows.length} trials are shown.`;
    bar.hidden = set === null;
    if (set !== null) document.getElementById("kept-count").textContent = `${set.size} of ${lines.length} trials kept.`;
  }

  // Fades marks and bars of other trials, and leaves out their lines.
  async function filterPlots(set) {
    const mine = ++turn;
    for (const [element, figure] of drawn) {
      if (element.dataset.kind === "parallel") continue;
      const marks = { at: [], values: [] };
      const curves = { at: [], values: [] };
      figure.data.forEach((trace, index) => {
        if (!trace.customdata) return;
        if (trace.mode === "lines") {
          curves.at.push(index);
          curves.values.push(trace.y.map((y, i) => (keeps(set, trace.customdata[i]) ? y : null)));
        } else {
          const inside = trace.customdata.flatMap((trials, i) => (keeps(set, trials) ? [i] : []));
          marks.at.push(index);
          marks.values.push(set === null ? null : inside);
        }
      });
      if (marks.at.length) await Plotly.restyle(element, { selectedpoints: marks.values }, marks.at);
      if (curves.at.length) await Plotly.restyle(element, { y: curves.values }, curves.at);
      await rest();
      if (mine !== turn) return;
    }
    root.dataset.filtered = set === null ? "" : String(set.size);
  }

  function filter() {
    const set = kept();
    filterTable(set);
    for (const element of drawn.keys()) if (element.dataset.kind === "parallel") drawLines(element, set);
    return filterPlots(set);
  }

  function clear() {
    brushes.clear();
    words = "";
    const box = document.getElementById("trial-filter");
    if (box) box.value = "";
    return filter();
  }

  // Parallel coordinates ----------------------------------------------------------------------------------------------

  function readLines(figure) {
    return figure.data.flatMap((trace, index) => {
      const found = [];
      let line = null;
      trace.x.forEach((x, i) => {
        if (x === null) { line = null; return; }
        if (line === null) { line = { trial: trace.customdata[i], trace: index, x: [], hover: [] }; found.push(line); }
        line.x.push(x);
        line.hover.push(trace.hovertext[i]);
      });
      return found;
    });
  }

  // The coordinates of these lines as Plotly takes them, with a gap after each line.
  function joined(chosen) {
    return {
      x: chosen.flatMap((line) => [...line.x, null]),
      y: chosen.flatMap((line) => [...line.x.map((_, row) => -row), null]),
      customdata: chosen.flatMap((line) => [...line.x.map(() => line.trial), null]),
      hovertext: chosen.flatMap((line) => [...line.hover, ""]),
    };
  }

  function drawLines(element, set) {
    const parts = drawn.get(element).data.map((_, index) =>
      joined(lines.filter((line) => line.trace === index && keeps(set, line.trial))));
    parts.push(joined(lines.filter((line) => !keeps(set, line.trial))));
    const update = {};
    for (const key of ["x", "y", "customdata", "hovertext"]) update[key] = parts.map((part) => part[key]);
    return Plotly.update(element, update, { shapes: shapes(element) }, parts.map((_, index) => index));
  }

  function shapes(element) {
    const marked = [...brushes].map(([row, [from, to]]) => ({
      type: "rect", x0: from, x1: to, y0: -row - 0.13, y1: -row + 0.13,
      line: { color: "#D55E00", width: 1.5 }, fillcolor: "rgba(213,94,0,0.25)", layer: "above",
    }));
    return [...drawn.get(element).layout.shapes, ...marked];
  }

  function brushable(element) {
    const figure = drawn.get(element);
    lines = readLines(figure);
    const rows = lines.length ? lines[0].x.length : 0;
    const [bottom, top] = figure.layout.yaxis.range;
    let start = null; // {row, x} of a drag

    function place(event) {
      const area = element.querySelector(".nsewdrag").getBoundingClientRect();
      const x = (event.clientX - area.left) / area.width;
      const y = top - ((event.clientY - area.top) / area.height) * (top - bottom);
      const row = Math.round(-y);
      return { x: Math.min(1, Math.max(0, x)), row, near: row >= 0 && row < rows && Math.abs(-y - row) < 0.33 };
    }

    function move(event) {
      const to = place(event).x;
      if (start === null || Math.abs(to - start.x) < 0.01) return;
      start.moved = true;
      brushes.set(start.row, [Math.min(start.x, to), Math.max(start.x, to)]);
      Plotly.relayout(element, { shapes: shapes(element) });
    }

    function end(event) {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", end);
      window.removeEventListener("pointercancel", end);
      const undone = !start.moved && event.type === "pointerup" && brushes.delete(start.row);
      if (start.moved || undone) {
        element.dataset.brushed = "now"; // the click that Plotly makes of this opens no trial
        setTimeout(() => delete element.dataset.brushed, 100);
        filter();
      }
      start = null;
    }

    element.addEventListener("pointerdown", (event) => {
      const at = place(event);
      if (event.button !== 0 || !at.near) return;
      start = at;
      window.addEventListener("pointermove", move);
      window.addEventListener("pointerup", end);
      window.addEventListener("pointercancel", end);
    });
    return Plotly.addTraces(element, {
      type: "scatter", mode: "lines", x: [], y: [], hoverinfo: "skip", showlegend: false,
      line: { color: "#bbbbbb", width: 0.8 }, opacity: 0.35,
    });
  }

  // Tables ------------------------------------------------------------------------------------------------------------

  // A cell as something to sort by: a number where it begins as one alone, a duration in seconds, else its text.
  function value(text) {
    if (text === "-" || text === "") return null;
    const duration = /^(?:([\d,]+) h )?(?:(\d+) min)?(?: ?(\d+) s)?$/.exec(text);
    if (duration && /[hms]/.test(text)) {
      const [hours, minutes, seconds] = duration.slice(1).map((part) => Number((part || "0").replaceAll(",", "")));
      return 3600 * hours + 60 * minutes + seconds;
    }
    const number = Number(text.replaceAll(",", "").replace(/\s*%$/, ""));
    return Number.isFinite(number) ? number : text;
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return a.localeCompare(b, "en", { numeric: true });
  }

  function sort(which, column) {
    const header = which.tHead.rows[0].cells[column];
    const down = header.getAttribute("aria-sort") === "ascending";
    for (const cell of which.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const keyed = [...which.tBodies[0].rows].map((row) => [value(row.cells[column].textContent.trim()), row]);
    const known = keyed.filter(([key]) => key !== null).sort(([a], [b]) => (down ? compare(b, a) : compare(a, b)));
    which.tBodies[0].append(...[...known, ...keyed.filter(([key]) => key === null)].map(([, row]) => row));
  }

  function sortable(which) {
    [...which.tHead.rows[0].cells].forEach((cell, column) => {
      const name = cell.textContent;
      cell.textContent = "";
      cell.append(button(name, () => sort(which, column)));
      for (const row of which.tBodies[0].rows) row.cells[column].dataset.label = name; // a phone shows a row as a card
    });
    which.classList.add("cards");
  }

  function trialTable() {
    const folded = document.getElementById("all-trials");
    folded.open = true;
    for (const row of table.tBodies[0].rows) {
      const cell = row.cells[0];
      row.dataset.trial = cell.textContent;
      cell.textContent = "";
      cell.append(button(row.dataset.trial, () => open(row.dataset.trial, [row.dataset.trial])));
    }
    const box = make("input", "", { type: "search", id: "trial-filter", placeholder: "words in a row" });
    box.addEventListener("input", () => { words = box.value; filterTable(kept()); });
    const label = make("label", "Show trials with ");
    label.append(box);
    const tools = make("div", "", { class: "tools" });
    tools.append(label, make("span", "", { id: "trial-count", role: "status" }), button("Show all", clear));
    folded.before(tools);
    const link = make("a", "To the table of trials", { href: "#trials" });
    bar.append(make("span", "", { id: "kept-count" }), button("Show all", clear), link);
  }

  // Arch weights ------------------------------------------------------------------------------------------------------

  // One epoch's weights of a cell: an edge a row, a primitive a column, null where an edge has no such candidate.
  function frames(arch) {
    const bytes = Uint8Array.from(atob(arch.codes), (character) => character.charCodeAt(0));
    const codes = new DataView(bytes.buffer);
    let at = 0;
    const next = () => {
      const code = codes.getUint16(2 * at++, true);
      return code === 65535 ? null : Number((arch.low + arch.step * code).toPrecision(5));
    };
    return arch.epochs.map(() => arch.edges.map(() => arch.primitives.map(next)));
  }

  // The heat map that Python made for one trial, with another trial's weights.
  function heatMap(mould, arch, trial) {
    const figure = structuredClone(mould);
    const every = frames(arch);
    const flat = every.flat(2).filter((weight) => weight !== null);
    Object.assign(figure.data[0], {
      x: arch.primitives, y: arch.edges, z: every[every.length - 1],
      zmin: flat.reduce((a, b) => Math.min(a, b), 0), zmax: flat.reduce((a, b) => Math.max(a, b), 0),
    });
    figure.layout.title.text = `${arch.title}, trial ${trial}`;
    const slider = (mould.layout.sliders || [{ pad: { t: 8 }, len: 1, x: 0, y: 0, yanchor: "top" }])[0];
    const steps = every.map((z, index) =>
      ({ method: "restyle", label: String(arch.epochs[index]), args: [{ z: [z] }, [0]] }));
    figure.layout.sliders = steps.length > 1 ? [{ ...slider, steps, active: steps.length - 1 }] : [];
    return figure;
  }

  function archPlots() {
    return [...drawn].filter(([element]) => element.dataset.kind === "arch-weights");
  }

  function showArch(trial) {
    archPlots().forEach(([element, figure], index) => {
      const arch = page.arch[trial][index];
      if (!arch) return;
      const changed = heatMap(figure, arch, trial);
      Plotly.react(element, changed.data, changed.layout, config);
    });
    document.getElementById("arch-trial").value = trial;
  }

  function archTools() {
    const trials = Object.keys(page.arch).sort();
    const plots = archPlots();
    if (!plots.length || !trials.length) return;
    const select = make("select", "", { id: "arch-trial" });
    for (const trial of trials) select.append(make("option", trial, { value: trial }));
    select.addEventListener("change", () => showArch(select.value));
    const label = make("label", "Arch weights of trial ");
    label.append(select);
    const note = `This page holds those of ${trials.length} of ${Object.keys(page.trials).length} trials.`;
    const tools = make("div", "", { class: "tools" });
    tools.append(label, make("span", note, { class: "soft" }));
    plots[0][0].parentElement.before(tools);
    for (const [element] of plots) {
      element.on("plotly_sliderchange", (event) => {
        const active = event.slider.active;
        for (const [other] of plots) {
          const slider = other.layout.sliders[0];
          if (other === element || !slider || slider.active === active || !slider.steps[active]) continue;
          Plotly.update(other, ...[slider.steps[active].args[0], { "sliders[0].active": active }]);
        }
      });
    }
    select.value = page.first in page.arch ? page.first : trials[0];
  }

  // One trial ---------------------------------------------------------------------------------------------------------

  function facts(trial) {
    const list = make("dl", "", { class: "counts" });
    const row = [...table.tBodies[0].rows].find((each) => each.dataset.trial === trial);
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const box = make("div");
      box.append(make("dt", header.textContent), make("dd", row.cells[column].textContent));
      list.append(box);
    });
    return list;
  }

  const SVG = "http://www.w3.org/2000/svg";
  const COLOURS = { sep: "#0072B2", dil: "#D55E00", max: "#009E73", avg: "#B07800", skip: "#CC79A7" };

  // A cell as arcs over a row of nodes. Labels of arcs are at their tops.
  function cell(outline) {
    const step = 96;
    const span = (edge) => edge[1] - edge[0];
    const same = new Map(); // arcs with equal ends lie above each other
    const lift = outline.edges.map((edge) => {
      const key = edge.slice(0, 2).join(" ");
      same.set(key, (same.get(key) || 0) + 1);
      return 34 * span(edge) + 22 * (same.get(key) - 1);
    });
    const base = 30 + 0.75 * Math.max(30, ...lift);
    const width = step * outline.nodes.length;
    const drawing = document.createElementNS(SVG, "svg");
    function add(tag, attributes, content = "") {
      const element = document.createElementNS(SVG, tag);
      for (const [name, given] of Object.entries(attributes)) element.setAttribute(name, given);
      element.textContent = content;
      drawing.append(element);
    }
    const at = (node) => step * (node + 0.5);
    drawing.setAttribute("viewBox", `0 0 ${width} ${base + 40}`);
    drawing.setAttribute("class", "cell");
    drawing.setAttribute("role", "img");
    drawing.setAttribute("aria-label", `${outline.title}: ` +
      outline.edges.map(([src, dst, name]) => `${name} from ${outline.nodes[src]} to ${outline.nodes[dst]}`).join("; "));
    outline.edges.forEach(([src, dst, name], index) => {
      const colour = COLOURS[name.split(" ")[0]] || "#333333";
      const high = base - 12 - lift[index];
      add("path", {
        d: `M${at(src)},${base - 12} C${at(src)},${high} ${at(dst)},${high} ${at(dst)},${base - 12}`,
        fill: "none", stroke: colour, "stroke-width": 1.8, "stroke-dasharray": name === "skip" ? "5 4" : "none",
      });
    });
    outline.edges.forEach(([src, dst, name], index) => {
      add("text", {
        x: (at(src) + at(dst)) / 2, y: base - 12 - 0.75 * lift[index] + 4, "text-anchor": "middle", "font-size": 12,
        "paint-order": "stroke", stroke: "#ffffff", "stroke-width": 4,
      }, name);
    });
    outline.nodes.forEach((name, node) => {
      add("rect", { x: at(node) - 26, y: base - 12, width: 52, height: 24, rx: 12, fill: "#E8EEF4", stroke: "#222222" });
      add("text", { x: at(node), y: base + 4, "text-anchor": "middle", "font-size": 12 }, name);
    });
    return drawing;
  }

  async function curves(every, into) {
    for (const [label, x, y] of every) {
      const element = make("div", "", { class: "plot" });
      into.append(element);
      const line = { type: "scatter", mode: x.length > 1 ? "lines" : "markers", x, y };
      await Plotly.newPlot(element, [line], {
        height: 230, margin: { l: 56, r: 12, t: 34, b: 40 }, showlegend: false, dragmode: narrow ? false : "zoom",
        title: { text: page.labels[label], font: { size: 13 }, x: 0, xanchor: "left", y: 0.97, yanchor: "top" },
        xaxis: { title: { text: "epoch" }, tickformat: "d", automargin: true }, yaxis: { automargin: true },
      }, config);
    }
  }

  async function open(trial, trials) {
    const known = page.trials[trial];
    for (const old of dialog.querySelectorAll(".plot")) Plotly.purge(old);
    dialog.replaceChildren();
    const close = button("Close", () => dialog.close());
    close.className = "close";
    dialog.append(close, make("h2", `Trial ${trial}`, { id: "trial-heading" }));
    if (trials.length > 1) {
      const line = make("p", "Trials behind this mark: ");
      for (const each of trials) line.append(button(each, () => open(each, trials)), " ");
      dialog.append(line);
    }
    dialog.append(facts(trial));
    if (known.error) dialog.append(make("h3", "Error"), make("pre", known.error));
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    dialog.append(make("h3", "Cells"));
    const drawings = make("div", "", { class: "pictures" });
    for (const [number, edges] of known.cells) {
      const outline = { ...page.outlines[number], edges };
      const box = make("div");
      box.append(make("p", outline.title, { class: "soft" }), cell(outline));
      drawings.append(box);
    }
    dialog.append(known.cells.length ? drawings : make("p", "No genotype is known.", { class: "missing" }));
    dialog.append(make("h3", "Over the epochs"));
    const pictures = make("div", "", { class: "pictures" });
    dialog.append(pictures);
    if (known.curves && known.curves.length) await curves(known.curves, pictures);
    else pictures.append(make("p", `Its curves are not in this page. They lie in ${page.place}/trials/${trial}.`));
    dialog.append(make("h3", "Arch weights"));
    const heat = make("div", "", { class: "pictures" });
    dialog.append(heat);
    const moulds = archPlots();
    if (!(trial in page.arch) || !moulds.length) {
      const why = moulds.length ? `This page does not hold them. They lie in ${page.place}/trials/${trial}.` : "Not recorded.";
      heat.append(make("p", why, { class: "missing" }));
      return;
    }
    for (const arch of page.arch[trial]) {
      const element = make("div", "", { class: "plot" });
      heat.append(element);
      const figure = heatMap(moulds[0][1], arch, trial);
      await Plotly.newPlot(element, figure.data, figure.layout, config);
    }
  }

  // -------------------------------------------------------------------------------------------------------------------

  async function start() {
    for (const each of document.querySelectorAll("main table")) if (each.tHead) sortable(each);
    if (table) trialTable();
    window.addEventListener("beforeprint", () => resize(true));
    window.addEventListener("afterprint", () => resize(false));
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    if (table) filterTable(null);
    const waiting = [...document.querySelectorAll(".plot")];
    while (waiting.length) {
      const next = Math.max(0, waiting.findIndex(near));
      if (!near(waiting[next])) root.dataset.ready = "yes";
      await draw(...waiting.splice(next, 1));
      await rest(); // the page stays quick to scroll while figures are drawn
    }
    archTools();
    root.dataset.ready = root.dataset.drawn = "yes";
  }

  start();
})();
