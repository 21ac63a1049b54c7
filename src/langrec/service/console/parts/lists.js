// The lists of two models side by side for one user; items in both are marked.

import { get } from "../core/api.js";
import { el, fill } from "../core/dom.js";
import { load } from "../core/load.js";
import { link, remember } from "../core/place.js";
import { number, t } from "../core/words.js";
import { panel } from "./panel.js";
import { userPicker } from "./people.js";
import { empty } from "./problem.js";
import { sourceName } from "./sources.js";
import { tile } from "./tile.js";

export function twoLists(told, params) {
	const models = [...new Set(told.metrics.map((row) => row.model))];
	const best = models.find((model) => model !== told.chosen) || models[0];
	const state = { user: params.get("user") || "", a: params.get("a") || told.chosen, b: params.get("b") || best };
	const box = el("div");
	const pick = (side) => {
		const choice = el(
			"select",
			{ class: "field", "aria-label": t(`measure.model.${side}`), onchange: () => change({ [side]: choice.value }) },
			models.map((model) => el("option", { value: model }, sourceName(model))),
		);
		choice.value = state[side];
		return choice;
	};
	const change = (patch) => {
		Object.assign(state, patch);
		for (const [name, value] of Object.entries(patch)) params.set(name, value);
		remember(patch);
		run();
	};
	const run = () => {
		if (!state.user) {
			fill(box, empty(t("measure.lists.start"), t("measure.lists.start.hint")));
			return;
		}
		load(box, {
			work: () => get("/api/measure/lists", { user: state.user, models: `${state.a},${state.b}`, k: 10, release: told.release }),
			draw: (found) => draw(box, found, state),
			bones: [5],
			keep: true,
		});
	};
	run();
	const choices = el(
		"div",
		{ class: "panel-body row" },
		userPicker({ value: state.user, choose: (user) => change({ user }) }),
		el("div", {}, pick("a")),
		el("div", {}, pick("b")),
	);
	return panel(t("measure.lists"), null, choices, box);
}

function draw(box, found, state) {
	const ids = (model) => new Set((found.lists[model] || []).map((item) => item.id));
	const shared = new Set([...ids(state.a)].filter((id) => ids(state.b).has(id)));
	if (!found.lists[state.a]?.length && !found.lists[state.b]?.length) {
		fill(box, empty(t("measure.lists.none"), t("measure.lists.none.hint")));
		return;
	}
	fill(
		box,
		shared.size > 0 && el("p", { class: "muted small list-note" }, t("measure.lists.shared", { n: shared.size })),
		el(
			"div",
			{ class: "halves", css: { gap: "0" } },
			[state.a, state.b].map((model) => column(model, found.lists[model] || [], state.a === state.b ? new Set() : shared)),
		),
	);
}

function column(model, items, shared) {
	return el(
		"div",
		{},
		el("h3", { css: { padding: "0 16px" } }, sourceName(model)),
		items.length
			? el(
					"ol",
					{ class: "plain-list" },
					items.map((item, i) =>
						el(
							"li",
							{ class: shared.has(item.id) ? "shared" : "" },
							el("span", { class: "rank" }, i + 1),
							tile(item, "little"),
							el("a", { class: "grow", dir: "auto", href: link("catalogue", [item.id]) }, item.title || item.id),
							el("span", { class: "muted small numbers" }, number(item.score, 3)),
						),
					),
				)
			: empty(t("measure.lists.none"), t("measure.lists.none.hint")),
	);
}
