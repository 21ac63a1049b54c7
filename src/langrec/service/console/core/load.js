// Waits for an answer in view: a skeleton after 150 ms, the API's error with a way to try again, or the result.

import { weather } from "./api.js";
import { fill } from "./dom.js";
import { skeleton } from "../parts/bones.js";
import { problem } from "../parts/problem.js";

export const PATIENCE = 150;

/**
 * Runs `work`, then `draw` with its value; until then the box stays as it is, or holds grey lines (`bones`: how many, of which kind).
 * With `keep`, a long wait only dims the box (a list that is about to change its order).
 */
export async function load(box, { work, draw, bones, keep = false }) {
	const turn = Symbol("turn");
	box.turn = turn; // a later load of the same box wins
	const timer = setTimeout(() => {
		if (box.turn !== turn) return;
		box.setAttribute("aria-busy", "true");
		if (keep && box.childElementCount) box.classList.add("dim");
		else fill(box, skeleton(...bones));
	}, PATIENCE);
	const done = () => {
		clearTimeout(timer);
		if (box.turn !== turn) return false;
		rest(box);
		return true;
	};
	try {
		const value = await work();
		if (done()) draw(value);
	} catch (error) {
		if (error.name === "AbortError") return void done();
		const again = () => load(box, { work, draw, bones, keep });
		if (done()) {
			fill(box, problem(error, again));
			// One key is asked for once: what else it kept from being shown comes along; as does what nobody answered.
			const event = error.status === 401 ? "key" : error.code === "no_answer" && "up";
			if (event) weather.addEventListener(event, () => box.isConnected && box.turn === turn && again(), { once: true });
		}
		if (!("requestId" in error)) throw error; // a fault of this console, for its log
	}
}

/** Shows something in a box at once: what it was waiting for is not drawn any more. */
export function show(box, ...children) {
	box.turn = null;
	rest(box);
	fill(box, ...children);
}

function rest(box) {
	box.removeAttribute("aria-busy");
	box.classList.remove("dim");
}
