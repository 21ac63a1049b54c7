// A choice of one category, filled from the server when it is first wanted.

import { get } from "../core/api.js";
import { el } from "../core/dom.js";
import { number, t } from "../core/words.js";

/** A select; `choose` gets the category's name, "" for all. `none` is the text of the empty choice. */
export function categoryChoice({ value = "", choose, none = t("category.all") }) {
	const choice = el(
		"select",
		{ class: "field", "aria-label": t("category.label"), value, onchange: () => choose(choice.value), onfocus: offer, onpointerenter: offer },
		el("option", { value: "" }, none),
		value && el("option", { value }, value),
	);
	let asked = false;
	async function offer() {
		if (asked) return;
		asked = true;
		try {
			const all = await get("/api/categories");
			choice.append(...all.filter((one) => one.name !== value).map((one) => el("option", { value: one.name }, `${one.name} (${number(one.n)})`)));
		} catch {
			asked = false; // the page itself reports a server that fails
		}
	}
	choice.show = (name) => {
		if (![...choice.options].some((option) => option.value === name)) choice.append(el("option", { value: name }, name));
		choice.value = name;
	};
	return choice;
}
