// Measure: how good each model is, on whom, at what cost; the protocol; lists side by side; two releases compared.

import { get } from "../core/api.js";
import { el, fill } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { load } from "../core/load.js";
import { link, remember } from "../core/place.js";
import { copy } from "../core/say.js";
import { t } from "../core/words.js";
import { chart } from "../parts/chart.js";
import { compareReleases } from "../parts/compare.js";
import { bars, costs, ordered, small } from "../parts/figures.js";
import { metricTable } from "../parts/metrictable.js";
import { twoLists } from "../parts/lists.js";
import { pageHead, panel } from "../parts/panel.js";
import { empty } from "../parts/problem.js";
import { sourceName } from "../parts/sources.js";

export function page(root) {
	const body = el("div", { class: "stack" });
	fill(root, pageHead("measure", "measure.text"), body);

	function show(place) {
		load(body, { work: () => measured(place.params.get("release")), draw: (told) => draw(told, place.params), bones: [2, "chart"] });
	}

	function draw(told, params) {
		if (!told.metrics.length) {
			fill(body, empty(t("measure.empty"), told.problem || t("measure.empty.hint")));
			return;
		}
		const metrics = [...new Set(told.metrics.map((row) => row.metric))];
		const usual = metrics.includes("ndcg@10") ? "ndcg@10" : metrics[0];
		const metric = metrics.includes(params.get("metric")) ? params.get("metric") : usual;
		const choice = el(
			"select",
			{
				class: "field",
				css: { width: "auto" },
				"aria-label": t("measure.metric"),
				onchange: () => {
					remember({ metric: choice.value === usual ? "" : choice.value });
					params.set("metric", choice.value);
					draw(told, params);
					body.querySelector("select").focus();
				},
			},
			metrics.map((name) => el("option", { value: name }, name)),
		);
		choice.value = metric;
		const models = ordered(told, metric);
		fill(
			body,
			el("p", { class: "muted", data: { release: told.release } }, t("measure.release", { stamp: told.release })),
			panel(
				t("measure.models", { metric }),
				choice,
				el(
					"div",
					{ class: "panel-body" },
					chart(t("measure.models", { metric }), () => bars(told, metric, models)),
					el("p", { class: "muted small" }, t("measure.intervals", { chosen: sourceName(told.chosen) })),
				),
				el("details", {}, el("summary", {}, t("measure.numbers")), metricTable(told, metric, models)),
			),
			stamp(told.protocol),
			slices(told, metric, models),
			panel(
				t("measure.cost"),
				null,
				el(
					"div",
					{ class: "panel-body" },
					chart(t("measure.cost"), () => costs(told, metric, models)),
					el("p", { class: "muted small" }, t("measure.cost.hint")),
				),
			),
			twoLists(told, params),
			compareReleases(told, metric, params),
		);
	}

	return { show };
}

/** What the server measured; a release without measures is a state to explain, not an error. */
function measured(release) {
	return get("/api/measure", { release }).catch((error) =>
		error.code === "bad_bundle" ? { metrics: [], problem: error.message } : Promise.reject(error),
	);
}

function slices(told, metric, models) {
	const names = [...new Set(told.metrics.map((row) => row.slice))].filter((name) => name !== "all");
	if (!names.length) return null;
	return panel(
		t("measure.slices", { metric }),
		null,
		el(
			"div",
			{ class: "small-multiples" },
			names.map((name) => small(told, metric, name, models.slice(0, 6))),
		),
	);
}

function stamp(protocol) {
	const line = oneLine(protocol);
	return panel(
		t("measure.protocol"),
		el("a", { class: "small", href: link("releases") }, t("nav.releases")),
		el(
			"div",
			{ class: "panel-body" },
			el(
				"div",
				{ class: "stamp-line" },
				el("code", { tabindex: "0" }, line),
				el("button", { class: "icon-button text", onclick: () => copy(line) }, icon("copy"), t("copy")),
			),
			el("p", { class: "muted small", css: { "margin-top": "8px" } }, t("measure.protocol.hint")),
		),
	);
}

/** The stamp's plain values; what is nested (parameters, weights) is in the release's files. */
function oneLine(protocol) {
	const plain = Object.entries(protocol || {}).filter(
		([name, value]) => name !== "models" && value !== "" && (Array.isArray(value) || typeof value !== "object"),
	);
	const said = (name, value) => (/_(from|to|at)$/.test(name) && value > 1e11 ? `${new Date(value).toISOString().slice(0, 16)}Z` : String(value));
	return [...plain.map(([name, value]) => `${name}=${said(name, value)}`), `langrec=${protocol?.versions?.langrec}`].join(" · ");
}
