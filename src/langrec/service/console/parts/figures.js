// What the charts of measures show: bars with intervals, small multiples, quality against seconds.

import { el } from "../core/dom.js";
import { colour } from "../core/looks.js";
import { known, number, t } from "../core/words.js";
import { chart } from "./chart.js";
import { sourceName } from "./sources.js";

/** Models by their value on the whole test, best first. */
export function ordered(told, metric) {
	return rows(told, metric, "all")
		.sort((a, b) => b.value - a.value)
		.map((row) => row.model);
}

/** The rows of one metric and slice. */
export function rows(told, metric, slice) {
	return told.metrics.filter((row) => row.metric === metric && row.slice === slice && row.value !== null);
}

/** A row's interval as text, null where it was measured without one. */
export function interval(row) {
	return [row.low, row.high].every((end) => typeof end === "number") ? `${number(row.low, 4)} – ${number(row.high, 4)}` : null;
}

/** Horizontal bars with intervals, the chosen model in the accent colour. */
export function bars(told, metric, models, slice = "all", most = undefined) {
	const found = new Map(rows(told, metric, slice).map((row) => [row.model, row]));
	const shown = models.filter((model) => found.has(model)).reverse();
	const values = shown.map((model) => found.get(model));
	const rest = colour("--line-strong");
	return {
		traces: [
			{
				type: "bar",
				orientation: "h",
				y: shown.map(sourceName),
				x: values.map((row) => row.value),
				marker: {
					color: shown.map((model) => (model === told.chosen ? colour("--accent") : rest)),
					opacity: shown.map((model) => (model === told.chosen ? 1 : 0.55)),
				},
				error_x: {
					type: "data",
					symmetric: false,
					// No line where there is no interval: plotly takes null for 0, and a line without length says that the value is exact.
					array: values.map((row) => (interval(row) ? row.high - row.value : NaN)),
					arrayminus: values.map((row) => (interval(row) ? row.value - row.low : NaN)),
					color: colour("--text"),
					thickness: 1,
					width: 3,
				},
				hovertext: values.map((row) => `${number(row.value, 4)}${interval(row) ? ` (${interval(row)})` : ""}, n ${number(row.n)}`),
				hoverinfo: "text",
			},
		],
		layout: {
			bargap: 0.35,
			height: Math.max(120, 32 * shown.length + 40),
			xaxis: { rangemode: "tozero", range: most ? [0, most] : undefined, nticks: most ? 4 : 6, tickangle: 0 },
			yaxis: { type: "category", ticksuffix: "  ", gridcolor: "rgba(0,0,0,0)" },
		},
	};
}

/** One slice as a small chart; all share one scale, so that they compare. */
export function small(told, metric, slice, models) {
	const most =
		Math.max(
			...told.metrics.filter((row) => row.metric === metric && row.slice !== "all" && models.includes(row.model)).map((row) => row.high ?? row.value),
			1e-6,
		) * 1.05;
	const n = rows(told, metric, slice)[0]?.n;
	const name = known(`slice.${slice}`) ? t(`slice.${slice}`) : slice;
	return el(
		"figure",
		{},
		el("figcaption", {}, name, " ", el("span", { class: "muted small numbers" }, n === undefined ? "" : `n ${number(n)}`)),
		chart(`${metric}, ${name}`, () => bars(told, metric, models, slice, most), "small-chart"),
	);
}

/** Seconds as text: to the hundredth, and to the millisecond, as they are kept, where that would say 0. */
export const seconds = (value) => number(value, value < 0.1 ? 3 : 2);

/** Quality against seconds of fitting and scoring, seconds on a logarithmic scale. */
export function costs(told, metric, models) {
	const value = new Map(rows(told, metric, "all").map((row) => [row.model, row.value]));
	const shown = models.filter((model) => told.seconds?.[model] >= 0);
	const least = 0.001; // seconds are kept to a millisecond, and a logarithmic axis has no 0
	return {
		traces: [
			{
				type: "scatter",
				mode: "markers+text",
				x: shown.map((model) => Math.max(least, told.seconds[model])),
				y: shown.map((model) => value.get(model)),
				text: shown.map(sourceName),
				textposition: shown.map((_, i) => (i % 2 ? "bottom center" : "top center")), // neighbours by quality rarely collide then
				textfont: { color: colour("--text"), size: 11 },
				cliponaxis: false,
				marker: { size: 11, color: shown.map((model) => (model === told.chosen ? colour("--accent") : colour("--line-strong"))) },
				hovertext: shown.map((model) => `${sourceName(model)}: ${number(value.get(model), 4)}, ${seconds(told.seconds[model])} s`),
				hoverinfo: "text",
			},
		],
		layout: {
			height: 360,
			margin: { l: 8, r: 48, t: 24, b: 8 },
			xaxis: {
				type: "log",
				title: { text: t("measure.seconds") },
				tickvals: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000],
			},
			yaxis: { rangemode: "tozero", title: { text: metric, standoff: 16 } },
		},
	};
}
