// The form that adds an item, and then offers to find it at once.

import { address, get, post } from "../core/api.js";
import { el, fill } from "../core/dom.js";
import { link } from "../core/place.js";
import { t } from "../core/words.js";
import { dialog } from "./dialog.js";
import { problem } from "./problem.js";

/** Opens the form; resolves with whether an item was added. */
export function newItem() {
	let added = false;
	const closed = dialog(t("new.title"), (close) => {
		const id = input("id", `item-${Date.now().toString(36)}`, true);
		const title = input("title", "", true);
		const text = el("textarea", { class: "field", name: "text", rows: 4, dir: "auto" });
		const categories = input("categories");
		const trouble = el("div");
		const submit = el("button", { type: "submit", class: "button main-action" }, t("new.add"));
		const send = async (event) => {
			event.preventDefault();
			submit.disabled = true;
			const names = categories.value
				.split(/[,，、]/)
				.map((name) => name.trim())
				.filter(Boolean);
			try {
				if (await there(id.value.trim())) {
					fill(trouble, taken(id.value.trim(), close));
					submit.disabled = false;
					id.focus();
					return;
				}
				await post("/api/item", {
					ItemId: id.value.trim(),
					IsHidden: false,
					Categories: names,
					Labels: labels(title.value.trim(), text.value.trim()),
					Timestamp: new Date().toISOString(),
					Comment: title.value.trim(),
				});
				added = true;
				fill(form, done(id.value.trim(), title.value.trim(), close));
				form.querySelector("a").focus();
			} catch (error) {
				fill(trouble, problem(error));
				submit.disabled = false;
			}
		};
		const form = el(
			"form",
			{ class: "form", onsubmit: send },
			label("new.name", title),
			label("new.text", text, "new.text.hint"),
			label("new.categories", categories, "new.categories.hint"),
			label("new.id", id),
			trouble,
			el("div", { class: "dialog-foot" }, el("button", { class: "button", onclick: () => close() }, t("cancel")), submit),
		);
		requestAnimationFrame(() => title.focus());
		return form;
	});
	return closed.then(() => added);
}

// Writing an item overwrites one that has its id, which is not what a form that adds should do.
async function there(id) {
	const found = await get("/api/catalogue", { q: id.slice(0, 200), sort: "id", n: 50 });
	if (found.total <= 50) return found.items.some((one) => one.id === id);
	return get(address("item", id)).then(
		() => true,
		(error) => (error.status === 404 ? false : Promise.reject(error)),
	);
}

function taken(id, close) {
	return el(
		"div",
		{ class: "problem", role: "alert" },
		el("strong", {}, t("new.taken", { id })),
		el("div", { class: "row" }, el("a", { class: "button", href: link("catalogue", [id]), onclick: () => close() }, t("new.open"))),
	);
}

function labels(title, text) {
	return text ? { title, description: text } : { title };
}

function input(name, value = "", required = false) {
	return el("input", { class: "field", name, value, required, autocomplete: "off", dir: "auto" });
}

function label(key, field, hint = null) {
	return el("label", { class: "label" }, t(key), field, hint && el("span", { class: "hint" }, t(hint)));
}

function done(id, title, close) {
	return [
		el("p", { role: "status" }, t("new.done", { title })),
		el(
			"div",
			{ class: "dialog-foot" },
			el("a", { class: "button", href: link("catalogue", [id]), onclick: () => close() }, t("new.open")),
			el("a", { class: "button main-action", href: link("search", [], { q: title }), onclick: () => close() }, t("new.find")),
		),
	];
}
