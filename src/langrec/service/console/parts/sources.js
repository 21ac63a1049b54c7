// A score split by its sources: one bar in fixed colours, and the legend that names them.

import { sourceColour } from "../core/colours.js";
import { el } from "../core/dom.js";
import { known, number, t } from "../core/words.js";
import { bySource } from "./families.js";

/** The name of a source as people read it. */
export function sourceName(name) {
	const [base, decay] = name.split("@");
	const plain = known(`source.${base}`) ? t(`source.${base}`) : base;
	return decay === undefined ? plain : t("source.decay", { name: plain, decay });
}

/** Sources with a visible share, largest first. */
function shares(sources) {
	const parts = Object.entries(bySource(sources)).filter(([, value]) => Number.isFinite(value) && value !== 0);
	const total = parts.reduce((sum, [, value]) => sum + Math.abs(value), 0) || 1;
	return parts
		.map(([name, value]) => ({ name, value, share: Math.abs(value) / total }))
		.filter((part) => part.share >= 0.005)
		.sort((a, b) => b.share - a.share);
}

/** The bar; `longest` is the sum of sizes that fills its whole width, so that bars of a list compare. */
export function scoreBar(sources, longest) {
	const parts = shares(sources);
	const said = parts
		.slice(0, 4)
		.map((part) => `${sourceName(part.name)} ${number(part.share * 100, 0)} %`)
		.join(", ");
	return el(
		"div",
		{ class: "bar", role: "img", "aria-label": said || t("recommend.no_sources"), title: said },
		parts.map((part) =>
			el("i", {
				class: part.value < 0 ? "minus" : "",
				css: { width: `${(100 * Math.abs(part.value)) / (longest || 1)}%`, background: sourceColour(part.name) },
			}),
		),
	);
}

/** The largest sum of sizes in a list of answers. */
export function longestBar(items) {
	return Math.max(...items.map((item) => Object.values(bySource(item.sources)).reduce((sum, value) => sum + Math.abs(value), 0)), 0);
}

/** The names of all sources that a list shows. */
export function legend(items) {
	const size = {};
	for (const item of items) for (const part of shares(item.sources)) size[part.name] = (size[part.name] || 0) + part.share;
	const names = Object.keys(size).sort((a, b) => size[b] - size[a]);
	return el(
		"div",
		{ class: "legend" },
		names.map((name) => el("span", {}, swatch(name), sourceName(name))),
	);
}

export const swatch = (name) => el("span", { class: "swatch", "aria-hidden": "true", css: { background: sourceColour(name) } });
