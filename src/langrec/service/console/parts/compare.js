// Two releases compared: each model's value in both, and the difference.

import { get } from "../core/api.js";
import { el, fill } from "../core/dom.js";
import { load } from "../core/load.js";
import { remember } from "../core/place.js";
import { number, t } from "../core/words.js";
import { interval, rows } from "./figures.js";
import { panel } from "./panel.js";
import { empty } from "./problem.js";
import { sourceName } from "./sources.js";

export function compareReleases(told, metric, params) {
	const end = el("span");
	const box = el("div");
	load(box, {
		work: () => get("/api/releases"),
		draw: (all) => {
			const base = params.get("release") || all.find((one) => one.current)?.stamp;
			const others = all.filter((one) => one.stamp !== base && one.ok);
			if (!others.length) {
				fill(box, empty(t("measure.releases.one"), t("measure.releases.one.hint")));
				return;
			}
			const choice = el(
				"select",
				{ class: "field mono", css: { width: "auto" }, "aria-label": t("measure.releases.other"), onchange: () => run(choice.value) },
				others.map((one) => el("option", { value: one.stamp }, one.stamp)),
			);
			if (others.some((one) => one.stamp === params.get("other"))) choice.value = params.get("other");
			fill(end, choice);
			const run = (stamp, byHand = true) => {
				if (byHand) {
					remember({ other: stamp });
					params.set("other", stamp);
				}
				load(box, {
					work: () => get("/api/measure", { release: stamp }),
					draw: (other) => fill(box, table(told, other, metric, base, stamp)),
					bones: [4],
					keep: true,
				});
			};
			run(choice.value, false);
		},
		bones: [4],
	});
	return panel(t("measure.releases"), end, box);
}

function table(now, other, metric, nowName, otherName) {
	const was = new Map(rows(other, metric, "all").map((row) => [row.model, row]));
	const both = rows(now, metric, "all")
		.filter((row) => was.has(row.model))
		.sort((a, b) => b.value - a.value);
	const same = JSON.stringify(now.protocol?.data ?? now.protocol?.data_hash) === JSON.stringify(other.protocol?.data ?? other.protocol?.data_hash);
	return [
		!same && el("p", { class: "muted small", css: { padding: "12px 16px 4px" } }, t("measure.releases.data")),
		el(
			"div",
			{ class: "table-box", tabindex: "0", role: "group", "aria-label": t("measure.releases") },
			el(
				"table",
				{},
				el(
					"thead",
					{},
					el(
						"tr",
						{},
						el("th", { scope: "col" }, t("measure.model")),
						el("th", { scope: "col", class: "right mono" }, nowName),
						el("th", { scope: "col", class: "right mono" }, otherName),
						el("th", { scope: "col", class: "right" }, t("measure.difference")),
					),
				),
				el(
					"tbody",
					{},
					both.map((row) => line(row, was.get(row.model))),
				),
			),
		),
		el("p", { class: "muted small", css: { padding: "8px 16px 16px" } }, t("measure.releases.colour")),
	];
}

function line(row, old) {
	const change = row.value - old.value;
	const known = Boolean(interval(row) && interval(old));
	const apart = known && (row.low > old.high || row.high < old.low); // intervals that overlap are not called a difference
	return el(
		"tr",
		{},
		el("th", { scope: "row" }, sourceName(row.model)),
		el("td", { class: "right" }, number(row.value, 4)),
		el("td", { class: "right" }, number(old.value, 4)),
		el(
			"td",
			{ class: "right" },
			el(
				"span",
				{ class: `chip ${apart ? (change > 0 ? "good" : "bad") : ""}`, title: t(apart ? "measure.apart" : known ? "measure.overlap" : "measure.no_interval") },
				`${change < 0 ? "−" : "+"}${number(Math.abs(change), 4)}`,
			),
		),
	);
}
