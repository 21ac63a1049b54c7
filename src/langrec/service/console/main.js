// Starts the console: words, frame, and the page that the address names; each page's code loads when first opened.

import { get, onKeyNeeded, weather } from "./core/api.js";
import { el, fill } from "./core/dom.js";
import { listen } from "./core/keys.js";
import { PATIENCE } from "./core/load.js";
import { here } from "./core/place.js";
import { loadWords, t } from "./core/words.js";
import { skeleton } from "./parts/bones.js";
import { frame, glance, showRelease } from "./parts/frame.js";
import { askForKey } from "./parts/dialog.js";
import { showKeys } from "./parts/help.js";
import { empty, problem } from "./parts/problem.js";

const PAGES = ["recommend", "search", "catalogue", "measure", "releases", "health"];
const EVERY = 30000; // a look at which release is in use
const main = document.getElementById("main");
let open = null; // {name, page}: page.show(place) draws, page.close() ends timers

async function show({ focus = true } = {}) {
	const place = here();
	frame(PAGES, place.page, restart);
	if (open?.name !== place.page) {
		open?.page.close?.();
		open = null;
		if (!PAGES.includes(place.page)) {
			fill(main, empty(t("page.unknown"), t("page.unknown.hint"), el("a", { class: "button", href: "#/recommend" }, t("nav.recommend"))));
			return;
		}
		const waiting = setTimeout(() => fill(main, skeleton()), PATIENCE); // not the page before, whose buttons end nowhere
		try {
			const module = await import(`./pages/${place.page}.js`).finally(() => clearTimeout(waiting));
			if (here().page !== place.page) return;
			open = { name: place.page, page: module.page(fill(main)) };
		} catch (error) {
			// Where nobody answers this says so, and `weather` waits for somebody; a browser may not fetch a failed module twice.
			const cause = await get("/api/health/live").then(
				() => error,
				(none) => none,
			);
			if (here().page === place.page) fill(main, problem(cause, () => (cause === error ? location.reload() : show())));
			return;
		}
	}
	document.title = `${t(`nav.${place.page}`)} · langrec`;
	open.page.show(place);
	if (focus) main.focus({ preventScroll: true });
}

/** Draws everything anew, in another language or after the server came back. */
function restart() {
	open?.page.close?.();
	open = null;
	document.getElementById("skip").textContent = t("skip");
	show({ focus: false });
	showRelease();
}

function banner(down) {
	const box = document.getElementById("banner");
	box.hidden = !down;
	box.textContent = down ? t("banner.down") : "";
}

// A server may go away between the page and its words: both languages say so until it is back.
while (!(await loadWords().then(() => true, () => false))) {
	fill(main, empty("The server does not answer. Trying again…", "服务器没有响应，正在重试……"));
	await new Promise((go) => setTimeout(go, 2000));
}
onKeyNeeded(askForKey);
listen(showKeys);
weather.addEventListener("down", () => banner(true));
weather.addEventListener("up", () => {
	banner(false);
	const field = document.activeElement;
	if (!open && PAGES.includes(here().page)) location.reload();
	// Whoever types, or has a window open, is not disturbed: what failed asks again by itself.
	else if (document.querySelector("dialog[open]") || (main.contains(field) && field.matches("input, textarea, select"))) showRelease();
	else restart();
});
weather.addEventListener("other", () => {
	if (document.querySelector("dialog[open]")) return void showRelease(); // a form that was refused is sent again by hand
	restart();
	main.focus({ preventScroll: true });
});
window.addEventListener("hashchange", () => {
	window.scrollTo(0, 0);
	show();
});
// Another release may be promoted while a page stays open.
const look = () => document.hidden || glance();
setInterval(look, EVERY);
document.addEventListener("visibilitychange", look);
document.getElementById("skip").addEventListener("click", (event) => {
	event.preventDefault();
	main.focus();
});
restart();
