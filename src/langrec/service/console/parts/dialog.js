// Windows above the page: the browser's own dialog keeps the focus inside and closes on Escape.

import { el, freshId } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { t } from "../core/words.js";

/** Opens a dialog; `build(close)` gives its content. Resolves with what `close` was called with, null otherwise. */
export function dialog(title, build, { drawer = false } = {}) {
	return new Promise((resolve) => {
		let result = null;
		const name = freshId("dialog");
		const box = el("dialog", { class: drawer ? "drawer" : "", "aria-labelledby": name, data: { modal: "" } });
		const close = (value = null) => {
			result = value;
			box.close();
		};
		box.append(
			el(
				"div",
				{ class: "dialog-head" },
				el("h2", { id: name }, el("span", { class: "three-lines", dir: "auto" }, title)),
				el("button", { class: "icon-button", "aria-label": t("close"), onclick: () => close() }, icon("close")),
			),
			el("div", { class: "dialog-body" }, build(close)),
		);
		const done = () => {
			window.removeEventListener("popstate", left);
			box.remove();
			resolve(result);
		};
		// A drawer is a place of its own, so that Back closes it and not the page.
		const left = () => history.state?.drawer !== name && (box.open ? close() : done());
		box.addEventListener("close", () => (history.state?.drawer === name ? history.back() : done()));
		// A press inside that ends outside, as where text is marked, is no click beside the window.
		let pressed = null;
		box.addEventListener("pointerdown", (event) => (pressed = event.target));
		box.addEventListener("click", (event) => event.target === box && pressed === box && close());
		window.addEventListener("hashchange", () => box.isConnected && close(), { once: true });
		document.body.append(box);
		box.showModal();
		if (drawer) {
			history.pushState({ drawer: name }, "", location.href);
			window.addEventListener("popstate", left);
		}
	});
}

/** Asks before something that changes what others see; resolves with true or false. */
export async function confirm(title, lines, action) {
	const sure = await dialog(title, (close) => [
		lines.map((line) => el("p", {}, line)),
		el(
			"div",
			{ class: "dialog-foot" },
			el("button", { class: "button", onclick: () => close(false) }, t("cancel")),
			el("button", { class: "button danger", onclick: () => close(true) }, action),
		),
	]);
	return sure === true;
}

/** Asks for the API key; resolves with the key or null. */
export function askForKey(refused) {
	return dialog(t("key.title"), (close) => {
		const field = el("input", { class: "field", type: "password", autocomplete: "off", required: true, name: "key" });
		return el(
			"form",
			{
				class: "form",
				onsubmit: (event) => {
					event.preventDefault();
					const key = field.value.trim();
					// A browser sends no other characters in a header: the call would fail as if nobody answered.
					field.setCustomValidity(/[^\x20-\xff]/.test(key) ? t("key.letters") : "");
					if (field.reportValidity()) close(key);
				},
				oninput: () => field.setCustomValidity(""),
			},
			el("p", {}, t(refused ? "key.refused" : "key.text")),
			el("label", { class: "label" }, t("key.label"), field),
			el("div", { class: "dialog-foot" }, el("button", { type: "submit", class: "button main-action" }, t("key.use"))),
		);
	});
}
