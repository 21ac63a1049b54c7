"use strict";
const study = JSON.parse(document.getElementById("data").textContent);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const done = study.trials.filter((row) => row.value !== null);
const number = (values) => values.every((value) => typeof value === "number");
function draw(id, traces, more) {
  const axis = { gridcolor: colour("--line"), zerolinecolor: colour("--line"), automargin: true };
  const { xaxis, yaxis, ...rest } = more;
  Plotly.newPlot(id, traces, {
    margin: { l: 64, r: 16, t: 16, b: 48 }, paper_bgcolor: "transparent", plot_bgcolor: "transparent",
    font: { color: colour("--ink"), size: 12 }, legend: { orientation: "h", y: -0.2 },
    xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis }, ...rest,
  }, { displayModeBar: false, responsive: true });
}
function all() {
  const accent = colour("--accent"), soft = colour("--dot");
  let best = -Infinity;
  const so_far = done.map((row) => (best = Math.max(best, row.value)));
  const at = study.trials.map((row) => row.trial);
  draw("history", [
    { x: done.map((row) => row.trial), y: done.map((row) => row.value), mode: "markers", name: "trial", marker: { color: soft } },
    { x: done.map((row) => row.trial), y: so_far, mode: "lines", name: "best so far", line: { color: accent, shape: "hv" } },
    { x: [Math.min(...at), Math.max(...at)], y: [study.before, study.before], mode: "lines", name: "settings as they were", line: { color: soft, dash: "dot" } },
  ], { xaxis: { title: { text: "trial" } }, yaxis: { title: { text: study.metric } } });
  const share = Object.entries(study.importances).sort((one, other) => one[1] - other[1]);
  if (share.length) draw("importances", [{ type: "bar", orientation: "h", x: share.map((one) => one[1]), y: share.map((one) => one[0]), marker: { color: accent } }],
    { xaxis: { title: { text: "share" } }, yaxis: { type: "category" } });
  Object.keys(study.space).forEach((name, i) => {
    const x = done.map((row) => row.params[name]);
    draw("slice" + i, [{ x, y: done.map((row) => row.value), text: done.map((row) => "trial " + row.trial), mode: "markers",
      marker: { size: 9, color: done.map((row) => row.trial === study.best.trial ? accent : soft) } }],
      { showlegend: false, yaxis: { title: { text: study.metric } },
        xaxis: { title: { text: name }, type: !number(x) ? "category" : study.space[name].log ? "log" : "linear" } });
  });
}
all();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
