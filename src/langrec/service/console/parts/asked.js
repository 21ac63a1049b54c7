// What a list is asked for beside its user: places for new items, and the chance of each item.

import { el } from "../core/dom.js";
import { t } from "../core/words.js";

const PLACES = [0, 1, 2, 3, 5];

/** Controls; `change` gets `explore` ("" = as the release is set) or `chance`. */
export function listControls({ explore, chance, change }) {
	const places = el(
		"select",
		{ class: "field", "aria-label": t("explore.label"), onchange: () => change({ explore: places.value }) },
		el("option", { value: "" }, t("explore.set")),
		PLACES.map((n) => el("option", { value: String(n) }, n ? t("explore.places", { n }) : t("explore.none"))),
	);
	places.value = explore;
	const shown = el(
		"button",
		{ class: "button", "aria-pressed": String(chance), title: t("chance.hint"), data: { chance: "" }, onclick: () => change({ chance: !chance }) },
		t("chance.label"),
	);
	return el("div", { class: "asked" }, places, shown);
}
