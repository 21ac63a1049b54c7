// Recommend: pick someone, see what they did, what langrec shows them and why; act, and watch the list move.

import { address, get, post, remove } from "../core/api.js";
import { el, fill } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { load } from "../core/load.js";
import { here, link, remember } from "../core/place.js";
import { say, toast } from "../core/say.js";
import { t } from "../core/words.js";
import { listControls } from "../parts/asked.js";
import { card } from "../parts/card.js";
import { categoryChoice } from "../parts/categories.js";
import { dialog } from "../parts/dialog.js";
import { explanation } from "../parts/explain.js";
import { compare, glide, stands, tell } from "../parts/move.js";
import { pageHead } from "../parts/panel.js";
import { itemPicker, userPicker } from "../parts/people.js";
import { empty, problem, report } from "../parts/problem.js";
import { legend, longestBar } from "../parts/sources.js";
import { starters } from "../parts/starters.js";
import { timeline } from "../parts/timeline.js";

const SHOWN = 50; // history events in view
const VISITOR = "langrec.visitor";

export function page(root) {
	const whoBox = el("div", { class: "who" });
	const newBox = el("div"); // what to ask of someone new
	const historyBox = el("div", { class: "foldable" });
	const historyHead = el("div", { class: "panel-head" });
	const historyPanel = el("section", { class: "panel folded", "aria-label": t("history.title") }, historyHead, historyBox); // folded where it stands above the list
	const listBox = el("div");
	const listHead = el("div", { class: "panel-head" });
	let state = read(here());
	let answer = null; // the list in view
	let events = []; // the history in view

	fill(
		root,
		pageHead("recommend"),
		whoBox,
		newBox,
		el("div", { class: "two" }, historyPanel, el("section", { class: "panel", "aria-label": t("recommend.list") }, listHead, listBox)),
	);

	async function show(place) {
		const before = state;
		state = read(place);
		drawWho();
		if (askedFor(before) !== askedFor(state)) {
			answer = null;
			fill(newBox);
		}
		await loadHistory(); // first: what was hidden must not count in the list
		if (!answer) await loadList();
		if (state.why && !document.querySelector("dialog[open]")) explain(answer?.items.find((item) => item.id === state.why) || { id: state.why });
	}

	function drawWho() {
		const picker = userPicker({ search: true, value: state.newcomer ? "" : state.user, choose: (user) => meet(user) });
		fill(
			whoBox,
			picker,
			el(
				"button",
				{ class: "button", "aria-pressed": String(state.newcomer), onclick: () => meet(newVisitor()) },
				icon("person"),
				t("recommend.new_visitor"),
			),
			el("button", { class: "button", onclick: surprise }, icon("dice"), t("recommend.surprise")),
		);
	}

	function meet(user) {
		location.hash = link("recommend", [], { user, category: state.category });
	}

	async function surprise() {
		try {
			const digit = String(1 + Math.floor(Math.random() * 9));
			let some = await get("/api/users/suggest", { q: digit, n: 50 });
			if (!some.length) some = await get("/api/users/suggest", { q: "", n: 50 });
			if (some.length) meet(some[Math.floor(Math.random() * some.length)].id);
			else toast(t("recommend.no_users"));
		} catch (error) {
			fill(listBox, problem(error, surprise));
		}
	}

	// History

	const loadHistory = () =>
		load(historyBox, {
			work: () =>
				state.user
					? get(address("user", state.user, "history"), { n: SHOWN }).catch((error) => (error.status === 404 ? [] : Promise.reject(error)))
					: [],
			draw: drawHistory,
			bones: [6],
			keep: true,
		});

	function drawHistory(found) {
		events = found;
		drawStarters();
		const off = new Set(state.without);
		fill(
			historyHead,
			el("h2", {}, t("history.title")),
			el("span", { class: "chip numbers" }, events.length >= SHOWN ? t("history.newest", { n: SHOWN }) : t("events", { n: events.length })),
			off.size > 0 && el("button", { class: "link end", data: { allOn: "" }, onclick: () => whatIf([]) }, t("history.all_on")),
			foldButton(),
		);
		const adder = itemPicker({ label: t("history.add"), choose: (id, title) => act("click", { id, title }) });
		const adding = historyBox.querySelector(".picker")?.contains(document.activeElement); // and perhaps one more
		fill(
			historyBox,
			el("div", { class: "panel-body", css: { "padding-bottom": "0" } }, adder),
			events.length
				? timeline(events, off, (id, on) => whatIf(on ? state.without.filter((one) => one !== id) : [...state.without, id]))
				: empty(t("history.empty"), t("history.empty.hint")),
		);
		if (adding) adder.field.focus({ preventScroll: true });
	}

	// Someone without a history is asked what they like; what they say counts at once, and is kept when they say so.
	function drawStarters() {
		if (events.length) return void fill(newBox);
		if (newBox.childElementCount) return;
		const { likes, wish, category } = state;
		const tell = (change) => {
			Object.assign(state, change);
			remember({ like: state.likes, wish: state.wish });
			loadList({ told: t("starters.told") });
		};
		fill(newBox, starters({ likes, wish, category, tell, keep }));
	}

	async function keep(items) {
		const user = named();
		const at = new Date().toISOString();
		try {
			await post(
				"/api/feedback",
				items.map((item) => ({ FeedbackType: "like", UserId: user, ItemId: item.id, Timestamp: at, Value: 1 })),
			);
		} catch (error) {
			report(newBox, error);
			return;
		}
		Object.assign(state, { likes: [], wish: "" });
		remember({ like: [], wish: "" });
		await refresh(t("starters.kept", { n: items.length }));
		listBox.querySelector("[data-row]")?.focus();
	}

	function foldButton() {
		const open = !historyPanel.classList.contains("folded");
		return el(
			"button",
			{
				class: "link end narrow-only",
				"aria-expanded": String(open),
				onclick: () => {
					historyPanel.classList.toggle("folded");
					const fresh = foldButton();
					historyHead.lastElementChild.replaceWith(fresh);
					fresh.focus();
				},
			},
			t(open ? "fold" : "unfold"),
		);
	}

	async function whatIf(without) {
		state.without = without;
		remember({ without });
		const button = historyHead.querySelector("[data-all-on]");
		if (!without.length || !button) {
			const focused = document.activeElement?.closest?.("li")?.dataset.id;
			drawHistory(events);
			historyBox.querySelector(`li[data-id="${CSS.escape(focused || "")}"] .switch`)?.focus();
		}
		await loadList({ told: t(without.length ? "history.left_out" : "history.back", { n: without.length }) });
	}

	// List

	// What is switched off, and what was hidden: a hidden item must not speak for others like it.
	function leftOut() {
		const hidden = events.filter((event) => event.type === "hide").map((event) => event.id);
		return [...new Set([...state.without, ...hidden])];
	}

	// What someone new says of themselves; nothing once they have a history.
	function said() {
		const fresh = !events.length;
		return { history: fresh && state.likes.length ? state.likes : undefined, text: (fresh && state.wish) || undefined };
	}

	function ask() {
		return post("/api/recommend", {
			user: state.user || undefined,
			...said(),
			k: state.k,
			explore: state.explore === "" ? undefined : Number(state.explore),
			probability: state.chance || undefined,
			filters: state.category ? { categories: [state.category] } : undefined,
			without: leftOut(),
			explain: true,
		});
	}

	const loadList = ({ told = null } = {}) =>
		load(listBox, { work: ask, draw: (found) => drawList(found, told), bones: [state.k, "tall"], keep: told !== null });

	function drawList(found, told) {
		const before = answer && told !== null ? answer.items.map((item) => item.id) : null;
		const old = listBox.querySelector("ol");
		const stood = before && old ? stands(old) : new Map();
		const focusAt = old ? [...old.children].findIndex((row) => row.contains(document.activeElement)) : -1;
		const focusId = focusAt >= 0 ? old.children[focusAt].dataset.id : null;
		answer = found;
		drawListHead();
		if (!found.items.length) {
			fill(
				listBox,
				empty(
					t("recommend.empty"),
					t("recommend.empty.hint"),
					state.category && el("button", { class: "button", onclick: () => pickCategory("") }, t("category.all")),
				),
			);
			return;
		}
		const moves = before
			? compare(
					before,
					found.items.map((item) => item.id),
				)
			: null;
		const longest = longestBar(found.items);
		const drawn = new Set(found.trace.explored || []);
		const list = el(
			"ol",
			{ class: "list" },
			found.items.map((item, i) => card(item, i + 1, { longest, step: moves?.steps.get(item.id), drawn: drawn.has(item.id), act, open: explain })),
		);
		fill(listBox, list, more(found));
		if (moves) {
			glide(list, stood);
			say(`${told} ${tell(moves)}`);
			for (const note of listHead.querySelectorAll("[data-moves]")) note.textContent = tell(moves);
		}
		if (focusAt >= 0) {
			const row = list.querySelector(`[data-id="${CSS.escape(focusId)}"]`) || list.children[Math.min(focusAt, list.children.length - 1)];
			row.querySelector("[data-row]").focus({ preventScroll: true });
		}
	}

	function drawListHead() {
		fill(
			listHead,
			el("h2", {}, t("recommend.list")),
			el("span", { class: "muted small", data: { moves: "" } }, t(`answer.${answer.trace.reason}`)),
			el("span", { class: "end" }, categoryChoice({ value: state.category, choose: pickCategory })),
			el("div", { class: "under" }, legend(answer.items), listControls({ explore: state.explore, chance: state.chance, change: askOtherwise })),
		);
	}

	async function pickCategory(category) {
		state.category = category;
		answer = null;
		remember({ category }, { step: true });
		await loadList();
		if (document.activeElement === document.body) listHead.querySelector(".end select")?.focus(); // it was drawn anew
	}

	async function askOtherwise(change) {
		Object.assign(state, change);
		remember({ explore: state.explore, chance: state.chance ? "1" : "" });
		await loadList({ told: t("asked.told") });
		listHead.querySelector("chance" in change ? "[data-chance]" : ".asked select")?.focus();
	}

	function more(found) {
		return (
			found.items.length >= state.k &&
			state.k < 50 &&
			el(
				"div",
				{ class: "pager" },
				el(
					"button",
					{
						class: "button",
						onclick: async () => {
							state.k = Math.min(50, state.k + 10);
							remember({ k: state.k });
							await loadList({ told: "" });
							listBox.querySelectorAll("[data-row]")[found.items.length]?.focus({ preventScroll: true });
						},
					},
					t("more"),
				),
			)
		);
	}

	// Actions

	async function act(type, item) {
		const title = item.title || item.id;
		const user = named();
		try {
			await post("/api/feedback", [{ FeedbackType: type, UserId: user, ItemId: item.id, Timestamp: new Date().toISOString(), Value: 1 }]);
		} catch (error) {
			report(listBox, error);
			return;
		}
		toast(t(`act.${type}.done`, { title }), { label: t("undo"), run: () => undo(type, user, item.id, title) });
		await refresh(t(`act.${type}.done`, { title }));
	}

	function named() {
		if (!state.user) {
			state.user = newVisitor();
			state.newcomer = true;
			remember({ user: state.user });
		}
		return state.user;
	}

	async function undo(type, user, id, title) {
		try {
			await remove(address("feedback", type, user, id));
		} catch (error) {
			report(listBox, error);
			return;
		}
		if (user === state.user) await refresh(t("act.undone", { title }));
	}

	async function refresh(told) {
		await loadHistory();
		await loadList({ told });
	}

	// Explanation

	async function explain(item) {
		remember({ why: item.id });
		const box = el("div");
		const shown = dialog(item.title || item.id, () => box, { drawer: true });
		load(box, {
			work: () => get(address("explain", state.user || newVisitor(), item.id), { ...said(), category: state.category, without: leftOut() }),
			draw: (told) => {
				box.closest("dialog").querySelector("h2 span").textContent = told.title || item.title || item.id; // a deep link knows the id only
				fill(box, explanation(told, item, answer?.trace));
			},
			bones: [6, ""],
		});
		await shown;
		if (here().page === "recommend") remember({ why: "" });
		listBox.querySelector(`[data-id="${CSS.escape(item.id)}"] [data-row]`)?.focus();
	}

	return { show };
}

/** What of a state decides the list. */
function askedFor({ newcomer, why, ...rest }) {
	return JSON.stringify(rest);
}

function read(place) {
	const user = place.params.get("user") || "";
	const visitor = sessionStorage.getItem(VISITOR);
	return {
		user,
		newcomer: !user || user === visitor,
		category: place.params.get("category") || "",
		without: place.params.getAll("without"),
		k: Math.min(100, Math.max(1, Math.floor(Number(place.params.get("k"))) || 10)),
		likes: place.params.getAll("like"),
		wish: place.params.get("wish") || "",
		explore: place.params.get("explore") || "",
		chance: place.params.get("chance") === "1",
		why: place.params.get("why") || "",
	};
}

// A visitor needs a name of their own for what they do to be kept.
function newVisitor() {
	const name = `visitor-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`;
	sessionStorage.setItem(VISITOR, name);
	return name;
}
