// Releases: what is served, what was before, what changed between them, and the way back.

import { get, otherKey, post } from "../core/api.js";
import { el, fill } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { load } from "../core/load.js";
import { link } from "../core/place.js";
import { say, toast } from "../core/say.js";
import { bytes, date, number, since, t } from "../core/words.js";
import { acts } from "../parts/audit.js";
import { confirm } from "../parts/dialog.js";
import { showRelease } from "../parts/frame.js";
import { pageHead } from "../parts/panel.js";
import { empty, report } from "../parts/problem.js";

export function page(root) {
	const body = el("div", { class: "stack" });
	fill(root, pageHead("releases", "releases.text"), body);

	function show() {
		return load(body, { work: seen, draw, bones: [3, "tall"] });
	}

	async function seen() {
		const [all, now] = await Promise.all([get("/api/releases"), get("/api/release")]);
		return [all, now, await acts(now.console_role)];
	}

	function draw([all, now, done]) {
		if (!all.length) {
			fill(body, empty(t("releases.empty"), t("releases.empty.hint")));
			return;
		}
		const wholeBefore = (i) => all.slice(i + 1).find((other) => other.ok);
		fill(
			body,
			now.problem && refused(now.problem),
			all.length > 1 && !mayAsk(now) && needsAdmin(),
			el(
				"ol",
				{ class: "stack" },
				all.map((one, i) => card(one, one.ok && wholeBefore(i), now, back)),
			),
			done,
		);
	}

	async function back(one, now, place) {
		const sure = await confirm(
			t("releases.back.title", { stamp: one.stamp }),
			[t("releases.back.what", { stamp: one.stamp, now: now.stamp }), t("releases.back.events"), t("releases.back.undo")],
			t("releases.back"),
		);
		if (!sure) return;
		try {
			await post("/api/releases/rollback", { stamp: one.stamp });
			const note = t("releases.back.done", { stamp: one.stamp });
			toast(note);
			say(note);
			showRelease();
			await show();
			body.querySelector(".chip.good")?.closest("li").querySelector("a").focus(); // the button is gone
		} catch (error) {
			report(place, error);
		}
	}

	return { show };
}

function card(one, before, now, back) {
	const may = mayAsk(now);
	const main = headline(one);
	const box = el("li", { class: "panel release-card", data: { stamp: one.stamp } });
	fill(
		box,
		el(
			"div",
			{ class: "head" },
			icon("releases"),
			el("h2", { class: "mono" }, one.stamp),
			one.current && el("span", { class: "chip good" }, t("releases.current")),
			!one.ok && el("span", { class: "chip bad" }, t("releases.damaged")),
			el(
				"span",
				{ class: "end row" },
				el("a", { class: "button", href: link("measure", [], { release: one.current ? "" : one.stamp }) }, t("nav.measure")),
				!one.current &&
					one.ok &&
					el(
						"button",
						{ class: "button", disabled: !may, title: may ? undefined : t("releases.admin"), onclick: () => back(one, now, box) },
						icon("undo"),
						t("releases.back"),
					),
			),
		),
		one.problem && el("p", { class: "small", css: { color: "var(--bad)" } }, one.problem),
		one.kept && el("p", { class: "small muted" }, t("releases.kept", { reason: one.kept })),
		el(
			"dl",
			{},
			pair(t("releases.made"), one.made_at ? `${date(one.made_at)} (${since(one.made_at)})` : "–"),
			main && pair(main.name, number(main.value, 4)),
			pair(t("releases.users"), number(one.data?.n_users)),
			pair(t("releases.items"), number(one.data?.n_items)),
			pair(t("releases.events"), number(one.data?.n_events)),
			pair(t("releases.size"), bytes(one.size_bytes)),
		),
		before && changes(one, before),
	);
	return box;
}

// What a key with scopes may do it is told when it asks.
const mayAsk = (now) => ["admin", "scopes"].includes(now.console_role);

function needsAdmin() {
	return el("p", { class: "muted small" }, t("releases.back_admin"), " ", el("button", { class: "link", data: { otherKey: "" }, onclick: otherKey }, t("key.other")));
}

/** Why the server goes on with another release than the one it was told to serve. */
function refused(why) {
	return el("div", { class: "problem", role: "status" }, el("strong", {}, t("releases.refused")), el("p", {}, why));
}

const pair = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));

/** The first metric of the served model on the whole test. */
function headline(one) {
	const all = (one.metrics || []).filter((row) => row.slice === "all");
	const row = all.find((found) => found.model === "mix" && found.metric === "ndcg@10") || all.find((found) => found.metric === "ndcg@10") || all[0];
	return row ? { name: `${row.metric}, ${row.model}`, value: row.value } : null;
}

function changes(one, before) {
	const steps = [];
	for (const name of ["users", "items", "events"]) {
		const by = (one.data?.[`n_${name}`] ?? 0) - (before.data?.[`n_${name}`] ?? 0);
		if (by) steps.push(`${t(`releases.${name}`)} ${signed(by, 0)}`);
	}
	const [now, was] = [headline(one), headline(before)];
	if (now && was && now.name === was.name) steps.push(`${now.name} ${signed(now.value - was.value, 4)}`);
	const size = (one.size_bytes ?? 0) - (before.size_bytes ?? 0);
	if (size) steps.push(`${t("releases.size")} ${size < 0 ? "−" : "+"}${bytes(Math.abs(size))}`);
	return el(
		"div",
		{ class: "row" },
		el("span", { class: "muted small" }, t("releases.changed", { stamp: before.stamp })),
		steps.length ? steps.map((step) => el("span", { class: "chip numbers" }, step)) : el("span", { class: "chip" }, t("releases.same")),
	);
}

const signed = (value, digits) => `${value < 0 ? "−" : "+"}${number(Math.abs(value), digits)}`;
