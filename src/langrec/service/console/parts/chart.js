// A chart by plotly, which is loaded from this server when the first chart is seen, under the strict content policy.

import { el, fill } from "../core/dom.js";
import { colour, looks, still } from "../core/looks.js";
import { t } from "../core/words.js";

let loading = null;

/**
 * A box that draws itself when seen, and again when the colours change.
 * `make()` gives {traces, layout} with colours taken at that moment; `label` says what is seen.
 */
export function chart(label, make, kind = "") {
	const box = el("div", { class: `chart ${kind}`, role: "img", "aria-label": label });
	const bone = el("div", { class: "bone chart", "aria-hidden": "true" });
	box.append(bone);
	const draw = async () => {
		try {
			const plotly = await library();
			if (!box.isConnected) return;
			const { traces, layout } = make();
			bone.remove();
			await plotly.react(box, traces, frame(layout), { displayModeBar: false, responsive: true, showTips: false });
		} catch {
			fill(box, el("p", { class: "muted" }, t("chart.failed")));
		}
	};
	const eye = new IntersectionObserver(
		(seen) => {
			if (!seen.some((one) => one.isIntersecting)) return;
			eye.disconnect();
			draw();
		},
		{ rootMargin: "200px" },
	);
	eye.observe(box);
	const again = () => {
		if (!box.isConnected) looks.removeEventListener("change", again);
		else if (box.querySelector("svg")) draw();
	};
	looks.addEventListener("change", again);
	box.redraw = again;
	return box;
}

/** Plotly's global; its script is fetched once. */
function library() {
	loading ??= new Promise((resolve, reject) => {
		// Plotly would write style elements, which the content policy refuses; css/parts.css holds the few rules that matter.
		document.head.append(el("meta", { id: "plotly.js-style-global", class: "no-inline-styles" }));
		const head = document.head;
		head.appendChild = (node) => (node instanceof HTMLStyleElement ? node : Node.prototype.appendChild.call(head, node));
		const script = el("script", { src: "/console/plotly.js" });
		script.addEventListener("load", () => {
			delete head.appendChild;
			resolve(window.Plotly);
		});
		script.addEventListener("error", () => {
			delete head.appendChild;
			loading = null;
			script.remove();
			reject(new Error("plotly.js"));
		});
		head.append(script);
	});
	return loading;
}

function frame(layout = {}) {
	const axis = {
		gridcolor: colour("--line"),
		zerolinecolor: colour("--line"),
		linecolor: colour("--line"),
		tickcolor: colour("--line"),
		automargin: true,
		fixedrange: true,
	};
	return {
		autosize: true,
		margin: { l: 8, r: 16, t: 8, b: 8 },
		paper_bgcolor: "rgba(0,0,0,0)",
		plot_bgcolor: "rgba(0,0,0,0)",
		font: { family: "system-ui, sans-serif", size: 12, color: colour("--muted") },
		showlegend: false,
		dragmode: false,
		hoverlabel: { bgcolor: colour("--raised"), bordercolor: colour("--line"), font: { color: colour("--text") } },
		transition: { duration: still() ? 0 : 200 },
		...layout,
		xaxis: { ...axis, ...layout.xaxis },
		yaxis: { ...axis, ...layout.yaxis },
	};
}
