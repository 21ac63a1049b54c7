// One recommended item: its place and movement, what it is, why it is here, where its score comes from, what one can do.

import { el } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { number, t } from "../core/words.js";
import { reason } from "./reason.js";
import { scoreBar } from "./sources.js";
import { tile } from "./tile.js";

const ACTS = [
	["click", "c"],
	["like", "l"],
	["hide", "x"],
];

/** `drawn` says that it was given an exploring place; `step` is how far it moved up, "new", or undefined; `act(type, item)` and `open(item)` are what the buttons do. */
export function card(item, place, { longest, step, drawn, act, open }) {
	return el(
		"li",
		{ class: "card", data: { id: item.id, rowBox: "" } },
		el("div", { class: "place" }, el("span", {}, place), moved(step)),
		tile(item),
		el(
			"div",
			{},
			el("button", { class: "title", data: { row: "" }, "aria-haspopup": "dialog", onclick: () => open(item) }, el("span", { class: "three-lines", dir: "auto" }, item.title || item.id)),
			el("p", { class: "cats", dir: "auto" }, (item.categories || []).join(" · ") || t("item.no_categories")),
			el("p", { class: "because" }, reason(item.reason), drawn && el("span", { class: "chip accent", title: t("explore.drawn.hint") }, t("explore.drawn"))),
		),
		el(
			"div",
			{ class: "side" },
			el("div", { class: "score" }, scoreBar(item.sources || {}, longest), el("span", { class: "value" }, number(item.score, 3)), chance(item)),
			el(
				"div",
				{ class: "acts" },
				ACTS.map(([type, key]) => action(type, key, item, act)),
			),
		),
	);
}

function chance(item) {
	if (item.probability === undefined) return null;
	return el("span", { class: "chance" }, item.probability === null ? t("chance.unknown") : t("chance.of", { share: percent(item.probability) }));
}

// Thousands of items share what is left beside the likely ones: digits behind so many zeros say nothing.
function percent(share) {
	return share > 0 && share < 0.001 ? `< ${number(0.1)} %` : `${number(100 * share, undefined, { maximumSignificantDigits: 2 })} %`;
}

function action(type, key, item, act) {
	return el(
		"button",
		{
			class: "icon-button",
			title: `${t(`act.${type}`)} (${key})`,
			"aria-label": t(`act.${type}.of`, { title: item.title || item.id }),
			data: { key, act: type },
			onclick: () => act(type, item),
		},
		icon(type),
	);
}

function moved(step) {
	if (step === undefined || step === 0) return null;
	if (step === "new") return el("span", { class: "moved new" }, t("move.new"));
	const name = step > 0 ? "up" : "down";
	return el(
		"span",
		{ class: `moved ${name}`, title: t(`move.${name}`, { n: Math.abs(step) }) },
		el("span", { "aria-hidden": "true" }, `${step > 0 ? "▲" : "▼"}${Math.abs(step)}`),
		el("span", { class: "unseen" }, t(`move.${name}`, { n: Math.abs(step) })),
	);
}
