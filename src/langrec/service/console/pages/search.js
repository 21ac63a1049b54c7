// Search: one field; what was understood as chips; matched words marked; sliders from words to meaning and from everyone to one user.

import { get } from "../core/api.js";
import { calm, el, fill, literal } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { load, show as showNow } from "../core/load.js";
import { here, remember } from "../core/place.js";
import { say } from "../core/say.js";
import { number, t } from "../core/words.js";
import { categoryChoice } from "../parts/categories.js";
import { hit } from "../parts/hit.js";
import { pageHead } from "../parts/panel.js";
import { userPicker } from "../parts/people.js";
import { empty } from "../parts/problem.js";
import { slider } from "../parts/slider.js";
import { longestBar } from "../parts/sources.js";

const STEP = 20;

export function page(root) {
	const field = el("input", {
		class: "field",
		type: "search",
		dir: "auto",
		placeholder: t("search.placeholder"),
		"aria-label": t("nav.search"),
		autocomplete: "off",
		spellcheck: "false",
		enterkeyhint: "search",
		data: { search: "" },
	});
	const controls = el("div", { class: "controls" });
	const found = el("div", { class: "found" });
	const results = el("section", { class: "panel", "aria-label": t("search.results") });
	let state = {};
	let told = null; // the newest answer
	let cursor = null;

	const form = el(
		"form",
		{
			class: "search-box",
			role: "search",
			onsubmit: (event) => {
				event.preventDefault();
				change({ q: field.value.trim() });
			},
		},
		icon("search"),
		field,
	);
	fill(root, pageHead("search"), form, controls, found, results);
	field.addEventListener(
		"input",
		calm(() => change({ q: field.value.trim() }), 220),
	);

	function show(place) {
		state = read(place);
		field.value = state.q;
		drawControls();
		run();
	}

	function change(patch) {
		const before = JSON.stringify(state);
		state = { ...state, ...patch };
		if (JSON.stringify(state) === before) return;
		remember({
			q: state.q,
			category: state.category,
			where: state.where,
			user: state.user,
			meaning: state.meaning === 0.5 ? "" : state.meaning,
			personal: state.personal || "",
		});
		run();
	}

	function drawControls() {
		const category = categoryChoice({
			none: t("category.add"),
			choose: (name) => {
				category.value = "";
				if (name) change({ category: [...new Set([...state.category, name])] });
			},
		});
		const person = userPicker({
			value: state.user,
			label: t("search.for_user"),
			choose: (user) => {
				change({ user, personal: state.personal || 0.5 });
				const fresh = forWhom(person); // the field that was typed in stays, with the focus
				whom.replaceWith(fresh);
				whom = fresh;
			},
		});
		let whom = forWhom(person);
		fill(
			controls,
			slider({
				name: t("search.meaning"),
				from: t("search.words"),
				to: t("search.meaning"),
				value: state.meaning,
				change: (meaning) => change({ meaning }),
			}),
			whom,
			person,
			el("div", { class: "label" }, category),
		);
	}

	function forEveryone() {
		change({ user: "", personal: 0 });
		drawControls();
	}

	function forWhom(person) {
		return slider({
			name: t("search.personal"),
			from: t("search.everyone"),
			to: state.user ? t("search.user", { user: state.user }) : t("search.this_user"),
			value: state.personal,
			change: (personal) => {
				change({ personal });
				if (!state.user && personal > 0) person.field.focus();
			},
		});
	}

	function ask(next = null) {
		return get("/api/search", {
			q: state.q,
			k: STEP,
			cursor: next,
			meaning: state.meaning,
			user: state.user,
			personal: state.user ? state.personal : "",
			category: state.category,
			where: state.where,
		});
	}

	function run() {
		if (!state.q) {
			told = null;
			fill(found);
			showNow(results, empty(t("search.start"), t("search.start.hint")));
			return;
		}
		drawFound(told); // what is asked stands there at once, and can be taken away where the API refuses it
		load(results, { work: () => ask(), draw, bones: [6], keep: true });
	}

	function draw(answer) {
		told = answer;
		cursor = answer.cursor;
		drawFound(answer);
		if (!answer.items.length) {
			fill(
				results,
				empty(
					t("search.none"),
					t("search.none.hint"),
					state.category.length + state.where.length > 0 &&
						el("button", { class: "button", onclick: () => change({ category: [], where: [] }) }, t("search.no_filters")),
				),
			);
			say(t("search.none"));
			return;
		}
		const list = el("ol", { class: "list" }, rows(answer));
		fill(results, list, pager(list));
		say(t("search.count", { n: answer.total }));
	}

	function rows(answer) {
		const longest = longestBar(answer.items);
		return answer.items.map((item) => hit(item, longest));
	}

	function pager(list) {
		if (!cursor) return null;
		const button = el(
			"button",
			{
				class: "button",
				onclick: async () => {
					button.disabled = true;
					const holder = el("div");
					list.after(holder);
					await load(holder, {
						work: () => ask(cursor),
						bones: [3],
						draw: (answer) => {
							cursor = answer.cursor;
							const fresh = rows(answer);
							list.append(...fresh);
							fresh[0]?.querySelector("[data-row]").focus({ preventScroll: true });
							holder.remove();
							box.replaceWith(pager(list) || "");
						},
					});
					button.disabled = false;
				},
			},
			t("more"),
		);
		const box = el("div", { class: "pager" }, button);
		return box;
	}

	function drawFound(answer) {
		const words = answer?.understood?.words || [];
		fill(
			found,
			answer && el("span", { class: "numbers" }, t("search.count", { n: answer.total }), " · ", `${number(answer.ms)} ms`),
			el(
				"span",
				{ class: "chips" },
				words.map((word) => chip(word, "", () => change({ q: without(state.q, word) }))),
				state.category.map((name) => chip(name, "accent", () => change({ category: state.category.filter((one) => one !== name) }))),
				(answer?.understood?.categories || [])
					.filter((name) => !state.category.includes(name))
					.map((name) => chip(name, "accent", () => change({ q: without(state.q, name) }))),
				state.user && chip(t("search.user", { user: state.user }), "accent", forEveryone),
				state.where.map((one) => chip(one.replace(/:/g, " "), "accent", () => change({ where: state.where.filter((other) => other !== one) }))),
			),
		);
	}

	function chip(text, kind, drop) {
		return el(
			"button",
			{
				class: `chip ${kind}`,
				"aria-label": t("search.drop", { text }),
				onclick: () => {
					drop();
					field.value = state.q;
					field.focus();
				},
			},
			text,
			icon("close"),
		);
	}

	return { show };
}

function read(place = here()) {
	const { params } = place;
	const share = (name, usual) => (params.has(name) ? Math.min(1, Math.max(0, Number(params.get(name)) || 0)) : usual);
	return {
		q: params.get("q") || "",
		category: params.getAll("category"),
		where: params.getAll("where"),
		user: params.get("user") || "",
		meaning: share("meaning", 0.5),
		personal: share("personal", 0),
	};
}

/** The query without one understood word, in whatever form it was typed. */
const without = (q, word) => q.replace(new RegExp(`\\s*(?<![\\p{L}\\p{M}\\p{N}])${literal(word)}(?![\\p{L}\\p{M}\\p{N}])`, "iu"), "").trim();
