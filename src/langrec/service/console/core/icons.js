// Line icons on a 20-unit grid, drawn from paths so that no file is fetched.

const PATHS = {
	star: "M10 3l2.1 4.6 5 .6-3.7 3.4 1 4.9L10 14l-4.4 2.5 1-4.9L2.9 8.2l5-.6z",
	search: "M9 3a6 6 0 1 1 0 12A6 6 0 0 1 9 3zM13.5 13.5 17 17",
	catalogue: "M3 4h14v12H3zM3 8h14M8 8v8",
	measure: "M3 17h14M5 14V9M10 14V4M15 14v-3",
	releases: "M10 3l7 3.5-7 3.5-7-3.5zM3 10l7 3.5 7-3.5M3 13.5 10 17l7-3.5",
	health: "M2 10h4l2-5 4 10 2-5h4",
	click: "M6 3l10 6-4.4 1.2L9 15z",
	like: "M10 16.5S3 12.4 3 7.6A3.6 3.6 0 0 1 10 6a3.6 3.6 0 0 1 7 1.6c0 4.8-7 8.9-7 8.9z",
	hide: "M3 3l14 14M8 5.2A8 8 0 0 1 18 10a10 10 0 0 1-2 2.6M12.5 14.6A8 8 0 0 1 2 10a10 10 0 0 1 3.2-3.5",
	close: "M5 5l10 10M15 5 5 15",
	copy: "M7 7h9v9H7zM4 13V4h9",
	sun: "M10 6.5a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7zM10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.3 4.3l1.1 1.1M14.6 14.6l1.1 1.1M4.3 15.7l1.1-1.1M14.6 5.4l1.1-1.1",
	moon: "M16.5 12A7 7 0 0 1 8 3.5a7 7 0 1 0 8.5 8.5z",
	system: "M3 4h14v9H3zM7 16h6",
	keys: "M3 6h14v9H3zM6 9h.01M9 9h.01M12 9h.01M14.5 9h.01M7 12h6",
	plus: "M10 4v12M4 10h12",
	dice: "M4 4h12v12H4zM7.5 7.5h.01M12.5 12.5h.01M12.5 7.5h.01M7.5 12.5h.01",
	person: "M10 3a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7zM3.5 17a6.5 6.5 0 0 1 13 0",
	back: "M12 4l-6 6 6 6",
	undo: "M4 8h8a4.5 4.5 0 0 1 0 9H8M7 5 4 8l3 3",
};

/** A decorative icon: hidden from assistive technology, coloured by the text around it. */
export function icon(name) {
	const space = "http://www.w3.org/2000/svg";
	const svg = document.createElementNS(space, "svg");
	const path = document.createElementNS(space, "path");
	svg.setAttribute("viewBox", "0 0 20 20");
	svg.setAttribute("class", "icon");
	svg.setAttribute("aria-hidden", "true");
	path.setAttribute("d", PATHS[name]);
	svg.append(path);
	return svg;
}
