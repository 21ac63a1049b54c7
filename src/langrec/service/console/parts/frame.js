// The navigation and the top line: release in use, language, look, keys.

import { peek, weather } from "../core/api.js";
import { el, fill } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { look, nextLook } from "../core/looks.js";
import { link } from "../core/place.js";
import { say, toast } from "../core/say.js";
import { ago, language, speak, t } from "../core/words.js";
import { showKeys } from "./help.js";

const ICONS = { recommend: "star", search: "search", catalogue: "catalogue", measure: "measure", releases: "releases", health: "health" };
let shown = null; // what the top line says: {stamp, madeAt, problem}
const release = el("a", { class: "release", href: link("releases") });

/** Draws both for the page in view; `restart` draws the page anew in another language. */
export function frame(pages, current, restart) {
	const nav = document.getElementById("nav");
	nav.setAttribute("aria-label", t("nav.label"));
	fill(
		nav,
		el("a", { class: "brand", href: link("recommend") }, el("img", { src: "/console/icon.svg", alt: "" }), "langrec"),
		el(
			"ul",
			{},
			pages.map((page) =>
				el(
					"li",
					{},
					el("a", { href: link(page), "aria-current": page === current ? "page" : undefined }, icon(ICONS[page]), el("span", {}, t(`nav.${page}`))),
				),
			),
		),
	);
	const top = document.getElementById("top");
	if (top.dataset.language === language) return;
	top.dataset.language = language;
	fill(
		top,
		release,
		languages(restart),
		lookButton(),
		el("button", { class: "icon-button", "aria-label": t("keys.title"), title: `${t("keys.title")} (?)`, onclick: showKeys }, icon("keys")),
	);
}

/** Asks which release is in use and shows it. */
export async function showRelease() {
	try {
		const now = await peek("/api/release");
		shown = { stamp: now.stamp, madeAt: Date.now() - 1000 * (now.age_seconds ?? NaN), problem: shown?.problem };
		fill(
			release,
			el("span", { class: `dot ${now.problem ? "bad" : ""}`, "aria-hidden": "true" }),
			el("span", { class: "unseen" }, t("release.in_use")),
			el("span", { class: "stamp" }, now.stamp),
			el("span", { class: "age" }, ago(now.age_seconds)),
			now.problem && el("span", { class: "chip bad" }, t("release.problem")),
		);
	} catch (error) {
		shown = null;
		fill(release); // the page below says what is wrong; the top line stays quiet
		if (error.status === 401) weather.addEventListener("key", showRelease, { once: true });
	}
}

/** Looks, at little cost to the server, whether another release is in use by now or was refused; else only time has passed. */
export async function glance() {
	const now = await peek("/api/health/live").catch(() => null);
	if (!now?.Release || !shown) return;
	const same = now.Release === shown.stamp && now.Problem === shown.problem;
	shown.problem = now.Problem;
	if (same) release.querySelector(".age").textContent = ago((Date.now() - shown.madeAt) / 1000);
	else await showRelease();
}

function languages(restart) {
	const change = async (name) => {
		try {
			await speak(name);
		} catch (error) {
			toast(error.code === "no_answer" ? t("problem.no_answer") : error.message);
			return;
		}
		restart();
		document.querySelector("button[data-language]").focus(); // the button of the other language
	};
	const other = language === "en" ? { name: "zh", text: "中文", tag: "zh-Hans" } : { name: "en", text: "English", tag: "en" };
	return el("button", { class: "icon-button text", lang: other.tag, data: { language: other.name }, onclick: () => change(other.name) }, other.text);
}

function lookButton() {
	const button = el("button", {
		class: "icon-button",
		onclick: () => {
			draw(nextLook());
			say(t(`look.${look()}`));
		},
	});
	const draw = (now) => {
		fill(button, icon({ system: "system", light: "sun", dark: "moon" }[now]));
		button.setAttribute("aria-label", t(`look.${now}`));
		button.title = t(`look.${now}`);
	};
	draw(look());
	return button;
}
