// Builds elements; text always becomes a text node, so data can never become markup.

const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "open", "selected", "indeterminate", "tabIndex"]);

/** An element with attributes, listeners (`onclick`), `data`, `css` and children; null and false children are left out. */
export function el(name, props = {}, ...children) {
	const node = document.createElement(name);
	if (name === "button" && !props.type) node.type = "button"; // not a form's submit unless it says so
	const late = [];
	for (const [key, value] of Object.entries(props)) {
		if (value === undefined || value === null) continue;
		if (PROPERTIES.has(key)) late.push([key, value]);
		else if (value === false) continue;
		else if (key === "class") node.className = value;
		else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
		else if (key === "data") Object.assign(node.dataset, value);
		else if (key === "css") for (const [name_, text] of Object.entries(value)) node.style.setProperty(name_, text);
		else node.setAttribute(key, value === true ? "" : String(value));
	}
	fill(node, ...children);
	for (const [key, value] of late) node[key] = value; // after the children: a select's value needs its options
	return node;
}

/** Replaces what a node holds. */
export function fill(node, ...children) {
	node.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
	return node;
}

let made = 0;

/** An id that no other element has, for labels and aria references. */
export function freshId(stem) {
	made += 1;
	return `${stem}-${made}`;
}

/** The last call within `ms` wins. */
export function calm(work, ms = 200) {
	let timer = 0;
	return (...args) => {
		clearTimeout(timer);
		timer = setTimeout(() => work(...args), ms);
	};
}

/** A text whose signs all stand for themselves in a regular expression. */
export const literal = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
