// The numbers behind the bars, as a table.

import { el } from "../core/dom.js";
import { number, t } from "../core/words.js";
import { interval, rows, seconds } from "./figures.js";
import { sourceName } from "./sources.js";

export function metricTable(told, metric, models) {
	const found = new Map(rows(told, metric, "all").map((row) => [row.model, row]));
	return el(
		"div",
		{ class: "table-box", tabindex: "0", role: "group", "aria-label": t("measure.numbers") },
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
					el("th", { scope: "col", class: "right" }, metric),
					el("th", { scope: "col", class: "right" }, t("measure.interval")),
					el("th", { scope: "col", class: "right" }, t("measure.seconds")),
				),
			),
			el(
				"tbody",
				{},
				models.map((model) => {
					const row = found.get(model);
					return el(
						"tr",
						{},
						el("th", { scope: "row" }, sourceName(model), " ", model === told.chosen && el("span", { class: "chip accent" }, t("measure.chosen"))),
						el("td", { class: "right" }, number(row.value, 4)),
						el("td", { class: "right" }, interval(row) ?? "–"),
						el("td", { class: "right" }, seconds(told.seconds?.[model])),
					);
				}),
			),
		),
	);
}
