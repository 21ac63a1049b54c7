// An item's picture, or a tile in its own colour with the title's initials: never a broken image.

import { idColour } from "../core/colours.js";
import { el } from "../core/dom.js";

export function tile(item, size = "") {
	const box = el("span", { class: `tile ${size}`, "aria-hidden": "true", css: { background: idColour(item.id) } }, initials(item.title || item.id));
	const address = ownAddress(item.image);
	if (address) {
		const picture = el("img", {
			src: address,
			alt: "",
			loading: "lazy",
			onload: () => box.replaceChildren(picture),
			onerror: () => picture.remove(),
		});
		picture.loading = "eager"; // it is outside the document until it has loaded, where a lazy picture would never load
	}
	return box;
}

/** Up to two letters: of the first two words, or the first sign of a script without spaces. */
function initials(title) {
	const words = title.replace(/\(.*?\)/g, " ").match(/[\p{L}\p{N}]+/gu) || ["?"];
	const first = [...words[0]][0];
	const second = words.length > 1 && /\p{Script=Latin}|\p{N}/u.test(first) ? [...words[1]][0] : "";
	return (first + second).toUpperCase();
}

// Only pictures of this server: another origin would learn who looks at what.
function ownAddress(image) {
	if (!image || typeof image !== "string") return "";
	if (!image.startsWith("/") || image.startsWith("//")) return "";
	return image;
}
