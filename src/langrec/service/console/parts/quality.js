// Quality and drift from the log, as figures, pictures and tables: what the health page shows below the server's own.

import { el, fill } from "../core/dom.js";
import { colour } from "../core/looks.js";
import { date, known, number, t } from "../core/words.js";
import { chart } from "./chart.js";
import { panel } from "./panel.js";

const MOVED = [
	["click_through", "--accent"],
	["fallback", "--bad"],
	["coverage", "--source-vectors"],
];

export function drawQuality(root, { report, history }) {
	if (!report) {
		fill(root, panel(t("quality.title"), null, el("div", { class: "panel-body" }, el("p", { class: "muted" }, t("quality.none")))));
		return;
	}
	const places = report.click_through_by_place;
	const weeks = report.weeks.filter((one) => one.divergence !== null);
	fill(
		root,
		report.warnings.length ? panel(t("quality.warnings"), null, el("div", { class: "panel-body" }, warnings(report.warnings))) : null,
		el("h2", {}, t("quality.title")),
		el("p", { class: "muted" }, t("quality.text", { days: report.days, lists: report.lists, at: date(report.at) })),
		el(
			"div",
			{ class: "tiles thirds" },
			tile("click_through", share(report.click_through.value)),
			tile("fallback", share(report.fallback.value)),
			tile("coverage", share(report.coverage["10"])),
			tile("unknown_words", share(report.unknown_words)),
			tile("text_distance", plain(report.text_distance)),
			tile("popularity_drift", plain(report.popularity_drift)),
		),
		places.length ? picture("quality.by_place", () => byPlace(places), placeTable(places)) : null,
		weeks.length ? picture("quality.weeks", () => byWeek(weeks), weekTable(weeks)) : null,
		history.length > 1 ? picture("quality.moved", () => moved(history), movedTable(history), names()) : null,
	);
}

function warnings(found) {
	return el(
		"ul",
		{},
		found.map((one) =>
			el("li", {}, `${named(one.name)}: ${shortly(one.value)} (${t("quality.limit")} ${shortly(one.limit)})`),
		),
	);
}

// Shares and days alike: 0.034, 2, 1,025.
const shortly = (value) => number(value, undefined, { maximumFractionDigits: Math.abs(value) < 1 ? 3 : Math.abs(value) < 100 ? 1 : 0 });

function named(name) {
	return known(`quality.warn.${name}`) ? t(`quality.warn.${name}`) : name;
}

function tile(name, value) {
	return el("div", { class: "figure" }, el("div", { class: "value" }, value), el("div", { class: "name" }, t(`quality.${name}`)));
}

function share(value) {
	return value === null ? "–" : `${number(100 * value, 1)} %`;
}

function plain(value) {
	return value === null ? "–" : number(value, 3);
}

function picture(title, draw, table, end = null) {
	// What a picture shows can be read too: its table stands folded below it.
	const box = el("div", { class: "table-box", tabindex: "0", role: "group", "aria-label": t(title) }, table);
	const read = el("details", {}, el("summary", {}, t("quality.as_table")), box);
	return panel(t(title), end, el("div", { class: "panel-body" }, chart(t(title), draw, "small-chart"), read));
}

function names() {
	return el(
		"span",
		{ class: "legend" },
		MOVED.map(([name, tint]) => el("span", {}, el("span", { class: "swatch", css: { background: `var(${tint})` } }), t(`quality.${name}`))),
	);
}

function byPlace(places) {
	return {
		traces: [
			{
				name: t("quality.click_through"),
				type: "scatter",
				mode: "lines+markers",
				line: { color: colour("--accent") },
				x: places.map((one) => one.place),
				y: places.map((one) => 100 * one.value),
				error_y: {
					type: "data",
					symmetric: false,
					array: places.map((one) => 100 * (one.high - one.value)),
					arrayminus: places.map((one) => 100 * (one.value - one.low)),
				},
			},
		],
		layout: { height: 208, xaxis: { title: { text: t("quality.place") } }, yaxis: { title: { text: "%" }, rangemode: "tozero" } },
	};
}

// Of the languages' names of months plotly brings the English ones only.
const days = (tickformat) => ({ type: "date", nticks: 4, tickangle: 0, tickformat, hoverformat: "%Y-%m-%d %H:%M" });

function byWeek(weeks) {
	return {
		traces: [
			{
				name: t("quality.popularity_drift"),
				type: "scatter",
				mode: "lines+markers",
				line: { color: colour("--accent") },
				x: weeks.map((one) => new Date(one.at)),
				y: weeks.map((one) => one.divergence),
			},
		],
		layout: { height: 208, xaxis: days("%Y-%m-%d"), yaxis: { rangemode: "tozero" } },
	};
}

function moved(history) {
	return {
		traces: MOVED.map(([name, tint]) => ({
			name: t(`quality.${name}`),
			type: "scatter",
			mode: "lines",
			line: { color: colour(tint) },
			x: history.map((one) => new Date(one.at)),
			y: history.map((one) => (one[name] === null ? null : 100 * one[name])),
		})),
		layout: { height: 208, xaxis: days("%m-%d %H:%M"), yaxis: { title: { text: "%" }, rangemode: "tozero" } },
	};
}

function rowsOf(heads, rows) {
	return el(
		"table",
		{},
		el("thead", {}, el("tr", {}, heads.map((one) => el("th", { scope: "col" }, one)))),
		el("tbody", {}, rows.map((row) => el("tr", {}, row.map((one) => el("td", {}, one))))),
	);
}

function placeTable(places) {
	const heads = [t("quality.place"), t("quality.shown"), t("quality.acted"), t("quality.click_through"), t("quality.interval")];
	return rowsOf(
		heads,
		places.map((one) => [
			number(one.place),
			number(one.n),
			number(one.hits),
			share(one.value),
			`${share(one.low)} – ${share(one.high)}`,
		]),
	);
}

function weekTable(weeks) {
	return rowsOf(
		[t("quality.week"), t("quality.events"), t("quality.popularity_drift")],
		weeks.map((one) => [date(one.at), number(one.events), plain(one.divergence)]),
	);
}

function movedTable(history) {
	return rowsOf(
		[t("quality.when"), ...MOVED.map(([name]) => t(`quality.${name}`))],
		history.map((one) => [date(one.at), ...MOVED.map(([name]) => share(one[name]))]),
	);
}
