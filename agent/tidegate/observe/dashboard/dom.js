// Building and updating the page. Values become text nodes and attributes here and nowhere else, so none can become
// markup; the page's Content-Security-Policy (trusted types) makes the browser refuse every other way.

const SVG = "http://www.w3.org/2000/svg";

/** An element: el("td.num", {title: "x"}, "text", child). null, undefined and false children are left out. */
export function el(kind, attributes = {}, ...children) {
  const [tag, ...classes] = kind.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  return fill(node, attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined) node.setAttribute(name, String(value));
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : String(child));
  }
  return node;
}

function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Replace what is in place only if it differs: an untouched part keeps selection, focus and scroll position. */
export function show(place, ...children) {
  const next = [...el("div", {}, ...children).childNodes];
  const same = next.length === place.childNodes.length && next.every((node, i) => node.isEqualNode(place.childNodes[i]));
  if (!same) place.replaceChildren(...next);
}

/**
 * A table that is updated row by row. columns: [title, class?]; rows: {key, cells, kind?} with cells as text or nodes.
 * Only cells that differ are touched.
 */
export function table(place, columns, rows, empty) {
  let body = place.querySelector("tbody");
  if (!rows.length) return show(place, el("p.empty", {}, empty));
  if (!body) {
    body = el("tbody");
    const head = columns.map(([title, kind]) => el(kind ? `th.${kind}` : "th", { scope: "col" }, title));
    place.replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, head)), body));
  }
  const known = new Map([...body.children].map((row) => [row.dataset.key, row]));
  let at = body.firstElementChild;
  for (const { key, cells, kind } of rows) {
    const row = known.get(key) ?? el("tr", { "data-key": key });
    known.delete(key);
    if ((kind ?? "") !== row.className) row.className = kind ?? "";
    cells.forEach((cell, i) => {
      const [title, style] = columns[i];
      if (!row.children[i]) row.append(el(style ? `td.${style}` : "td", { "data-label": title }));
      setCell(row.children[i], cell);
    });
    if (row === at) at = at.nextElementSibling;
    else body.insertBefore(row, at);
  }
  for (const row of known.values()) row.remove();
}

function setCell(cell, value) {
  if (value instanceof Node || Array.isArray(value)) return show(cell, value);
  const text = value === null || value === undefined ? "–" : String(value);
  if (cell.textContent !== text || cell.firstElementChild) cell.textContent = text;
}

/** A line over the last `span` seconds; points are [seconds before now, value or null]. */
export function sparkline(points, { width = 120, height = 24, span = 180, label = "" } = {}) {
  const known = points.filter(([, value]) => value !== null);
  const top = 1.15 * Math.max(...known.map(([, value]) => value), 0);
  const x = (at) => Math.round((width * (span + at)) / span * 10) / 10;
  const y = (value) => Math.round((height - 2 - (top ? value / top : 0) * (height - 4)) * 10) / 10;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "spark", preserveAspectRatio: "none",
    role: "img", "aria-label": label || "" },
    svg("path", { d: `M0,${height - 2} H${width}`, class: "base" }));
  const parts = [];
  let part = [];
  for (const [at, value] of points) {
    if (value === null) { parts.push(part); part = []; } else part.push([x(at), y(value)]);
  }
  parts.push(part);
  for (const line of parts.filter((one) => one.length > 1)) {
    const path = line.map((point) => point.join(",")).join(" L");
    const base = `${line.at(-1)[0]},${height} L${line[0][0]},${height}`;
    picture.append(svg("path", { d: `M${path} L${base} Z`, class: "area" }), svg("path", { d: `M${path}`, class: "line" }));
  }
  return picture;
}

/** The share of each response class as one bar; the numbers stand beside it as text. */
export function classBar(classes, pick) {
  const shares = Object.entries(classes).map(([name, value]) => [name, pick(value) ?? 0]);
  const total = shares.reduce((sum, [, n]) => sum + n, 0);
  const bar = svg("svg", { viewBox: "0 0 100 6", class: "classes", preserveAspectRatio: "none", "aria-hidden": "true" });
  let at = 0;
  for (const [name, n] of shares) {
    const width = total ? (100 * n) / total : 0;
    if (width) bar.append(svg("rect", { x: at, y: 0, width, height: 6, class: `c${name}` }));
    at += width;
  }
  return bar;
}

// --- numbers for people

/** Three figures at most below 1000, whole numbers above, grouped. */
export function number(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  if (value >= 1e6) return scaled(value, 1000, ["", " k", " M", " G", " T"]);
  if (value >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString("en").replaceAll(",", " ");
  return value >= 10 ? value.toFixed(1) : value >= 0.01 ? value.toFixed(2) : "<0.01";
}

export function bytes(value) {
  return value === null || value === undefined ? "–" : scaled(value, 1024, [" B", " KiB", " MiB", " GiB", " TiB"]);
}

function scaled(value, step, units) {
  let unit = 0;
  while (value >= step && unit < units.length - 1) { value /= step; unit += 1; }
  return (unit && value < 100 ? value.toFixed(1) : String(Math.round(value))) + units[unit];
}

export function duration(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

export function milliseconds(value) {
  return value === undefined ? "–" : value < 1 ? "<1" : value < 10 ? value.toFixed(1) : String(Math.round(value));
}
