// One found item, with the matched words marked.

import { el } from "../core/dom.js";
import { link } from "../core/place.js";
import { number, t } from "../core/words.js";
import { longText } from "./fields.js";
import { around, marked } from "./marks.js";
import { scoreBar } from "./sources.js";
import { tile } from "./tile.js";

export function hit(item, longest) {
	const words = item.matched || [];
	const text = longText(item.fields);
	return el(
		"li",
		{ class: "hit", data: { id: item.id, rowBox: "" } },
		tile(item),
		el(
			"div",
			{},
			el("a", { class: "title", href: link("catalogue", [item.id]), data: { row: "" } }, el("span", { class: "three-lines", dir: "auto" }, marked(item.title || item.id, words))),
			el("p", { class: "muted small two-lines", dir: "auto" }, marked((item.categories || []).join(" · "), words)),
			text && el("p", { class: "text", dir: "auto" }, marked(around(text, words), words)),
		),
		el(
			"div",
			{ class: "score" },
			scoreBar(item.sources || {}, longest),
			el("span", { class: "numbers" }, words.length ? number(item.score, 3) : t("search.by_meaning")),
		),
	);
}
