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
  const beside = Object.keys(data.beside);
  const isBeside = (model) => model in data.beside;
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

  // Bars of the models, and below them, apart, those of controls and bounds.
  function places(models, apart) {
    const below = apart.length ? apart.length + 0.6 : 0;
    return [...apart.map((_, i) => apart.length - 1 - i), ...models.map((_, i) => below + models.length - 1 - i)];
  }

  function bars(models, rows, y) {
    const colour = (model) => css(model === data.chosen ? "--accent" : "--bar");
    return {
      type: "bar", orientation: "h", y, x: rows.map((row) => row[0]), error_x: whiskers(rows), width: 0.66,
      marker: {
        color: models.map(colour),
        pattern: { shape: models.map((model) => (isBeside(model) ? "/" : "")), bgcolor: css("--card"), size: 8, solidity: 0.35 },
        line: {
          color: models.map((model) => css(isBeside(model) ? "--bar" : "--ink")),
          width: models.map((model) => (model === data.reference ? 2 : Number(isBeside(model)))),
        },
      },
      hovertext: hover(models, rows), hoverinfo: "text", cliponaxis: true,
    };
  }

  function named(models, y, most) {
    const text = (model) => label(shorten(model, most));
    return {
      tickvals: y, ticktext: models.map((model) => (model === data.chosen ? `<b>${text(model)}</b>` : text(model))),
      automargin: true, showgrid: false, zeroline: false, ticklabelstandoff: 8, range: [-0.6, Math.max(...y) + 0.6],
    };
  }

  const narrow = () => innerWidth < 600;

  function quality() {
    const models = [...beside, ...data.models];
    const rows = models.map((model) => find(model, "all", data.primary));
    const y = places(data.models, beside);
    Plotly.newPlot("quality", [bars(models, rows, y)], layout({
      height: 56 + 32 * (Math.max(...y) + 1), margin: { l: 8, r: 64, t: 0, b: 44 },
      xaxis: axis({ range: [0, 1.02 * Math.max(...rows.map((row) => row[2] ?? row[0] ?? 0), 1e-6)], nticks: narrow() ? 4 : 8, title: { text: data.primary } }),
      yaxis: axis(named(models, y, narrow() ? 16 : 32)),
      annotations: models.map((_, i) => ({
        x: rows[i][2] ?? rows[i][0] ?? 0, y: y[i], text: show(rows[i][0], data.primary), showarrow: false, xanchor: "left", xshift: 8,
        font: { color: css("--ink"), size: 13 },
      })),
    }), config);
  }

  // The panels show what is picked: at first the model in use, the best single one, both towers and a few of the best.
  const towers = ["id_tower", "text_tower", "two_towers", "popular"];
  const first = [data.chosen, data.reference, ...towers.filter((model) => data.models.includes(model)), ...data.models];
  const picked = new Set([...new Set(first)].slice(0, 6));

  function chips() {
    document.getElementById("shown").replaceChildren(...[...data.models, ...beside].map((model) => {
      const chip = document.createElement("button");
      chip.type = "button";
      chip.textContent = model;
      chip.setAttribute("aria-pressed", picked.has(model));
      chip.addEventListener("click", () => {
        if (!picked.delete(model)) picked.add(model);
        chip.setAttribute("aria-pressed", picked.has(model));
        slices();
      });
      return chip;
    }));
  }

  function slices() {
    const grid = document.getElementById("slices");
    grid.replaceChildren();
    const models = data.models.filter((model) => picked.has(model));
    const apart = beside.filter((model) => picked.has(model));
    const y = places(models, apart);
    for (const part of models.length + apart.length ? data.slices : []) {
      const card = document.createElement("div");
      card.className = "card";
      const title = document.createElement("h3");
      title.textContent = part;
      const note = document.createElement("p");
      note.textContent = `${find(data.reference, part, data.primary)[3].toLocaleString("en")} questions, ${data.meaning[part] ?? part}`;
      const chart = document.createElement("div");
      chart.setAttribute("role", "img");
      chart.setAttribute("aria-label", `${data.primary} on ${part}`);
      card.append(title, note, chart);
      grid.append(card);
      const all = [...apart, ...models];
      const rows = all.map((model) => find(model, part, data.primary));
      // Intervals of tiny slices can be very wide: they may leave the panel, so that the values stay legible.
      const best = Math.max(...rows.map((row) => row[0] ?? 0)) || 0.01;
      const reach = Math.min(1.6 * best, Math.max(...rows.map((row) => row[2] ?? row[0] ?? 0))) || 0.01;
      Plotly.newPlot(chart, [bars(all, rows, y)], layout({
        height: 44 + 26 * (Math.max(...y) + 1), margin: { l: 8, r: 8, t: 8, b: 28 }, font: { family: "system-ui, sans-serif", size: 12, color: css("--ink") },
        xaxis: axis({ range: [0, 1.06 * reach], nticks: 5, zeroline: true }),
        yaxis: axis(named(all, y, 18)),
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

  const spent = {
    scoring: [data.seconds, "Time to score the full catalogue for all questions in one process, on a logarithmic axis."],
    fitting: [data.fit_seconds, "Time to fit on what lies before the test, settings being known; what an earlier run kept is left out."],
  };

  function cost() {
    const [seconds, meaning] = spent[document.getElementById("seconds").value];
    document.getElementById("seconds-meaning").textContent = meaning;
    const models = data.models.filter((model) => model in seconds).sort((a, b) => seconds[a] - seconds[b]);
    const rows = models.map((model) => find(model, "all", data.primary));
    const x = models.map((model) => Math.max(seconds[model], 1e-4));
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
      hovertext: models.map((model, i) => `${hover([model], [rows[i]])[0]}<br>${seconds[model].toFixed(2)} s`),
      hoverinfo: "text", cliponaxis: false,
    }], layout({
      height: 440, margin: { l: 8, r: 40, t: 24, b: 48 },
      xaxis: axis({ type: "log", exponentformat: "none", title: { text: "seconds" }, dtick: wide > 1.5 ? 1 : "D2", automargin: true, range: [low - 0.06 * wide, low + 1.12 * wide] }),
      yaxis: axis({ rangemode: "tozero", automargin: true, title: { text: data.primary, standoff: 16 } }),
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
    document.querySelector("#numbers tbody").replaceChildren(...[...data.models, ...beside].map((model) => {
      const row = document.createElement("tr");
      if (model === data.chosen) row.className = "chosen";
      if (isBeside(model)) row.className = "beside";
      const name = cell("th", isBeside(model) ? `${model} (${data.beside[model]})` : model);
      name.scope = "row";
      row.append(name);
      for (const metric of metrics) {
        const [value, low, high] = find(model, part, metric);
        const made = cell("td", show(value, metric), value !== null && value === best[metric] && !isBeside(model) ? "best" : "");
        if (low !== null) made.title = `[${show(low, metric)}, ${show(high, metric)}]`;
        row.append(made);
      }
      row.append(cell("td", find(model, part, data.primary)[3].toLocaleString("en")), cell("td", data.seconds[model]?.toFixed(1) ?? "–"));
      return row;
    }));
  }

  function options(id, values, selected, changed) {
    const select = document.getElementById(id);
    select.append(...values.map((value) => new Option(value, value, value === selected, value === selected)));
    select.addEventListener("change", changed);
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
  options("slice", data.slices, "all", numbers);
  options("length", data.lengths.map(String), data.primary.split("@")[1], numbers);
  options("seconds", Object.keys(spent).filter((name) => Object.keys(spent[name][0]).length), "scoring", cost);
  if (document.getElementById("seconds").length < 2) document.getElementById("seconds").parentElement.hidden = true;
  chips();
  numbers();
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
