// Catalogue: a table paged by the server, with filter and sort; one item's page; a form that adds an item.

import { get } from "../core/api.js";
import { calm, el, fill } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { load } from "../core/load.js";
import { link, remember } from "../core/place.js";
import { date, number, since, t, time } from "../core/words.js";
import { categoryChoice } from "../parts/categories.js";
import { newItem } from "../parts/newitem.js";
import { pageHead } from "../parts/panel.js";
import { empty } from "../parts/problem.js";
import { tile } from "../parts/tile.js";
import { itemPage } from "./item.js";

const ROWS = 25;
const COLUMNS = [
	["title", "asc", ""],
	["events", "desc", "right"],
	["at", "desc", "wide-only"],
];

export function page(root) {
	let state = {};
	let parts = null;

	function show(place) {
		if (place.rest.length) {
			parts = null;
			itemPage(fill(root), place.rest[0], link("catalogue", [], addressOf(state)));
			return;
		}
		state = {
			q: place.params.get("q") || "",
			category: place.params.get("category") || "",
			sort: place.params.get("sort") || "events",
			order: place.params.get("order") || "desc",
			page: Math.max(1, Number(place.params.get("page")) || 1),
		};
		parts ??= build();
		parts.field.value = state.q;
		parts.category.show(state.category);
		run();
	}

	function build() {
		const field = el("input", {
			class: "field",
			type: "search",
			dir: "auto",
			placeholder: t("catalogue.filter"),
			"aria-label": t("catalogue.filter"),
			autocomplete: "off",
			data: { search: "" },
			oninput: calm(() => change({ q: field.value.trim(), page: 1 }), 220),
		});
		const category = categoryChoice({ value: state.category, choose: (name) => change({ category: name, page: 1 }) });
		const box = el("div");
		fill(
			root,
			pageHead("catalogue", null, el("button", { class: "button main-action", onclick: add }, icon("plus"), t("catalogue.add"))),
			el(
				"section",
				{ class: "panel", "aria-label": t("nav.catalogue") },
				el(
					"div",
					{ class: "panel-head" },
					el("div", { css: { flex: "1 1 240px", "max-width": "400px" } }, field),
					el("div", { css: { flex: "0 1 200px" } }, category),
				),
				box,
			),
		);
		return { field, category, box };
	}

	function change(patch) {
		state = { ...state, ...patch };
		remember(addressOf(state), { step: "page" in patch && !("q" in patch) });
		return run();
	}

	async function add() {
		if (!(await newItem()) || !parts) return;
		await run();
		if (document.activeElement === document.body) root.querySelector("[data-row]")?.focus(); // the button of an empty catalogue is gone
	}

	function run() {
		const { q, category, sort, order } = state;
		return load(parts.box, {
			work: () => get("/api/catalogue", { q, category, sort, order, n: ROWS, offset: (state.page - 1) * ROWS }),
			draw,
			bones: [8],
			keep: true,
		});
	}

	function draw(answer) {
		if (!answer.items.length && answer.total) {
			// The address names a page that is not there, or no more: the last one is.
			state.page = Math.ceil(answer.total / ROWS);
			remember(addressOf(state));
			run();
			return;
		}
		if (!answer.items.length) {
			const filtered = state.q || state.category;
			fill(
				parts.box,
				empty(
					t(filtered ? "catalogue.none" : "catalogue.empty"),
					t(filtered ? "catalogue.none.hint" : "catalogue.empty.hint"),
					el("button", { class: "button", onclick: add }, t("catalogue.add")),
				),
			);
			return;
		}
		fill(
			parts.box,
			el(
				"div",
				{ class: "table-box" },
				el(
					"table",
					{ class: "items" },
					el("caption", { class: "unseen" }, t("nav.catalogue")),
					el(
						"thead",
						{},
						el(
							"tr",
							{},
							el("td", { class: "wide-only" }),
							COLUMNS.slice(0, 1).map(header),
							el("th", { scope: "col", class: "wide-only" }, t("catalogue.categories")),
							COLUMNS.slice(1).map(header),
						),
					),
					el("tbody", {}, answer.items.map(row)),
				),
			),
			pager(answer.total),
		);
	}

	function header([name, first, kind]) {
		const active = state.sort === name;
		const turned = state.order === "asc" ? "desc" : "asc";
		return el(
			"th",
			{ scope: "col", class: kind, "aria-sort": active ? (state.order === "asc" ? "ascending" : "descending") : undefined },
			el(
				"button",
				{ class: "sort", data: { sort: name }, onclick: () => sortBy(name, active ? turned : first) },
				t(`catalogue.${name}`),
				el("span", { "aria-hidden": "true" }, active ? (state.order === "asc" ? "↑" : "↓") : ""),
			),
		);
	}

	// The heads are drawn anew with the rows.
	async function sortBy(sort, order) {
		await change({ sort, order, page: 1 });
		if (document.activeElement === document.body) parts?.box.querySelector(`[data-sort="${sort}"]`)?.focus({ preventScroll: true });
	}

	function pager(total) {
		const pages = Math.max(1, Math.ceil(total / ROWS));
		const from = (state.page - 1) * ROWS;
		return el(
			"div",
			{ class: "pager" },
			el("span", { class: "count numbers" }, t("catalogue.range", { from: from + 1, to: Math.min(total, from + ROWS), total })),
			el("button", { class: "button", disabled: state.page <= 1, onclick: () => turn(-1) }, t("previous")),
			el("button", { class: "button", disabled: state.page >= pages, onclick: () => turn(1) }, t("next")),
		);
	}

	// The buttons are drawn anew: the focus goes to the same one, or to the other where there is no further page.
	async function turn(step) {
		await change({ page: state.page + step });
		const [previous, next] = parts?.box.querySelectorAll(".pager button") ?? [];
		for (const one of step > 0 ? [previous, next] : [next, previous]) one?.focus({ preventScroll: true });
	}

	return { show };
}

/** What of a state its address needs to say; of none yet, nothing. */
function addressOf({ q, category, sort, order, page }) {
	return { q, category, sort: sort === "events" ? "" : sort, order: order === "desc" ? "" : order, page: page > 1 ? page : "" };
}

function row(item) {
	return el(
		"tr",
		{ data: { rowBox: "", id: item.id } },
		el("td", { class: "wide-only", css: { width: "64px" } }, tile(item, "little")),
		el(
			"th",
			{ scope: "row" },
			el("a", { class: "title-button", href: link("catalogue", [item.id]), data: { row: "" } }, el("span", { class: "three-lines", dir: "auto" }, item.title || item.id)),
			" ",
			item.hidden && el("span", { class: "chip" }, t("item.hidden")),
			el("div", { class: "muted small mono" }, item.id),
		),
		el("td", { class: "muted wide-only" }, el("div", { class: "two-lines", dir: "auto" }, (item.categories || []).join(" · "))),
		el("td", { class: "right" }, number(item.n_events)),
		el("td", { class: "muted wide-only", title: date(item.at) }, Number.isNaN(time(item.at)) ? "–" : since(item.at)),
	);
}
