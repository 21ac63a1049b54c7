// A field that suggests while one types (an ARIA combobox); what was typed counts even where nothing matches.

import { ApiError } from "../core/api.js";
import { calm, el, fill, freshId } from "../core/dom.js";

/**
 * @param label the field's name, shown as placeholder and read aloud
 * @param suggest async (text) => [{value, text, note}]
 * @param choose called with (value, text) on Enter or a click
 * @param search whether the key / goes here
 */
export function picker({ label, suggest, choose, value = "", search = false, keepText = true }) {
	const listId = freshId("options");
	// The Tab key passes by a list that scrolls, and a hand on its scroll bar does not take the focus from the field: both closed it.
	const options = el("ul", {
		class: "options",
		role: "listbox",
		id: listId,
		"aria-label": label,
		hidden: true,
		tabindex: "-1",
		onmousedown: (event) => event.preventDefault(),
	});
	const field = el("input", {
		class: "field",
		type: "text",
		dir: "auto",
		role: "combobox",
		placeholder: label,
		"aria-label": label,
		value,
		"aria-expanded": "false",
		"aria-controls": listId,
		"aria-autocomplete": "list",
		autocomplete: "off",
		spellcheck: "false",
		data: search ? { search: "" } : {},
	});
	const box = el("div", { class: "picker" }, field, options);
	let found = [];
	let at = -1;

	const show = (list) => {
		found = list;
		at = -1;
		fill(
			options,
			list.map((one, i) => option(one, i)),
		);
		open(list.length > 0 && document.activeElement === field);
	};
	const option = (one, i) =>
		el(
			"li",
			{
				role: "option",
				id: `${listId}-${i}`,
				"aria-selected": "false",
				onmousedown: (event) => {
					event.preventDefault();
					take(one);
				},
			},
			el("span", { dir: "auto" }, one.text),
			one.note && el("span", {}, one.note),
		);
	const open = (yes) => {
		options.hidden = !yes;
		field.setAttribute("aria-expanded", String(yes));
		if (!yes) field.removeAttribute("aria-activedescendant");
	};
	const point = (next) => {
		options.children[at]?.setAttribute("aria-selected", "false");
		at = (next + found.length) % found.length;
		options.children[at].setAttribute("aria-selected", "true");
		options.children[at].scrollIntoView({ block: "nearest" });
		field.setAttribute("aria-activedescendant", options.children[at].id);
	};
	const take = (one) => {
		open(false);
		asked += 1; // a late answer must not open the list again
		field.value = keepText ? one.text : "";
		choose(one.value, one.text);
	};
	let asked = 0;
	const ask = async () => {
		const turn = (asked += 1);
		try {
			const list = await suggest(field.value.trim());
			if (turn === asked) show(list);
		} catch (error) {
			if (!(error instanceof ApiError)) throw error; // suggestions are a comfort: the page itself reports a server that fails
		}
	};
	field.addEventListener("input", calm(ask, 120));
	field.addEventListener("focus", ask);
	field.addEventListener("blur", () => {
		asked += 1;
		open(false);
	});
	field.addEventListener("keydown", (event) => {
		if (event.key === "ArrowDown" || event.key === "ArrowUp") {
			event.preventDefault();
			if (options.hidden) ask();
			else point(at + (event.key === "ArrowDown" ? 1 : at === -1 ? 0 : -1));
		} else if (event.key === "Enter") {
			event.preventDefault();
			const typed = field.value.trim();
			const one = found[at] || found.find((other) => other.text === typed);
			if (one && !options.hidden) take(one);
			else if (typed) take({ value: typed, text: typed, free: true });
		} else if (event.key === "Escape" && !options.hidden) {
			event.preventDefault();
			event.stopPropagation();
			open(false);
		}
	});
	box.field = field;
	return box;
}
