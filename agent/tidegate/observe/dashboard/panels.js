// One function per section: figures in, section up to date. Nothing here asks the agent or remembers anything.

import { bytes, classBar, duration, el, milliseconds, number, show, sparkline, table } from "./dom.js";

const LIMIT = 200; // rows of one table; the filter finds the others

const by = (id) => document.getElementById(id);
const rate = (counted, unit) => (counted.rate === null ? "–" : `${number(counted.rate)}${unit}`);
const place = (origin) => (origin.file ? `${origin.file}:${origin.line}` : "");
const clock = (at) => new Date(at * 1000).toLocaleTimeString([], { hour12: false });
const muted = (text) => el("span.soft", {}, text);

/** FQDN:port without what every service of the cluster has in common. */
export const short = (name) => name.replace(/^([^.]+\.[^.]+)\.svc\.[^:]*/, "$1");

/** The same without the default namespace; the full name stays as the title. */
function service(name) {
  if (!name) return muted("no service");
  return el("span", { title: name }, short(name).replace(".default:", ":"));
}

function pod(name) {
  const [namespace, rest] = name.split("/");
  return el("span", { title: name }, namespace === "default" ? rest : name);
}

function tier(name) {
  return el(`span.tier.${name}`, {}, name === "fastpath" ? "fast path" : name === "envoy" ? "Envoy" : name);
}

function cut(rows, place, columns, filter, empty) {
  const wanted = filter ? rows.filter((row) => row.text.toLowerCase().includes(filter)) : rows;
  const shown = wanted.slice(0, LIMIT).map((row) => ({ ...row, cells: row.cells() }));
  if (wanted.length > LIMIT) {
    const rest = `${wanted.length - LIMIT} more; filter to see them`;
    shown.push({ key: "\u0000more", kind: "more", cells: columns.map((_, i) => (i ? "" : muted(rest))) });
  }
  table(place, columns, shown, filter && rows.length ? `Nothing here matches “${filter}”.` : empty);
}

export function header(figures) {
  const { status } = figures;
  document.title = `${status.healthy ? "" : "⚠ "}${status.node} · tidegate`;
  show(by("node"), status.node);
  const pill = by("health");
  pill.className = `pill ${status.healthy ? "good" : "bad"}`;
  show(pill, status.healthy ? "healthy" : "unhealthy");
  show(by("fresh"), `${clock(figures.at)} · revision ${status.applied.revision} · generation ${status.applied.generation}`);
}

export function attention({ status, verdicts, envoy_silent: silent }) {
  const items = [];
  const add = (kind, what, text, where) =>
    items.push(el(`li.${kind}`, {}, el("b", {}, what), el("span", {}, text), where ? el("code", {}, where) : null));
  for (const reason of status.unhealthy) {
    const program = status[reason.split(" is ")[0]];
    const exit = program?.last_exit ? `; ${number(program.restarts)} restarts, last exit ${program.last_exit}` : "";
    add("error", "unhealthy", reason + exit);
  }
  for (const p of status.config.problems) {
    const subject = `${p.kind} ${p.namespace ? `${p.namespace}/` : ""}${p.name} ${p.path}`.trim();
    add(p.severity, p.severity, `${subject}: ${p.message}`, `${p.file}:${p.line}`);
  }
  for (const nack of status.envoy.xds.nacks) {
    const from = nack.origins.map((o) => `${o.kind} ${o.namespace}/${o.name}`).join(", ");
    add("error", `refused by ${nack.by}`, `${nack.name}: ${nack.detail}${from ? ` (from ${from})` : ""}`,
      nack.origins.map(place).filter(Boolean).join(" "));
  }
  for (const [name, applier] of Object.entries(status.appliers)) {
    if (name === "envoy" && status.envoy.xds.nacks.length) continue; // told above, with more
    for (const f of applier.failures) add("error", name, `${f.item}: ${f.reason}`, f.origins.join(" "));
  }
  for (const p of status.pods) {
    if (p.state === "failed") add("error", `pod ${p.namespace}/${p.name}`, p.reason);
  }
  if (silent && status.envoy.state === "running") add("warning", "Envoy’s counters", silent);
  for (const v of verdicts) {
    if (v.trouble && v.rate) add("warning", "verdict", `${v.reason}: ${number(v.rate)} per second now`);
  }
  show(by("attention"), items.length ? el("ul", {}, items) : el("p.calm", {}, "Nothing needs attention."));
}

export function tiles({ totals, series, envoy_silent: silent, status }) {
  const tile = (title, value, unit, points, note, kind) =>
    el(kind ? `div.tile.${kind}` : "div.tile", {},
      el("h3", {}, title),
      el("p", {}, el("b", {}, value), ` ${unit}`),
      sparkline(points, { width: 200, height: 36, label: `${title}, the last three minutes` }),
      muted(note));
  const failing = totals.requests.rate ? (100 * totals.errors.rate) / totals.requests.rate : 0;
  const http = silent ? `Envoy is ${status.envoy.state}` : `${number(totals.requests.total)} since Envoy started`;
  show(by("tiles"),
    tile("Live connections", number(totals.live), "captured", series.live, "rows of the kernel’s flow table"),
    tile("New connections", number(totals.connections.rate), "/s", series.connections,
      `${number(totals.connections.total)} redirected by the kernel`),
    tile("HTTP requests", number(totals.requests.rate), "/s", series.requests, http),
    tile("Server errors", number(totals.errors.rate), "5xx /s", series.errors,
      failing ? `${number(failing)} % of answers` : silent ? http : `${number(totals.errors.total)} since Envoy started`,
      totals.errors.rate ? "bad" : ""),
    tile("Fast path", bytes(totals.bytes.rate), "/s", series.bytes, `${bytes(totals.bytes.total)} relayed by this agent`));
}

const answers = (classes) => {
  const parts = Object.entries(classes).filter(([, c]) => c.total);
  if (!parts.length) return "–";
  const text = parts.map(([name, c]) => el(`span.t${name}`, { title: `${number(c.total)} so far` }, `${name} ${number(c.rate)}`));
  return el("span.answers", {}, classBar(classes, (c) => c.rate || 0), el("span.codes", {}, text));
};

export function traffic({ traffic: pairs }, filter) {
  const columns = [["Client pod"], ["Service"], ["Tier"], ["Live", "num"], ["Now", "num"], ["Total", "num"],
    ["Answers per second / bytes", "wide"]];
  const rows = pairs.map((p) => ({
    key: `${p.netns_cookie} ${p.service} ${p.tier}`,
    text: `${p.pod} ${p.service} ${p.tier}`,
    cells: () => [
      pod(p.pod), service(p.service), tier(p.tier), number(p.live),
      rate(p.requests ?? p.ended, p.requests ? " req/s" : " conn/s"), number((p.requests ?? p.ended).total),
      p.requests ? answers(p.requests.classes)
        : `${rate(p.bytes, "") === "–" ? "–" : `${bytes(p.bytes.rate)}/s`}; ${bytes(p.bytes.to_server)} sent, ${bytes(p.bytes.to_client)} received`
          + (p.ended.failed ? `; ${number(p.ended.failed)} failed` : ""),
    ],
  }));
  cut(rows, by("traffic-table"), columns, filter, "No captured connection yet.");
}

function notes(cluster) {
  const { healthy, endpoints, retries, timeouts } = cluster;
  return [healthy === endpoints ? `${endpoints} endpoint${endpoints === 1 ? "" : "s"}` : `${healthy} of ${endpoints} endpoints healthy`,
    retries ? `${number(retries)} retries` : "", timeouts ? `${number(timeouts)} timeouts` : ""].filter(Boolean).join(", ");
}

export function http({ http: services, envoy_silent: silent }, filter) {
  const columns = [["Service or cluster"], ["Now", "num"], ["Answers per second", "wide"], ["Active", "num"],
    ["p50 ms", "num"], ["p95 ms", "num"], ["p99 ms", "num"], ["Total", "num"], ["Notes"]];
  if (!services) return show(by("http-table"), el("p.empty", {}, `Envoy’s counters are not to be had: ${silent}.`));
  const rows = [];
  for (const s of services) {
    const latency = (l) => [milliseconds(l.p50), milliseconds(l.p95), milliseconds(l.p99)];
    const whole = s.clusters.length === 1 && !s.clusters[0].subset;
    const flow = s.bytes.rate === null ? "" : `${bytes(s.bytes.rate)}/s`;
    rows.push({
      key: s.service, text: s.service, kind: "group",
      cells: () => [service(s.service), rate(s, " /s"), answers(s.classes), number(s.active), ...latency(s.latency_ms),
        number(s.total), [flow, whole ? notes(s.clusters[0]) : ""].filter(Boolean).join(", ")],
    });
    if (whole) continue;
    const sum = s.clusters.reduce((all, one) => all + (one.rate ?? 0), 0);
    for (const c of s.clusters) {
      const share = sum && s.clusters.length > 1 ? `${Math.round((100 * c.rate) / sum)} %` : "";
      rows.push({
        key: `${s.service} ${c.subset}`, text: `${s.service} ${c.subset}`, kind: "sub",
        cells: () => [c.subset ? `subset ${c.subset}` : "all endpoints", rate(c, " /s"), answers(c.classes),
          number(c.active), ...latency(c.latency_ms), number(c.total), [share, notes(c)].filter(Boolean).join(", ")],
      });
    }
  }
  cut(rows, by("http-table"), columns, filter, "No HTTP request yet.");
}

export function pods({ pods: list }, filter) {
  const columns = [["Pod"], ["State"], ["Why"], ["Addresses", "mono"], ["Fast path", "num"], ["Envoy", "num"], ["Guard"],
    ["Netns cookie", "num"]];
  const ports = (a, b) => [a || "–", b || "–"].join(" / ");
  const rows = [...list].sort((a, b) => `${a.namespace}/${a.name}`.localeCompare(`${b.namespace}/${b.name}`)).map((p) => ({
    key: `${p.namespace}/${p.name} ${p.netns_cookie}`,
    text: `${p.namespace}/${p.name} ${p.state} ${p.reason} ${p.ips.join(" ")}`,
    cells: () => [
      pod(`${p.namespace}/${p.name}`), el(`span.state.${p.state}`, {}, p.state), p.reason, p.ips.join(" "),
      p.kernel ? ports(p.kernel.fastpath4, p.kernel.fastpath6) : "–",
      p.kernel ? ports(p.kernel.envoy4, p.kernel.envoy6) : "–",
      p.kernel ? (p.kernel.guarded ? "on" : el("span.state.failed", {}, "MISSING")) : "–", p.netns_cookie,
    ],
  }));
  cut(rows, by("pods-table"), columns, filter, "No pod on this node yet.");
}

export function services(list, filter) {
  const groups = new Map();
  for (const row of list) {
    const key = `${row.service} ${row.port} ${row.tier}`;
    if (!groups.has(key)) groups.set(key, { ...row, key, addresses: [] });
    groups.get(key).addresses.push(row.address);
  }
  const columns = [["Service"], ["Tier"], ["Port", "num"], ["Addresses", "mono"], ["Endpoints", "mono"]];
  const rows = [...groups.values()]
    .sort((a, b) => (a.service === "") - (b.service === "") || a.key.localeCompare(b.key))
    .map((s) => ({
      key: s.key,
      text: `${s.service} ${s.tier} ${s.port} ${s.addresses.join(" ")}`,
      cells: () => [s.service ? service(s.service) : muted(`${number(s.addresses.length)} pod addresses`), tier(s.tier), s.port || "any",
        s.addresses.slice(0, 40).join(" ") + (s.addresses.length > 40 ? ` and ${number(s.addresses.length - 40)} more` : ""), s.endpoints.length ? s.endpoints.join(" ") : muted(s.tier === "envoy" ? "chosen by Envoy" : "the pod itself")],
    }));
  cut(rows, by("services-table"), columns, filter, "The kernel has no destination.");
}

export function verdicts({ verdicts: list }, filter) {
  const seen = list.filter((v) => v.total).sort((a, b) => b.total - a.total);
  const columns = [["Reason", "mono"], ["Last three minutes", "chart"], ["Now", "num"], ["Total", "num"]];
  const rows = seen.map((v) => ({
    key: v.reason, text: v.reason, kind: v.trouble ? "trouble" : "",
    cells: () => [v.reason, sparkline(v.series, { width: 160, height: 20, label: `${v.reason}, the last three minutes` }),
      rate(v, " /s"), number(v.total)],
  }));
  cut(rows, by("verdicts-table"), columns, filter, "No verdict yet.");
  const never = list.filter((v) => !v.total).map((v) => v.reason);
  show(by("verdicts-never"), never.length ? `Never so far: ${never.join(", ")}.` : "");
}

export function node({ status, envoy, fastpath, totals }) {
  const { agent, kernel } = status;
  const list = (title, ...pairs) => el("div", {}, el("h3", {}, title),
    el("dl", {}, pairs.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])));
  const before = { none: "none before", stopped: "the one before was stopped", killed: "the one before was killed",
    failed: "the one before failed" };
  const ended = Object.entries(fastpath.closed).filter(([, n]) => n).map(([why, n]) => `${why} ${number(n)}`).join(", ");
  show(by("node-facts"),
    list("Agent", ["version", status.version], ["pid", agent.pid], ["up for", duration(agent.uptime_seconds)],
      ["start", `${agent.starts} here, ${before[agent.previous] ?? agent.previous}`],
      ["sources", status.sources.join(", ") || "none"], ["problems", status.config.problems.length]),
    list("In force", ["revision", status.applied.revision],
      ...Object.entries(status.appliers).map(([name, a]) => [name, `generation ${a.generation}${a.failures.length ? `, ${a.failures.length} failed` : ""}`])),
    list("Kernel", ["programs", kernel.adopted ? "adopted from the agent before" : "loaded by this agent"], ["pods", kernel.pods],
      ["destinations", number(kernel.destinations)], ["flows", number(totals.live)]),
    list("Envoy", ["state", `${status.envoy.state} since ${clock(status.envoy.since)}`], ["pid", status.envoy.pid || "–"],
      ["process", status.envoy.adopted ? "adopted from the agent before" : "started by this agent"],
      ["restarts", status.envoy.restarts + (status.envoy.last_exit ? `, last exit ${status.envoy.last_exit}` : "")],
      ["up for", envoy ? duration(envoy.uptime_seconds) : "–"], ["heap", envoy ? bytes(envoy.memory_bytes) : "–"],
      ["configuration", status.envoy.xds.connected
        ? `generation ${status.envoy.xds.applied} of ${status.envoy.xds.published} answered, ${status.envoy.xds.nacks.length} refused` : "not connected"]),
    list("Fast path", ["accepted", number(fastpath.accepted)], ["active", number(fastpath.active)],
      ["to servers", bytes(fastpath.bytes_to_server)], ["to clients", bytes(fastpath.bytes_to_client)],
      ["ended", ended || "none"], ["events lost", number(fastpath.events_lost)]));
}

/** What `tidegate explain` answers, for people. */
export function explanation(e) {
  const list = (...pairs) => el("dl", {}, pairs.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  const action = Object.entries(e.action).map(([name, value]) => [name, typeof value === "object" ? JSON.stringify(value) : value]);
  const rule = e.rule ? [["rule", [`${e.rule.kind} ${e.rule.namespace}/${e.rule.name}`
    + (e.rule.index === null ? "" : `, http[${e.rule.index}]`), " ", el("code", {}, place(e.rule))]]] : [];
  return el("div.answer", {},
    el("h3", {}, el(`span.state.${e.verdict === "deny" ? "failed" : "enrolled"}`, {}, e.verdict), ` ${e.reason}`),
    list(
      ["from", e.source], ["to", `${e.host}:${e.port}${e.address && e.address !== e.host ? ` (${e.address})` : ""}`],
      ["tier", tier(e.tier)], ...rule, ...action,
      ...e.destinations.map((d) => ["destination", `${d.percent} % ${d.host}:${d.port}${d.subset ? ` subset ${d.subset}` : ""}`]),
      ...e.endpoints.map((p) => ["endpoint", `${p.address.includes(":") ? `[${p.address}]` : p.address}:${p.port} ${p.pod} ${p.subset}`.trim()]),
      ...e.policies.map((p) => ["policy", [`${p.kind} ${p.namespace}/${p.name} `, el("code", {}, place(p))]]), ["tls", e.tls]),
    el("h4", {}, "How it came about"),
    el("ol", {}, e.hops.map((hop) => el("li", {}, el("b", {}, hop.step), " ", hop.result))));
}
