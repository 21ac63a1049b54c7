// One item: its fields, its neighbours, and who gets it.

import { address, get, patch } from "../core/api.js";
import { el, fill } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { load } from "../core/load.js";
import { link } from "../core/place.js";
import { toast } from "../core/say.js";
import { date, number, t, time } from "../core/words.js";
import { fieldList } from "../parts/fields.js";
import { panel } from "../parts/panel.js";
import { empty, report } from "../parts/problem.js";
import { tile } from "../parts/tile.js";

/** Draws the page of an item into an empty root; `table` is the address of the catalogue as it was left. */
export function itemPage(root, id, table) {
	const body = el("div");
	const back = el("a", { class: "row", href: table }, icon("back"), t("nav.catalogue"));
	fill(root, el("p", { css: { "margin-bottom": "8px" } }, back), body);
	load(body, { work: () => get(address("item", id)), draw: (item) => drawItem(body, item), bones: [4] });
}

function drawItem(body, item) {
	const head = el("div");
	const near = el("div");
	const people = el("div");
	const id = item.ItemId;
	fill(
		body,
		head,
		el(
			"div",
			{ class: "halves" },
			panel(t("item.fields"), null, el("div", { class: "panel-body" }, about(item))),
			el(
				"div",
				{ class: "stack" },
				panel(t("item.neighbours"), hint("item.neighbours.hint"), near),
				panel(t("item.audience"), hint("item.audience.hint"), people),
			),
		),
	);
	drawHead(head, item);
	load(near, { work: () => neighbours(id), draw: (found) => fill(near, neighbourList(found)), bones: [4] });
	load(people, { work: () => get(address("item", id, "audience"), { n: 8 }), draw: (found) => fill(people, audience(found)), bones: [4] });
}

const hint = (key) => el("span", { class: "muted small" }, t(key));
const titleOf = (item) => item.Comment || item.Labels?.title || item.ItemId;

function drawHead(head, item) {
	document.title = `${titleOf(item)} · langrec`;
	const toggle = async () => {
		try {
			await patch(address("item", item.ItemId), { IsHidden: !item.IsHidden });
			item.IsHidden = !item.IsHidden;
			toast(t(item.IsHidden ? "item.now_hidden" : "item.now_shown", { title: titleOf(item) }));
			drawHead(head, item);
			head.querySelector("button").focus();
		} catch (error) {
			report(head, error);
		}
	};
	fill(
		head,
		el(
			"div",
			{ class: "item-head", css: { "margin-bottom": "24px" } },
			tile({ id: item.ItemId, title: titleOf(item), image: item.Labels?.image }, "large"),
			el(
				"div",
				{ class: "grow" },
				el("h1", { dir: "auto" }, titleOf(item)),
				el(
					"div",
					{ class: "chips" },
					item.IsHidden && el("span", { class: "chip bad" }, t("item.hidden")),
					(item.Categories || []).map((name) => el("a", { class: "chip", href: link("catalogue", [], { category: name }) }, name)),
				),
			),
			el("button", { class: "button", onclick: toggle }, icon("hide"), t(item.IsHidden ? "item.show" : "item.hide")),
		),
	);
}

function about(item) {
	const at = time(item.Timestamp);
	const labels = item.Labels && !Array.isArray(item.Labels) && typeof item.Labels === "object" ? item.Labels : { labels: item.Labels };
	const { title, image, ...rest } = labels;
	return fieldList({ [t("new.id")]: item.ItemId, ...rest, ...(at > 0 ? { [t("catalogue.at")]: date(at) } : {}) });
}

async function neighbours(id) {
	const found = await get(address("item", id, "neighbors"), { n: 8 });
	// Gorse's route answers ids and scores; the titles come one by one.
	return Promise.all(
		found.map(async (one) => {
			const key = one.Id ?? one;
			const item = await get(address("item", key)).catch(() => null);
			return { id: key, score: one.Score, title: item ? titleOf(item) : key, categories: item?.Categories || [] };
		}),
	);
}

function neighbourList(found) {
	if (!found.length) return empty(t("item.no_neighbours"), t("item.no_neighbours.hint"));
	return el(
		"ol",
		{ class: "plain-list" },
		found.map((one) =>
			el(
				"li",
				{ data: { rowBox: "" } },
				tile(one, "little"),
				el("a", { class: "grow", dir: "auto", href: link("catalogue", [one.id]), data: { row: "" } }, one.title),
				el("span", { class: "muted small numbers" }, number(one.score, 3)),
			),
		),
	);
}

function audience(found) {
	if (!found.length) return empty(t("item.no_audience"), t("item.no_audience.hint"));
	return el(
		"ol",
		{ class: "plain-list" },
		found.map((one) =>
			el(
				"li",
				{ data: { rowBox: "" } },
				icon("person"),
				el("a", { class: "grow", href: link("recommend", [], { user: one.user }), data: { row: "" } }, one.user),
				el("span", { class: "muted small numbers" }, t("explain.place", { n: one.position + 1 })),
			),
		),
	);
}
