// The whole explanation of one place in the list: sources, history items, rules, milliseconds.

import { sourceColour } from "../core/colours.js";
import { el } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { link } from "../core/place.js";
import { known, number, t } from "../core/words.js";
import { reason } from "./reason.js";
import { sourceName, swatch } from "./sources.js";
import { tile } from "./tile.js";

/** `told` is the answer of /api/explain, `item` the list's entry, `trace` the list's trace. */
export function explanation(told, item, trace) {
	const parts = told.contributions.filter((part) => part.contribution).sort((a, b) => Math.abs(b.contribution) - Math.abs(a.contribution));
	const most = Math.max(...parts.map((part) => Math.abs(part.contribution)), 1e-9);
	return el(
		"div",
		{ class: "explain" },
		head(told, item),
		told.dropped_by && el("p", { class: "chip bad" }, t("explain.dropped_by", { rule: ruleName(told.dropped_by) })),
		el(
			"section",
			{},
			el("h3", {}, t("explain.sources")),
			parts.length ? parts.map((part) => contribution(part, most)) : el("p", { class: "muted" }, t("explain.nothing")),
			el("p", { class: "sum numbers" }, el("span", {}, t("explain.sum")), el("span", {}, number(told.score, 4))),
		),
		trace && rules(trace),
		trace && stages(trace),
	);
}

function head(told, item) {
	const what = { id: told.item, title: told.title, ...item };
	return el(
		"div",
		{ class: "item-head" },
		tile(what, "large"),
		el(
			"div",
			{ class: "grow" },
			el("p", {}, reason(item?.reason || told.reason)),
			el("p", { class: "muted small" }, told.position ? t("explain.place", { n: told.position }) : t("explain.no_place")),
			el("a", { class: "small", href: link("catalogue", [told.item]) }, t("explain.open_item")),
		),
	);
}

function contribution(part, most) {
	const carried = (part.history || []).filter((one) => one.contribution).slice(0, 5);
	return el(
		"div",
		{ class: "part" },
		swatch(part.scorer),
		el("span", {}, sourceName(part.scorer)),
		el(
			"span",
			{ class: "numbers", title: t("explain.product", { weight: number(part.weight, 3), value: number(part.value, 3) }) },
			signed(part.contribution),
		),
		el(
			"div",
			{ class: "bar", "aria-hidden": "true" },
			el("i", {
				class: part.contribution < 0 ? "minus" : "",
				css: { width: `${(100 * Math.abs(part.contribution)) / most}%`, background: sourceColour(part.scorer) },
			}),
		),
		carried.length > 0 &&
			el(
				"div",
				{ class: "from" },
				carried.map((one) => [el("span", {}, one.title || one.id), el("span", { class: "numbers" }, signed(one.contribution))]),
			),
	);
}

function rules(trace) {
	const dropped = Object.entries(trace.dropped || {}).filter(([, n]) => n > 0);
	const filled = Object.entries(trace.filled || {}).filter(([, n]) => n > 0);
	return el(
		"section",
		{},
		el("h3", {}, t("explain.rules")),
		dropped.length || filled.length
			? el(
					"div",
					{ class: "chips" },
					dropped.map(([rule, n]) => el("span", { class: "chip" }, `${ruleName(rule)}: ${number(n)}`)),
					filled.map(([name, n]) => el("span", { class: "chip accent" }, t("explain.filled", { name: sourceName(name), n }))),
				)
			: el("p", { class: "muted small" }, t("explain.no_rules")),
		(trace.unknown || []).length > 0 && el("p", { class: "muted small" }, t("explain.unknown", { ids: trace.unknown.join(", ") })),
	);
}

function stages(trace) {
	const all = trace.stages || [];
	const longest = Math.max(...all.map((stage) => stage.ms), 1e-9);
	return el(
		"section",
		{},
		el("h3", {}, t("explain.stages")),
		all.map((stage) =>
			el(
				"div",
				{ class: "stage-line numbers" },
				el("span", {}, known(`stage.${stage.name}`) ? t(`stage.${stage.name}`) : stage.name),
				el(
					"div",
					{ class: "bar", "aria-hidden": "true" },
					el("i", { css: { width: `${(100 * stage.ms) / longest}%`, background: "var(--accent)" } }),
				),
				el("span", {}, `${number(stage.n_in)} → ${number(stage.n_out)} · ${number(stage.ms, 2)} ms`),
			),
		),
		el("p", { class: "muted small row" }, icon("releases"), trace.release),
	);
}

const ruleName = (rule) => (known(`rule.${rule}`) ? t(`rule.${rule}`) : rule);
const signed = (value) => `${value < 0 ? "−" : "+"}${number(Math.abs(value), 4)}`;
