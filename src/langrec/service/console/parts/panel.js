// The frames of a page: its head line, and the titled surface of each of its parts.

import { el } from "../core/dom.js";
import { t } from "../core/words.js";

/** A section with a head line; `end` stands at the head's right. */
export function panel(title, end, ...content) {
	return el(
		"section",
		{ class: "panel", "aria-label": title },
		el("div", { class: "panel-head" }, el("h2", {}, title), end && el("span", { class: "end" }, end)),
		content,
	);
}

/** A page's head: its name, one sentence where there is one, and actions at the end. */
export function pageHead(name, sentence = null, ...actions) {
	return el(
		"div",
		{ class: "page-head" },
		el("h1", {}, t(`nav.${name}`)),
		sentence && el("p", {}, t(sentence)),
		el("div", { class: "end" }, actions),
	);
}
