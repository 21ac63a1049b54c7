// Draws the report's charts and table from the JSON beside it. Names come from people: they enter the page as text only.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // Plotly reads a few tags in labels: an escaped name shows as it was written.
  const label = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const shorten = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
  const show = (value, metric) => (value === null ? "–" : value.toFixed(metric.startsWith("novelty") ? 2 : 4));
  const find = (model, part, metric) => data.values[part]?.[model]?.[metric] ?? [null, null, null, 0];
  const config = { displayModeBar: false, responsive: true };

  function layout(extra) {
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, bargap: 0.35,
      font: { family: "system-ui, sans-serif", size: 13, color: css("--ink") },
      hoverlabel: { bgcolor: css("--card"), bordercolor: css("--line"), font: { color: css("--ink") } },
      ...extra,
    };
  }

  function axis(extra) {
    return { gridcolor: css("--grid"), zerolinecolor: css("--line"), linecolor: css("--line"), fixedrange: true, ...extra };
  }

  function whiskers(rows) {
    return {
      type: "data", symmetric: false, thickness: 1.5, width: 3, color: css("--whisker"),
      array: rows.map(([value, , high]) => (high === null ? 0 : high - value)),
      arrayminus: rows.map(([value, low]) => (low === null ? 0 : value - low)),
    };
  }

  function hover(models, rows) {
    return models.map((model, i) => {
      const [value, low, high, n] = rows[i];
      return `<b>${label(model)}</b><br>${show(value, "")} [${show(low, "")}, ${show(high, "")}]<br>${n.toLocaleString("en")} questions`;
    });
  }

  function quality() {
    const models = [...data.models].reverse();
    const rows = models.map((model) => find(model, "all", data.primary));
    const chosen = (model) => model === data.chosen;
    Plotly.newPlot("quality", [{
      type: "bar", orientation: "h", y: models.map((_, i) => i), x: rows.map((row) => row[0]), error_x: whiskers(rows),
      marker: {
        color: models.map((model) => css(chosen(model) ? "--accent" : "--bar")),
        line: { color: css("--ink"), width: models.map((model) => (model === data.reference ? 2 : 0)) },
      },
      hovertext: hover(models, rows), hoverinfo: "text",
    }], layout({
      height: 56 + 34 * models.length, margin: { l: 8, r: 72, t: 0, b: 36 },
      xaxis: axis({ rangemode: "tozero", title: { text: data.primary } }),
      yaxis: axis({
        automargin: true, showgrid: false, zeroline: false, tickvals: models.map((_, i) => i), ticklabelstandoff: 8,
        ticktext: models.map((model) => (chosen(model) ? `<b>${label(shorten(model, 32))}</b>` : label(shorten(model, 32)))),
      }),
      annotations: models.map((_, i) => ({
        x: rows[i][2] ?? rows[i][0] ?? 0, y: i, text: show(rows[i][0], data.primary), showarrow: false, xanchor: "left", xshift: 8,
        font: { color: css("--ink"), size: 13 },
      })),
    }), config);
  }

  function slices() {
    const grid = document.getElementById("slices");
    grid.replaceChildren();
    const models = [...data.models].reverse();
    for (const part of data.slices) {
      const card = document.createElement("div");
      card.className = "card";
      const title = document.createElement("h3");
      title.textContent = part;
      const note = document.createElement("p");
      note.textContent = `${find(data.reference, part, data.primary)[3].toLocaleString("en")} questions, ${data.meaning[part] ?? part}`;
      const chart = document.createElement("div");
      chart.setAttribute("role", "img");
      chart.setAttribute("aria-label", `${data.primary} of every scorer on ${part}`);
      card.append(title, note, chart);
      grid.append(card);
      const rows = models.map((model) => find(model, part, data.primary));
      const colours = models.map((model) => css(model === data.chosen ? "--accent" : "--whisker"));
      // Intervals of tiny slices can be very wide: they may leave the panel, so that the values stay legible.
      const best = Math.max(...rows.map((row) => row[0] ?? 0)) || 0.01;
      const reach = Math.min(2 * best, Math.max(...rows.map((row) => row[2] ?? row[0] ?? 0))) || 0.01;
      Plotly.newPlot(chart, [{
        type: "scatter", mode: "markers", y: models.map((_, i) => i), x: rows.map((row) => row[0]), error_x: whiskers(rows),
        marker: { size: 9, color: colours,
          symbol: models.map((model) => (model === data.reference ? "circle-open" : "circle")), line: { width: 2, color: colours } },
        hovertext: hover(models, rows), hoverinfo: "text", cliponaxis: true,
      }], layout({
        height: 48 + 22 * models.length, margin: { l: 8, r: 8, t: 8, b: 28 }, font: { family: "system-ui, sans-serif", size: 12, color: css("--ink") },
        xaxis: axis({ range: [-0.04 * reach, 1.06 * reach], nticks: 5, zeroline: true }),
        yaxis: axis({ automargin: true, zeroline: false, range: [-0.6, models.length - 0.4], ticklabelstandoff: 6,
          tickvals: models.map((_, i) => i), ticktext: models.map((model) => label(shorten(model, 18))) }),
      }), config);
    }
  }

  // Where each label may stand without covering a point or an earlier label; x and y run from 0 to 1, lengths are letters.
  function labelPlaces(x, y, lengths, width, height) {
    const [letter, line, gap] = [7.4 / width, 17 / height, 11 / width];
    const taken = x.map((value, i) => [value - gap, value + gap, y[i] - line / 2, y[i] + line / 2]);
    const free = (box) => taken.every(([l, r, b, t]) => box[1] < l || box[0] > r || box[3] < b || box[2] > t);
    return x.map((value, i) => {
      const long = lengths[i] * letter;
      for (const [up, shift] of [["middle", 0], ["top", line], ["bottom", -line]]) {
        for (const [side, left] of [["right", value + gap * 1.1], ["left", value - gap * 1.1 - long], ["center", value - long / 2]]) {
          const box = [left, left + long, y[i] + shift - line / 2, y[i] + shift + line / 2];
          const covers = side === "center" && up === "middle";
          if (!covers && left > -0.06 && box[1] < 1.02 && box[2] > -0.05 && free(box)) {
            taken.push(box);
            return `${up} ${side}`;
          }
        }
      }
      return null;  // no room: the point still tells its name when it is touched
    });
  }

  function cost() {
    const models = [...data.models].sort((a, b) => data.seconds[a] - data.seconds[b]);
    const rows = models.map((model) => find(model, "all", data.primary));
    const x = models.map((model) => Math.max(data.seconds[model], 1e-4));
    const y = rows.map((row) => row[0] ?? 0);
    const [low, high] = [Math.log10(Math.min(...x)), Math.log10(Math.max(...x))];
    const wide = Math.max(high - low, 1);
    const places = labelPlaces(
      x.map((value) => (Math.log10(value) - low) / wide / 1.18), y.map((value) => value / (Math.max(...y) || 1)), models.map((model) => Math.min(model.length, 24)),
      document.getElementById("cost").clientWidth - 110, 368,
    );
    Plotly.newPlot("cost", [{
      type: "scatter", mode: "markers+text", x, y,
      text: models.map((model, i) => (places[i] ? ` ${label(shorten(model, 24))} ` : "")),
      textposition: places.map((place) => place ?? "top center"),
      marker: { size: 11, color: models.map((model) => css(model === data.chosen ? "--accent" : "--whisker")) },
      hovertext: models.map((model, i) => `${hover([model], [rows[i]])[0]}<br>${data.seconds[model].toFixed(2)} s, ${(1000 * data.seconds[model] / data.questions).toFixed(2)} ms a question`),
      hoverinfo: "text", cliponaxis: false,
    }], layout({
      height: 440, margin: { l: 8, r: 40, t: 24, b: 48 },
      xaxis: axis({ type: "log", title: { text: "seconds" }, dtick: wide > 1.5 ? 1 : "D2", automargin: true, range: [low - 0.06 * wide, low + 1.12 * wide] }),
      yaxis: axis({ rangemode: "tozero", automargin: true, title: { text: data.primary } }),
    }), config);
  }

  function numbers() {
    const part = document.getElementById("slice").value;
    const length = document.getElementById("length").value;
    const metrics = data.metrics.filter((metric) => !metric.includes("@") || metric.endsWith(`@${length}`));
    document.getElementById("meaning").textContent = data.meaning[part] ?? "";
    const cell = (tag, text, name) => {
      const made = document.createElement(tag);
      made.textContent = text;
      if (name) made.className = name;
      return made;
    };
    const line = document.createElement("tr");
    line.append(...["scorer", ...metrics, "questions", "seconds"].map((text) => {
      const made = cell("th", text);
      made.scope = "col";
      return made;
    }));
    document.querySelector("#numbers thead").replaceChildren(line);
    const best = Object.fromEntries(metrics.map((metric) => [metric, Math.max(...data.models.map((model) => find(model, part, metric)[0] ?? -1))]));
    document.querySelector("#numbers tbody").replaceChildren(...data.models.map((model) => {
      const row = document.createElement("tr");
      if (model === data.chosen) row.className = "chosen";
      const name = cell("th", model);
      name.scope = "row";
      row.append(name);
      for (const metric of metrics) {
        const [value, low, high] = find(model, part, metric);
        const made = cell("td", show(value, metric), value !== null && value === best[metric] ? "best" : "");
        if (low !== null) made.title = `[${show(low, metric)}, ${show(high, metric)}]`;
        row.append(made);
      }
      row.append(cell("td", find(model, part, data.primary)[3].toLocaleString("en")), cell("td", data.seconds[model].toFixed(1)));
      return row;
    }));
  }

  function options(id, values, selected) {
    const select = document.getElementById(id);
    select.append(...values.map((value) => new Option(value, value, value === selected, value === selected)));
    select.addEventListener("change", numbers);
  }

  document.getElementById("copy").addEventListener("click", async (event) => {
    const stamp = document.getElementById("stamp");
    try {
      await navigator.clipboard.writeText(stamp.textContent);
      event.target.textContent = "Copied";
    } catch {
      // A page opened from a file may not write to the clipboard: select the line for the keyboard instead.
      getSelection().selectAllChildren(stamp);
      event.target.textContent = "Press Ctrl+C";
    }
  });

  const draw = () => { quality(); slices(); cost(); };
  options("slice", data.slices, "all");
  options("length", data.lengths.map(String), data.primary.split("@")[1]);
  numbers();
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
