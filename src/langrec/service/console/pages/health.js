// Health: what the server did in the last hour, how fresh it is, and what it had to turn away.

import { get } from "../core/api.js";
import { el, fill } from "../core/dom.js";
import { load } from "../core/load.js";
import { colour } from "../core/looks.js";
import { number, since, t, time } from "../core/words.js";
import { chart } from "../parts/chart.js";
import { pageHead, panel } from "../parts/panel.js";
import { drawQuality } from "../parts/quality.js";

const EVERY = 15000; // the server's own buckets are as long
const PICTURES = [
	[
		"health.requests",
		[
			["requests", "--accent"],
			["errors", "--bad"],
		],
	],
	[
		"health.latency",
		[
			["p50_ms", "--accent"],
			["p99_ms", "--source-vectors"],
		],
	],
	["health.memory", [["memory_mb", "--source-itemknn"]]],
];

export function page(root) {
	const body = el("div", { class: "stack" });
	const figures = el("div", { class: "tiles" });
	const freshness = el("div", { class: "tiles" });
	const quality = el("div", { class: "stack" });
	let stats = null;
	let charts = [];
	let reported = false;
	fill(root, pageHead("health", "health.text"), body);

	const timer = setInterval(async () => {
		if (document.hidden || !stats) return;
		try {
			stats = await get("/api/health/stats");
			drawFigures();
			for (const one of charts) one.redraw();
			if (!reported) askQuality();
		} catch {
			// The banner says that nobody answers; the last picture stays.
		}
	}, EVERY);

	function show() {
		load(body, { work: () => get("/api/health/stats"), draw, bones: [3, "chart"] });
	}

	function draw(told) {
		stats = told;
		drawFigures();
		askQuality();
		charts = PICTURES.map(([title, series]) => lines(title, series));
		fill(
			body,
			figures,
			freshness,
			PICTURES.map(([title, series], i) => picturePanel(title, series, charts[i])),
			quality,
		);
	}

	// A server that has just started has no report yet: it is asked until it has one.
	async function askQuality() {
		try {
			const found = await get("/api/quality");
			reported = Boolean(found.report);
			drawQuality(quality, found);
		} catch {
			// As above: the next round asks again.
		}
	}

	function drawFigures() {
		const last = stats.series.slice(-20); // five minutes
		const asked = last.reduce((sum, one) => sum + one.requests, 0);
		const failed = last.reduce((sum, one) => sum + one.errors, 0);
		const looked = (stats.cache?.hits || 0) + (stats.cache?.misses || 0);
		const fresh = stats.freshness || {};
		fill(
			figures,
			figure("health.per_minute", number(asked / Math.max(1, last.length / 4), 0)),
			figure("health.failed", number(failed)),
			figure("health.p99", ms(Math.max(0, ...last.map((one) => one.p99_ms || 0)))),
			figure("health.cache", looked ? `${number((100 * stats.cache.hits) / looked, 0)} %` : "–"),
			figure("health.queue", number(stats.queue)),
			figure("health.shed", number(stats.shed)),
			figure("health.late", number(stats.late)),
			figure("health.caches", memoryOf(stats.caches)),
		);
		fill(
			freshness,
			figure("health.event", age(fresh.event_at)),
			figure("health.item", age(fresh.item_at)),
			figure("health.release", age(fresh.release_at)),
		);
	}

	function memoryOf(caches) {
		const all = Object.values(caches || {});
		const sum = (name) => all.reduce((total, one) => total + one[name] / 1e6, 0);
		return all.length ? `${number(sum("bytes"), 1)} / ${number(sum("bound_bytes"), 0)} MB` : "–";
	}

	function lines(title, series) {
		return chart(
			t(title),
			() => ({
				traces: series.map(([name, tint]) => ({
					type: "scatter",
					mode: stats.series.length > 1 ? "lines" : "markers",
					name: t(`health.line.${name}`),
					x: stats.series.map((one) => new Date(one.at)),
					y: stats.series.map((one) => one[name]),
					line: { color: colour(tint), width: 2 },
					marker: { color: colour(tint), size: 8 },
					hovertemplate: "%{y}",
				})),
				layout: {
					height: 208,
					hovermode: "x unified",
					yaxis: { rangemode: "tozero", nticks: 5 },
					xaxis: { type: "date", nticks: 5, tickangle: 0, tickformat: "%H:%M", range: [Date.now() - 3600000, Date.now()] },
				},
			}),
			"small-chart",
		);
	}

	return { show, close: () => clearInterval(timer) };
}

function picturePanel(title, series, picture) {
	const names = el(
		"span",
		{ class: "legend" },
		series.map(([name, tint]) => el("span", {}, el("span", { class: "swatch", css: { background: `var(${tint})` } }), t(`health.line.${name}`))),
	);
	return panel(t(title), series.length > 1 && names, el("div", { class: "panel-body" }, picture));
}

const figure = (key, value) => el("div", { class: "figure" }, el("div", { class: "value" }, value), el("div", { class: "name" }, t(key)));
const ms = (value) => `${number(value, value < 100 ? 1 : 0)} ms`;
const age = (value) => (Number.isNaN(time(value)) ? "–" : since(value));
