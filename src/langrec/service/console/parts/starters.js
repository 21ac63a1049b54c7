// For someone of whom nothing is known: items to pick the liked ones from, and a wish in words; the list follows at once.

import { address, get } from "../core/api.js";
import { el, fill } from "../core/dom.js";
import { load } from "../core/load.js";
import { t } from "../core/words.js";

const OFFERED = 8;

/** `tell({likes, wish})` hears of every change; `keep(items)` makes events of the likes. */
export function starters({ likes, wish, category, tell, keep }) {
	const titles = new Map(likes.map((id) => [id, id]));
	const liked = new Set(likes);
	let passed = []; // shown before and not wanted
	let offered = [];
	const box = el("div", { class: "chips" });
	const foot = el("div", { class: "chips" });
	const field = el("input", {
		class: "field",
		type: "text",
		dir: "auto",
		value: wish,
		placeholder: t("starters.wish.hint"),
		onchange: () => tell({ wish: field.value.trim() }),
	});

	const offer = () =>
		load(box, {
			work: () => get("/api/onboarding", { k: OFFERED, likes: [...liked], skip: passed, category }),
			draw: (found) => {
				offered = found.items.map((item) => item.id);
				for (const item of found.items) titles.set(item.id, item.title || item.id);
				draw();
			},
			bones: [1],
			keep: true,
		});

	function draw() {
		const focus = box.contains(document.activeElement) ? document.activeElement.dataset.id : null;
		const shown = [...liked, ...offered.filter((id) => !liked.has(id))];
		fill(box, shown.length ? shown.map(choice) : el("span", { class: "muted small" }, t("starters.none")));
		if (focus) (box.querySelector(`[data-id="${CSS.escape(focus)}"]`) || box.querySelector("button"))?.focus();
		fill(
			foot,
			el("button", { class: "button", onclick: others }, t("starters.others")),
			liked.size > 0 && el("button", { class: "button main-action", onclick: () => keep([...liked].map((id) => ({ id, title: titles.get(id) }))) }, t("starters.keep")),
		);
	}

	function choice(id) {
		return el("button", { class: "button", "aria-pressed": String(liked.has(id)), dir: "auto", data: { id, starter: "" }, onclick: () => turn(id) }, titles.get(id));
	}

	async function turn(id) {
		if (!liked.delete(id)) liked.add(id);
		draw();
		tell({ likes: [...liked] });
		await offer();
	}

	function others() {
		passed = [...passed, ...offered.filter((id) => !liked.has(id))];
		offer();
	}

	// A link names likes by their ids; their titles come when they come.
	for (const id of likes) {
		get(address("item", id))
			.then((item) => titles.set(id, item.Comment || id))
			.then(draw, () => {}); // an item that is gone keeps its id
	}
	offer();
	return el(
		"section",
		{ class: "panel starters", "aria-label": t("starters.title") },
		el("div", { class: "panel-head" }, el("h2", {}, t("starters.title")), el("span", { class: "muted small" }, t("starters.hint"))),
		el("div", { class: "panel-body" }, box, el("label", { class: "label" }, t("starters.wish"), field), foot),
	);
}
