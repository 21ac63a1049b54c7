// The whole explanation of one place in the list: sources, history items, rules, milliseconds.

import { sourceColour } from "../core/colours.js";
import { el } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { link } from "../core/place.js";
import { known, number, t } from "../core/words.js";
import { gathered } from "./families.js";
import { reason } from "./reason.js";
import { sourceName, swatch } from "./sources.js";
import { tile } from "./tile.js";

/** `told` is the answer of /api/explain, `item` the list's entry, `trace` the list's trace. */
export function explanation(told, item, trace) {
	const groups = gathered(told.contributions);
	const most = Math.max(...groups.map((group) => Math.abs(group.contribution)), 1e-9);
	return el(
		"div",
		{ class: "explain" },
		head(told, item),
		told.dropped_by && el("p", { class: "chip bad" }, t("explain.dropped_by", { rule: ruleName(told.dropped_by) })),
		el(
			"section",
			{},
			el("h3", {}, t("explain.sources")),
			groups.length ? groups.map((group) => source(group, most)) : el("p", { class: "muted" }, t("explain.nothing")),
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
			el("p", { class: "muted small" }, told.position === null ? t("explain.no_place") : t("explain.place", { n: told.position + 1 })),
			el("a", { class: "small", href: link("catalogue", [told.item]) }, t("explain.open_item")),
		),
	);
}

function source(group, most) {
	const first = group.history.slice(0, 4);
	const rest = group.history.slice(4);
	const others = rest.length > 0 && {
		title: t("explain.others", { n: rest.length }),
		contribution: rest.reduce((sum, one) => sum + one.contribution, 0),
	};
	const width = `${(100 * Math.abs(group.contribution)) / most}%`;
	return el(
		"div",
		{ class: "part" },
		swatch(group.name),
		el("span", {}, sourceName(group.name)),
		el("span", { class: "numbers" }, signed(group.contribution)),
		el(
			"div",
			{ class: "bar", "aria-hidden": "true" },
			el("i", { class: group.contribution < 0 ? "minus" : "", css: { width, background: sourceColour(group.name) } }),
		),
		first.length > 0 &&
			el(
				"div",
				{ class: "from" },
				[...first, others].map((one) => one && line(one.title || one.id, one.contribution)),
			),
		el(
			"details",
			{},
			el("summary", {}, t("explain.signals", { n: group.signals.length })),
			el(
				"div",
				{ class: "from" },
				group.signals.map((part) => line(formula(part), part.contribution)),
			),
		),
	);
}

const line = (name, value) => [el("span", { class: "two-lines", dir: "auto" }, name), el("span", { class: "numbers" }, signed(value))];
const formula = (part) => t("explain.product", { name: sourceName(part.scorer), weight: number(part.weight, 3), value: number(part.value, 3) });

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

function ruleName(rule) {
	if (rule.startsWith("where ")) return t("rule.where", { field: rule.slice(6) });
	return known(`rule.${rule}`) ? t(`rule.${rule}`) : rule;
}
const signed = (value) => `${value < 0 ? "−" : "+"}${number(Math.abs(value), 4)}`;
