/* The page: one selection (scope, time, filters), one answer for each panel, one element for each value.

What the panels are and which questions they ask is data (#data, made by shared/page): so is, in a report, each
panel's answer. Otherwise the answers are fetched from beside the page. Nothing from a log is ever read as
markup: all text goes through textContent, and the Content-Security-Policy allows this script alone. */
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const report = data.report;
  const $ = (id) => document.getElementById(id);
  const SPANS = [["1h", "Last hour"], ["6h", "Last 6 hours"], ["24h", "Last 24 hours"], ["7d", "Last 7 days"], ["30d", "Last 30 days"]];
  const REFRESH = 5 * 60_000;
  const KEY = "flowtally-key";
  const SERVICES = { 20: "ftp", 21: "ftp", 22: "ssh", 23: "telnet", 25: "smtp", 53: "dns", 80: "http", 110: "pop3", 123: "ntp", 135: "rpc",
    139: "netbios", 143: "imap", 161: "snmp", 389: "ldap", 443: "https", 445: "smb", 587: "smtp", 636: "ldaps", 853: "dns", 993: "imaps",
    1433: "sql server", 1521: "oracle", 1883: "mqtt", 2049: "nfs", 2375: "docker", 3306: "mysql", 3389: "rdp", 5060: "sip", 5432: "postgres",
    5671: "amqp", 5900: "vnc", 5985: "winrm", 5986: "winrm", 6379: "redis", 6443: "kubernetes", 8080: "http", 8443: "https", 9200: "elasticsearch",
    11211: "memcached", 27017: "mongodb" };

  let selection = {};
  let scopes = [];
  let shared = [];  // notes that concern all tables alike
  let round = 0;

  /* Elements */

  function make(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (value === undefined || value === null || value === false) continue;
      if (name === "class") made.className = value;
      else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
    return made;
  }

  const fill = (parent, ...children) => parent.replaceChildren(...children.flat().filter(Boolean));

  /* Numbers and times */

  const whole = new Intl.NumberFormat("en");
  const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
  const percent = new Intl.NumberFormat("en", { style: "percent", maximumSignificantDigits: 2 });

  // As `human_bytes` in shared/views/formats.py writes them.
  function bytes(count) {
    if (count < 1000) return `${Math.round(count)} B`;
    const units = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let power = 0, tenth = 100;
    while (Math.round(count / tenth) >= 10_000 && power < units.length - 1) [power, tenth] = [power + 1, tenth * 1000];
    return `${(Math.round(count / tenth) / 10).toFixed(1)} ${units[power]}`;
  }

  function amount(count) { return count < 10_000 ? whole.format(count) : short.format(count); }

  function plural(count, one, many = `${one}s`) { return `${whole.format(count)} ${count === 1 ? one : many}`; }

  function when(text, seconds = false) {
    if (!text) return "";
    const iso = new Date(text).toISOString();
    return `${iso.slice(0, 10)} ${iso.slice(11, seconds ? 19 : 16)}`;
  }

  function day(text) {
    const iso = new Date(text).toISOString();
    return `${+iso.slice(8, 10)} ${MONTHS[+iso.slice(5, 7) - 1]} ${iso.slice(11, 16)}`;
  }

  function duration(seconds) {
    if (seconds < 90) return `${Math.round(seconds)} s`;
    if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
    if (seconds < 48 * 3600) return `${Math.round(seconds / 3600)} h`;
    return `${Math.round(seconds / 86400)} days`;
  }

  const SUMS = { Bytes: ["BytesSrcToDest", "BytesDestToSrc"], Flows: ["FlowsAllowed", "FlowsDenied"], Traffic: ["BytesSrcToDest", "BytesDestToSrc", "Tuples"] };
  const total = (of, name) => (name in SUMS ? SUMS[name].reduce((sum, each) => sum + of[each], 0) : of[name]);

  /* Asking */

  class Refused extends Error {
    constructor(status, problem) {
      super(problem.detail || problem.title || `the app answered ${status}`);
      this.status = status;
      this.parameter = problem.parameter;
    }
  }

  async function fetchJson(path, fresh) {
    const key = sessionStorage.getItem(KEY);
    let answer;
    try {
      answer = await fetch(path, { headers: key ? { "x-functions-key": key } : {}, cache: fresh ? "no-cache" : "default", credentials: "same-origin" });
    } catch {
      throw new Refused(0, { detail: "the function app can't be reached" });
    }
    if (answer.ok) return answer.json();
    throw new Refused(answer.status, await answer.json().catch(() => ({})));
  }

  function questionOf(panel) {
    return data.questions[selection.mac && panel.question === "traffic" ? data.interfaces : panel.question];
  }

  function hours() {
    const age = /^(\d+)([mhd])$/.exec(selection.since);
    const since = age ? Date.now() - age[1] * { m: 60e3, h: 3600e3, d: 86400e3 }[age[2]] : Date.parse(utc(selection.since));
    const until = selection.until ? Date.parse(utc(selection.until)) : Date.now();
    return (until - since) / 3600e3;
  }

  const utc = (text) => (/(Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}${text.includes("T") ? "" : "T00:00"}Z`);

  /* The scopes that are selected: each by its name or key, or a part of it, as the API finds them. */
  function selectedScopes() {
    const wanted = (selection.scope || "").toLowerCase();
    const names = (each) => [each.Scope, each.Name, each.ResourceId || ""].map((name) => name.toLowerCase());
    const exact = scopes.filter((each) => names(each).includes(wanted));
    return exact.length ? exact : scopes.filter((each) => names(each).some((name) => name.includes(wanted)));
  }

  /* NSG logs and VNet logs are never added up: the page is of one kind. VNet logs replace NSG logs. */
  function kind() {
    if (selection.kind) return selection.kind;
    const known = selectedScopes();
    return !known.length || known.some((each) => each.Kind === "vnet") ? "vnet" : "nsg";
  }

  /* An answer with the totals of its list beside the rows. */
  function withTotals(question, answer) {
    const nothing = Object.fromEntries(question.measures.map((name) => [name, 0]));
    const none = { total: nothing, shown: nothing, rest: nothing, before: nothing, unfiltered: null, missed: 0 };
    return { ...answer, ...(answer.lists.find((each) => each.kind === kind()) || none) };
  }

  function queryOf(panel, more) {
    const question = questionOf(panel);
    const query = new URLSearchParams();
    for (const name of data.selected) if (selection[name] && question.parameters.includes(name)) query.append(name, selection[name]);
    query.set("kind", kind());
    for (const [name, value] of Object.entries({ ...panel.parameters, ...more })) query.append(name, value);
    if (panel.by_time) {
      const fits = data.grains.filter((each) => question.grains.includes(each.grain));
      query.set("grain", (fits.find((each) => hours() <= each.hours) || fits.at(-1)).grain);
    }
    return query;
  }

  async function answerTo(panel, fresh, more) {
    const question = questionOf(panel);
    if (report) return withTotals(question, report.answers[panel.id]);
    const query = queryOf(panel, more);
    return { ...withTotals(question, await fetchJson(`show/${question.name}?${query}`, fresh)), grain: query.get("grain") };
  }

  /* Freshness and completeness */

  function fact(title, value, more, tone) {
    return make("div", { class: `fact ${tone || ""}` }, make("dt", {}, title), make("dd", { class: "value" }, value), more && make("dd", { class: "more" }, more));
  }

  function showFreshness(health, status) {
    const now = report ? Date.parse(report.made) : Date.now();
    const facts = [];
    const age = health.as_of ? (now - Date.parse(health.as_of)) / 1000 : 0;
    facts.push(health.as_of
      ? fact("Counted up to", when(health.as_of, true).slice(11) + " UTC", age < 86400 ? `${duration(Math.max(age, 0))} ago` : `${when(health.as_of).slice(0, 10)}, ${duration(age)} ago`, age < 3600 ? "good" : "bad")
      : fact("Counted up to", "nothing yet", health.why_empty, "bad"));
    if (status.failed) facts.push(fact("Unread", "unknown", status.failed, "bad"));
    else {
      const { Behind: behind, Blobs: blobs } = status.total;
      const late = status.rows.filter((row) => row.Behind).length;
      facts.push(behind
        ? fact("Unread, last 24 hours", bytes(behind), `in ${plural(late, "hour")} of ${plural(new Set(status.rows.filter((row) => row.Behind).map((row) => row.Scope)).size, "scope")}`, "bad")
        : fact("Unread, last 24 hours", "0 B", blobs ? `all ${plural(blobs, "blob")} read to the end` : "no blob in that time", "good"));
    }
    const rejected = health.total.Malformed, counted = health.total.Tuples;
    facts.push(fact("Tuples counted", amount(counted), plural(health.total.Blobs, "blob")));
    facts.push(fact("Rejected", amount(rejected), rejected ? `${percent.format(rejected / (rejected + counted))} of all tuples; flowtally rejects lists them` : "every tuple was well-formed", rejected ? "bad" : "good"));
    const garbled = health.total.GarbledBytes;
    if (garbled) facts.push(fact("Garbled", bytes(garbled), "bytes that are no record", "bad"));
    const lag = Math.max(...health.rows.map((row) => row.LagSeconds || 0), 0);
    facts.push(fact("Longest lag", health.rows.some((row) => row.LagSeconds !== null) ? duration(lag) : "–", "from a blob's last record to its count"));
    fill($("fresh-facts"), facts);
    showNotices(health, status.notices || []);
  }

  /* What flow logs leave out: those of the scopes that are shown. */
  function showNotices(health, notices) {
    const named = (scope) => scopes.find((each) => each.Scope === scope)?.Name || scope;
    const shown = notices.map((notice) => ({
      ...notice,
      names: notice.Scopes.filter((scope) => health.scopes.includes(scope)).map(named),
    })).filter((notice) => notice.names.length);
    const some = (names) => names.slice(0, 3).join(", ") + (names.length > 3 ? ` and ${whole.format(names.length - 3)} more` : "");
    const items = (some_of) => some_of.map((notice) => make("li", { class: notice.ToDo && "bad" }, `${some(notice.names)}: ${notice.Found}.`));
    const [leftOut, facts] = [shown.filter((notice) => notice.ToDo), shown.filter((notice) => !notice.ToDo)];
    const toDos = [...new Set(leftOut.map((notice) => notice.ToDo))];
    fill($("fresh-notes"), items(leftOut), toDos.map((text) => make("li", {}, sentence(text))), items(facts));
  }

  /* The large figures */

  function change(now, before) {
    if (!before) return "none in the time before";
    const ratio = now / before;
    if (Math.abs(ratio - 1) < 0.005) return "as in the time before";
    if (ratio >= 10) return `${whole.format(Math.round(ratio))} times that of the time before`;
    return `${ratio > 1 ? "+" : "−"}${percent.format(Math.abs(ratio - 1))} against the time before`;
  }

  function showTiles(summary, compared) {
    const allowed = total(summary.total, "FlowsAllowed"), denied = total(summary.total, "FlowsDenied");
    const begin = compared && Date.parse(compared.since) - (Date.parse(compared.until) - Date.parse(compared.since));
    const counted = compared && known(compared).length && known(compared).every((each) => Date.parse(each.FirstPeriod) <= begin);
    const against = (name) => (counted ? change(total(compared.total, name), total(compared.before, name)) : "the time before isn't counted");
    fill($("tiles"), [
      fact("Flows allowed", amount(allowed), against("FlowsAllowed")),
      fact("Flows denied", amount(denied), against("FlowsDenied")),
      fact("Denied, of all", allowed + denied ? percent.format(denied / (allowed + denied)) : "–", "of the flows that began"),
      fact("Bytes, both ways", bytes(total(summary.total, "Bytes")), against("Bytes")),
    ]);
  }

  /* Charts */

  const charts = [];
  const STEPS = { "5m": 300, hour: 3600, day: 86400 };

  /* The scopes that an answer is of. */
  const known = (answer) => scopes.filter((each) => answer.scopes.includes(each.Scope));

  function series(answer, grain, measure) {
    const step = STEPS[grain], found = new Map();
    for (const row of answer.rows) {
      const time = Date.parse(row.Period) / 1000;
      found.set(time, (found.get(time) || 0) + total(row, measure));
    }
    const first = Math.floor(Date.parse(answer.since) / 1000 / step) * step;
    const last = Math.min(Date.parse(answer.until), answer.as_of ? Date.parse(answer.as_of) : 0) / 1000;
    const begin = Math.min(...known(answer).map((each) => Date.parse(each.FirstPeriod))) / 1000;
    const times = [];
    for (let time = first; time < Date.parse(answer.until) / 1000; time += step) times.push(time);
    return [times, times.map((time) => found.get(time) ?? (time <= last && time + step > begin ? 0 : null))];
  }

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function showChart(figure, title, times, lines, grain, form) {
    const holder = figure.querySelector(".chart"), readout = figure.querySelector(".readout");
    const step = STEPS[grain];
    const describe = (place) => {
      const at = new Date(times[place] * 1000).toISOString();
      const values = lines.map((line) => `${line.name} ${line.values[place] === null ? "not counted yet" : form(line.values[place])}`);
      return `${at.slice(0, 10)}${step < 86400 ? ` ${at.slice(11, 16)}` : ""}: ${values.join(", ")}`;
    };
    const size = () => ({ width: Math.max(holder.clientWidth, 200), height: 190 });
    const options = () => ({
      ...size(),
      tzDate: (time) => uPlot.tzDate(new Date(time * 1e3), "Etc/UTC"),
      legend: { show: false },
      padding: [8, 22, 0, 0],
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
      scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.06 : 1] } },
      axes: [
        { stroke: color("--faint"), font: axisFont(), grid: { show: false }, ticks: { stroke: color("--line"), size: 5 }, values: axisTimes },
        { stroke: color("--faint"), font: axisFont(), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, size: 58, gap: 6, incrs: STEPS_OF_AXIS,
          values: (_, ticks) => ticks.map((tick) => (form === bytes ? bytes(tick).replace(".0 ", " ") : amount(tick))) },
      ],
      series: [{}, ...lines.map((line) => ({
        label: line.name, stroke: color(`--${line.tone}`), width: 2, dash: DASHES[line.tone],
        fill: line.tone === "allowed" ? color("--allowed-soft") : undefined, points: { show: times.length < 2 },
      }))],
      hooks: { setCursor: [(plot) => { readout.textContent = plot.cursor.idx === null || plot.cursor.idx === undefined ? figure.dataset.hint : describe(plot.cursor.idx); }] },
    });
    const sums = lines.map((line) => `${line.name} ${form(line.values.reduce((sum, value) => sum + (value || 0), 0))}, at most ${form(Math.max(...line.values.map((value) => value || 0)))}`);
    figure.dataset.hint = lines.map((line) => `${line.name}: ${form(line.values.reduce((sum, value) => sum + (value || 0), 0))} in all`).join(" · ");
    readout.textContent = figure.dataset.hint;
    holder.setAttribute("aria-label", `${title}, by ${grain === "5m" ? "5 minutes" : grain}: ${sums.join("; ")}. Arrow keys read the values.`);
    const entry = { holder };
    charts.push(entry);
    entry.draw = (width) => {
      entry.plot?.destroy();
      entry.plot = new uPlot({ ...options(), ...(width ? { width, height: 150 } : {}) }, [times, ...lines.map((line) => line.values)], holder);
    };
    entry.resize = () => entry.plot.setSize(size());
    entry.draw();
    let place = -1;
    holder.onkeydown = (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by || !times.length) return;
      event.preventDefault();
      place = place < 0 ? (by > 0 ? 0 : times.length - 1) : Math.min(Math.max(place + by, 0), times.length - 1);
      entry.plot.setCursor({ left: entry.plot.valToPos(times[place], "x"), top: 20 });
    };
    const table = figure.querySelector(".scroll");
    fill(table, make("table", {}, make("caption", { class: "fine" }, title),
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "UTC"), lines.map((line) => make("th", { scope: "col", class: "num" }, line.name)))),
      make("tbody", {}, times.map((time, at) => make("tr", {}, make("th", { scope: "row", class: "when" }, when(time * 1000)),
        lines.map((line) => make("td", { class: "num" }, line.values[at] === null ? "–" : form(line.values[at]))))))));
  }

  const axisFont = () => `12px ${getComputedStyle(document.body).fontFamily}`;
  const DASHES = { denied: [6, 4], other: [2, 3] };
  const STEPS_OF_AXIS = Array.from({ length: 19 }, (_, power) => [1, 2, 5].map((each) => each * 10 ** power)).flat();

  function axisTimes(plot, ticks, _, __, step) {
    let day = "";
    return ticks.map((tick) => {
      const iso = new Date(tick * 1000).toISOString(), date = `${+iso.slice(8, 10)} ${MONTHS[+iso.slice(5, 7) - 1]}`;
      if (step >= 86400) return date;
      const text = day === date || (day === "" && iso.slice(11, 16) !== "00:00") ? iso.slice(11, 16) : `${iso.slice(11, 16)}\n${date}`;
      day = date;
      return text;
    });
  }

  const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

  const CHARTS = [
    { title: "Inbound flows", lines: [["allowed", "series-inbound-allowed", "FlowsAllowed", "allowed"], ["denied", "series-inbound-denied", "FlowsDenied", "denied"]], form: amount },
    { title: "Outbound flows", lines: [["allowed", "series-outbound-allowed", "FlowsAllowed", "allowed"], ["denied", "series-outbound-denied", "FlowsDenied", "denied"]], form: amount },
    { title: "Bytes, both ways", lines: [["inbound flows", "series-inbound-allowed", "Bytes", "allowed"], ["outbound flows", "series-outbound-allowed", "Bytes", "other"]], form: bytes },
  ];

  function buildCharts() {
    fill($("charts"), CHARTS.map((chart, place) => make("figure", { class: "card", id: `chart-${place}`, "aria-busy": "true" },
      make("figcaption", {}, make("h3", {}, chart.title), make("div", { class: "legend" }, chart.lines.map(([name, , , tone]) => make("span", { class: tone }, name)))),
      make("div", { class: "chart", role: "img", tabindex: "0", "aria-label": chart.title }),
      make("p", { class: "readout", "aria-live": "polite" }),
      make("details", {}, make("summary", {}, "As a table"), make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${chart.title}, as a table` })))));
  }

  function showCharts(found) {
    CHARTS.forEach((chart, place) => {
      const figure = $(`chart-${place}`);
      figure.removeAttribute("aria-busy");
      const answers = chart.lines.map(([, id]) => found[id]);
      const failed = answers.find((each) => each instanceof Error);
      const holder = figure.querySelector(".chart"), drawn = charts.findIndex((each) => each.holder === holder);
      if (drawn >= 0) charts.splice(drawn, 1)[0].plot.destroy();
      if (failed) { fill(holder, make("p", { class: "failed" }, failed.message)); return; }
      const { grain } = answers[0];
      const lines = chart.lines.map(([name, id, measure, tone]) => ({ name, tone, values: series(found[id], grain, measure)[1] }));
      const times = series(answers[0], grain, "Tuples")[0];
      if (lines.every((line) => line.values.every((value) => value === null))) {
        figure.querySelector(".readout").textContent = "";
        fill(holder, make("p", { class: "empty" }, "Nothing is counted of this time."));
        return;
      }
      fill(holder);
      showChart(figure, chart.title, times, lines, grain, chart.form);
    });
  }

  /* Tables */

  const TITLES = { AclRule: "Rule", SrcIp: "Source", DestIp: "Destination", RemoteIp: "Remote address", LocalIp: "Address", Encryption: "Encryption", DestPort: "Port", Direction: "Direction",
    Status: "Status", Mac: "Interface", FlowsAllowed: "Allowed", FlowsDenied: "Denied", Bytes: "Bytes", Flows: "Flows", Tuples: "Tuples", FirstSeen: "First seen",
    LastSeen: "Last seen", GarbledBytes: "Garbled", Malformed: "Rejected", LastRecordTime: "Last record", LagSeconds: "Lag", Reason: "Reason", Rejects: "Rejected" };

  function filterLink(name, value, text) {
    const kind = name === "ip" && !text.includes(":") ? "whole" : "";
    if (report) return make("span", { class: kind }, text);
    return make("button", { type: "button", class: `link ${kind}`, title: `Show ${text} alone`, onclick: () => { select({ ...selection, [name]: String(value) }); $("title").scrollIntoView(); } }, text);
  }

  /* A name that may be broken where its words end. */
  const breakable = (name) => String(name).split(/(?<=[_.-])|(?<=[a-z])(?=[A-Z])/).flatMap((part, place) => (place ? [make("wbr"), part] : [part]));

  const scopeName = (key) => scopes.find((each) => each.Scope === key)?.Name || key;

  /* The columns of a panel, from its question's key, in fewer cells. */
  function columnsOf(question, rows) {
    const has = (name) => question.key.includes(name), columns = [];
    const several = new Set(rows.map((row) => row.Scope).filter(Boolean)).size > 1;
    const ip = (name) => (row) => filterLink("ip", row[name], row[name]);
    const mac = (row) => filterLink("mac", row.Mac, row.Mac.replace(/(..)(?=.)/g, "$1-"));
    const port = (row) => [filterLink("port", row.DestPort, String(row.DestPort)), `/${row.L4Protocol}`];
    const service = (row) => SERVICES[row.DestPort];
    /* Two lines, the second one an address. */
    const above = (first, word, name) => (row) => [make("div", {}, first(row)), make("div", { class: row[name].includes(":") ? "" : "whole" }, make("span", { class: "faint" }, `${word} `), ip(name)(row))];
    if (has("SrcIp") && has("DestIp")) columns.push({ title: "From, to", class: "name", cell: above(ip("SrcIp"), "to", "DestIp") });
    else for (const name of ["SrcIp", "DestIp", "RemoteIp"]) if (has(name)) columns.push({ title: TITLES[name], class: "name", cell: ip(name) });
    if (has("Mac") && has("LocalIp")) columns.push({ title: "Interface, address", class: "name", cell: above(mac, "has", "LocalIp") });
    else if (has("DestPort") && has("LocalIp")) columns.push({ title: "Port, at", class: "name", cell: above(port, "at", "LocalIp"), sub: service });
    else if (has("Mac")) columns.push({ title: TITLES.Mac, class: "name", cell: mac, sub: (row) => row.Addresses });
    else if (has("DestPort")) columns.push({ title: TITLES.DestPort, cell: port, sub: service });
    else if (has("LocalIp")) columns.push({ title: TITLES.LocalIp, class: "name", cell: ip("LocalIp") });
    if (has("Encryption")) columns.push({ title: TITLES.Encryption, class: "name", cell: (row) => breakable(row.Encryption) });
    if (has("AclRule")) columns.push({ title: TITLES.AclRule, class: "name", cell: (row) => breakable(row.AclRule), sub: (row) => has("AclGroup") && String(row.AclGroup).split("/").pop() });
    if (has("Reason")) columns.push({ title: TITLES.Reason, class: "name", cell: (row) => breakable(row.Reason) });
    const ways = { Inbound: "in", Outbound: "out" };
    if (has("Direction") && has("Status")) columns.push({ title: TITLES.Status, cell: (row) => make("span", { class: `status ${row.Status === "Denied" ? "denied" : ""}` }, `${row.Status.toLowerCase()} ${ways[row.Direction]}`) });
    else if (has("Direction")) columns.push({ title: "Way", class: question.key.length > 3 ? "least" : "", cell: (row) => ways[row.Direction] });
    for (const name of question.extremes) columns.push({ title: TITLES[name], class: name === "LastSeen" ? "when" : "when minor", cell: (row) => (row[name] ? make("span", { title: when(row[name], true) }, day(row[name])) : "") });
    columns.forEach((column, place) => {
      const { cell, sub } = column;
      column.cell = (row) => {
        const below = [sub?.(row), several && place === 0 && scopeName(row.Scope)].filter(Boolean).join(" · ");
        return [cell(row), below ? make("span", { class: "sub" }, below) : null].flat();
      };
    });
    return columns;
  }

  /* The measures of a panel: first the one that ranks it; of the others those that say something. */
  function measuresOf(question, answer) {
    if (!question.measures.includes("Tuples")) return question.measures.filter((name, place) => !place || total(answer.total, name));
    const flows = question.key.includes("Status") ? ["Flows"] : ["FlowsDenied", "FlowsAllowed"];
    const measured = ["Bytes", ...flows].filter((name) => total(answer.total, name));
    const wanted = question.unit === "Traffic" ? ["Bytes", "FlowsAllowed"] : question.unit === "FlowsDenied" ? ["FlowsDenied"] : [...flows, "Bytes"];
    const chosen = wanted.filter((name) => measured.includes(name));
    return chosen.length ? chosen : ["Tuples"];
  }

  const formOf = (name) => (/Bytes/.test(name) ? bytes : name === "LagSeconds" ? duration : (count) => whole.format(count));

  function table(panel, question, answer) {
    const rows = answer.rows.filter((row) => !row.IsRest);
    const columns = columnsOf(question, rows);
    const measures = measuresOf(question, answer);
    const ranking = measures[0];
    const largest = Math.max(...rows.map((row) => total(row, ranking)), 1);
    const tone = ranking === "FlowsDenied" ? "denied" : "";
    const barred = question.ranked && columns.length < 4;
    const rank = (place) => (place > 1 ? "num minor" : place && columns.length > 3 ? "num least" : "num");
    const numbers = (of) => measures.map((name, place) => make("td", { class: rank(place), title: whole.format(total(of, name)) }, formOf(name)(total(of, name))));
    const head = make("tr", {}, columns.map((column) => make("th", { scope: "col", class: column.class }, column.title)), barred ? make("td", { class: "share", "aria-hidden": "true" }) : null,
      measures.map((name, place) => make("th", { scope: "col", class: rank(place) }, TITLES[name] || name)));
    const body = rows.map((row) => {
      const bar = make("span", { class: `bar ${tone}` });
      bar.style.width = `${(100 * total(row, ranking)) / largest}%`;
      return make("tr", {}, columns.map((column, place) => make(place ? "td" : "th", { scope: place ? null : "row", class: column.class }, column.cell(row))),
        barred ? make("td", { class: "share", "aria-hidden": "true" }, bar) : null, numbers(row));
    });
    const across = (name, of, kind) => make("tr", { class: kind }, make("th", { scope: "row" }, name), columns.slice(1).map((column) => make("td", { class: column.class })),
      barred ? make("td", { class: "share", "aria-hidden": "true" }) : null, numbers(of));
    const foot = [];
    if (answer.rest.Tuples) foot.push(across("all others", answer.rest, "rest"));
    foot.push(across("total", answer.total, ""));
    return make("table", {}, make("thead", {}, head), make("tbody", {}, body), make("tfoot", {}, foot));
  }

  function cellOf(value) {
    const text = value === null || value === undefined ? "" : String(value);
    const marked = /^[=+\-@\t\r\n'＝＋－＠]/.test(text) && typeof value === "string" ? `'${text}` : text;
    return /[",\n\r]/.test(marked) ? `"${marked.replaceAll('"', '""')}"` : marked;
  }

  function save(panel, answer) {
    const columns = Object.keys(answer.rows[0] || {});
    const lines = [columns, ...answer.rows.map((row) => columns.map((name) => row[name]))].map((cells) => cells.map(cellOf).join(","));
    const link = make("a", { href: URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "text/csv" })), download: `${panel.question}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  function buildPanels() {
    fill($("panels"), data.panels.filter((panel) => panel.table).map((panel) => {
      const question = data.questions[panel.question];
      const [title, ...rest] = question.help.replace(/\.$/, "").split(/[:,]\s/);
      const subtitle = rest.join(", ");
      return make("section", { class: `card ${question.extremes.length ? "wide" : ""}`, id: panel.id, "aria-labelledby": `${panel.id}-title` },
        make("div", { class: "panel-head" },
          make("div", {}, make("h3", { id: `${panel.id}-title` }, title), subtitle && make("p", {}, subtitle)),
          make("div", { class: "buttons", hidden: Boolean(report) }, question.ranked && make("button", { type: "button", class: "small more", "aria-pressed": "false", onclick: (event) => showMore(panel, event.currentTarget) }, "Show 50"),
            make("button", { type: "button", class: "small csv" }, "CSV"))),
        make("div", { class: "body" }, make("p", { class: "wait" }, "…")),
        make("details", {}, make("summary", {}, "What to know of this"), make("ul")));
    }));
  }

  async function showMore(panel, button) {
    const more = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(more));
    button.textContent = more ? "Show 10" : "Show 50";
    showPanel(panel, await answerTo(panel, false, more ? { limit: 50 } : {}).catch((error) => error));
  }

  function showPanel(panel, answer) {
    const section = $(panel.id), body = section.querySelector(".body"), csv = section.querySelector(".csv");
    section.removeAttribute("aria-busy");
    csv.disabled = answer instanceof Error || !answer.rows.length;
    if (answer instanceof Error) {
      fill(body, make("p", { class: "failed", role: "status" }, answer.message), report ? null : make("button", { type: "button", class: "small", onclick: () => refreshPanel(panel) }, "Try again"));
      return;
    }
    csv.onclick = () => save(panel, answer);
    const question = questionOf(panel);
    const left = ["mac", "ip", "port"].filter((name) => selection[name] && !question.parameters.includes(name));
    const names = { mac: "interface", ip: "address", port: "port" };
    const lacks = Math.max(...answer.rows.map((row) => row.Missed || 0), 0);
    const notes = left.length ? [`Not by ${left.map((name) => names[name]).join(" and ")}: that isn't kept here.`] : [];
    if (lacks) notes.push(`A row may lack up to ${formOf(question.unit === "Traffic" ? "Bytes" : question.unit)(lacks)}, counted among the others.`);
    const known = answer.notes.map(sentence).filter((each) => !shared.includes(each));
    fill(body, answer.rows.length ? table(panel, question, answer) : make("p", { class: "empty" }, sentence(answer.why_empty)),
      make("ul", { class: "notes" }, [...notes, ...(answer.unfiltered ? known : [])].map((each) => make("li", {}, each))));
    fill(section.querySelector("details ul"), [...question.unknown, ...(answer.unfiltered ? [] : known)].map((each) => make("li", {}, each)));
  }

  const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;

  async function refreshPanel(panel) {
    $(panel.id).setAttribute("aria-busy", "true");
    showPanel(panel, await answerTo(panel, true).catch((error) => error));
  }

  /* The selection, and the URL that holds it */

  function readUrl() {
    const url = new URL(location.href), found = {};
    for (const name of data.selected) {
      const given = url.searchParams.getAll(name).filter(Boolean);
      if (given.length) found[name] = ["mac", "ip", "port"].includes(name) ? given.join(",") : given[0];
    }
    return { since: "24h", ...found };
  }

  function writeUrl(how) {
    const query = new URLSearchParams();
    for (const name of data.selected) if (selection[name] && !(name === "since" && selection.since === "24h" && !selection.until)) query.append(name, selection[name]);
    const text = query.toString();
    history[how](null, "", text ? `?${text}` : location.pathname);
  }

  function select(wanted) {
    selection = wanted;
    writeUrl("pushState");
    showSelection();
    showAll();
  }

  function showSelection() {
    const name = selection.scope ? scopes.filter((each) => each.Scope === selection.scope || each.Name === selection.scope).map((each) => each.Name)[0] || selection.scope : "all scopes";
    $("title").textContent = `Network traffic of ${name}`;
    document.title = `${name} – Flowtally`;
    const span = SPANS.find(([value]) => value === selection.since);
    const parts = [selection.until || !span ? `${selection.since.replace("T", " ")} to ${(selection.until || "now").replace("T", " ")} UTC` : span[1],
      selection.mac && `interface ${selection.mac}`, selection.ip && `address ${selection.ip}`, selection.port && `port ${selection.port}`];
    $("window").textContent = parts.filter(Boolean).join(" · ");
    if (report) return;
    fill($("scope"), make("option", { value: "" }, "All scopes"), ...scopes.map((each) => make("option", { value: each.Scope }, `${each.Name} (${each.Kind.toUpperCase()})`)));
    if (selection.scope && !scopes.some((each) => each.Scope === selection.scope)) $("scope").append(make("option", { value: selection.scope }, selection.scope));
    $("scope").value = selection.scope || "";
    const custom = Boolean(selection.until) || !span;
    fill($("span"), ...SPANS.map(([value, text]) => make("option", { value }, text)), make("option", { value: "" }, "From … until …"));
    $("span").value = custom ? "" : selection.since;
    showCustom(custom);
    $("since").value = custom && !/^\d+[mhd]$/.test(selection.since) ? utc(selection.since).slice(0, 16) : "";
    $("until").value = selection.until ? utc(selection.until).slice(0, 16) : "";
    for (const each of ["ip", "port"]) $(each).value = selection[each] || "";
    showInterfaces([]);
  }

  function showCustom(yes) { for (const field of document.querySelectorAll(".custom")) field.hidden = !yes; }

  function showInterfaces(macs) {
    const known = [...new Set([...macs, ...(selection.mac ? [selection.mac] : [])])].sort();
    fill($("mac"), make("option", { value: "" }, "All interfaces"), ...known.map((mac) => make("option", { value: mac }, mac)));
    $("mac").value = selection.mac || "";
  }

  function fromForm() {
    const wanted = { scope: $("scope").value, mac: $("mac").value, ip: $("ip").value.trim(), port: $("port").value.trim() };
    wanted.since = $("span").value || $("since").value || "24h";
    if (!$("span").value && $("until").value) wanted.until = $("until").value;
    return wanted;
  }

  /* All of it */

  function say(text) { $("message").textContent = text; }

  function askForKey(why) {
    $("key-form").hidden = false;
    $("main").hidden = $("filters").hidden = true;
    if (why) $("key-why").textContent = why;
    $("key").focus();
  }

  async function showAll(fresh = false) {
    const mine = ++round;
    const current = () => mine === round;
    say("");
    for (const each of document.querySelectorAll(".card")) each.setAttribute("aria-busy", "true");
    const answers = {};
    const asked = data.panels.map(async (panel) => {
      const answer = await answerTo(panel, fresh).catch((error) => error);
      if (!current()) return;
      answers[panel.id] = answer;
    });
    const status = report ? report.status : await fetchJson("status?since=24h", fresh).catch((error) => ({ failed: error.message, error }));
    await Promise.all(asked);
    if (!current()) return;
    const errors = Object.values(answers).filter((each) => each instanceof Error);
    if (errors.some((each) => each.status === 401)) { askForKey("The function app does not take this key."); return; }
    if (errors.length) say(errors[0].message);
    if (answers.health instanceof Error) { fill($("fresh-facts"), fact("Counted up to", "unknown", answers.health.message, "bad")); fill($("fresh-notes")); }
    else showFreshness(answers.health, status);
    if (answers.summary instanceof Error) fill($("tiles"), fact("Flows", "unknown", answers.summary.message, "bad"));
    else showTiles(answers.summary, answers.change instanceof Error ? null : answers.change);
    showCharts(answers);
    const tables = data.panels.filter((panel) => panel.table).map((panel) => answers[panel.id]);
    shared = (tables.find((each) => !(each instanceof Error))?.notes || []).map(sentence).filter((note) => tables.every((each) => each instanceof Error || each.notes.map(sentence).includes(note)));
    fill($("notes"), shared.map((note) => make("li", {}, note)));
    for (const panel of data.panels) if (panel.table) showPanel(panel, answers[panel.id]);
    if (!report && !(answers.nics instanceof Error)) showInterfaces(answers.nics.rows.map((row) => row.Mac).filter(Boolean));
    $("made").textContent = `${report ? "Made" : "Shown"} ${when(report ? report.made : Date.now(), true)}.`;
    document.documentElement.dataset.shown = String(mine);
  }

  async function begin() {
    $("key-form").hidden = true;
    $("main").hidden = false;
    $("filters").hidden = Boolean(report);
    try {
      scopes = report ? report.scopes : (await fetchJson("scopes", true)).rows;
    } catch (error) {
      if (error.status === 401) askForKey(sessionStorage.getItem(KEY) ? "The function app does not take this key." : "");
      else { say(error.message); $("refresh").onclick = begin; }
      return;
    }
    $("refresh").onclick = () => showAll(true);
    if (!$("charts").childElementCount) { buildCharts(); buildPanels(); }
    showSelection();
    await showAll();
  }

  /* A key in the address is taken out of it, the history too, before anything else happens. */
  function takeKey() {
    const url = new URL(location.href), inside = new URLSearchParams(url.hash.slice(1));
    const key = url.searchParams.get("code") || inside.get("code");
    if (!key) return;
    sessionStorage.setItem(KEY, key);
    url.searchParams.delete("code");
    url.hash = "";
    history.replaceState(null, "", url.pathname + url.search);
  }

  if (!report) {
    takeKey();
    selection = readUrl();
    $("key-form").addEventListener("submit", (event) => { event.preventDefault(); sessionStorage.setItem(KEY, $("key").value.trim()); $("key").value = ""; begin(); });
    $("filters").addEventListener("submit", (event) => { event.preventDefault(); select(fromForm()); });
    for (const id of ["scope", "mac"]) $(id).addEventListener("change", () => select(fromForm()));
    $("span").addEventListener("change", () => { showCustom(!$("span").value); if ($("span").value) select(fromForm()); else $("since").focus(); });
    $("clear").addEventListener("click", () => select({ since: "24h" }));
    $("forget").addEventListener("click", () => { sessionStorage.removeItem(KEY); askForKey("The key is forgotten."); });
    addEventListener("popstate", () => { selection = readUrl(); showSelection(); showAll(); });
    setInterval(() => { if (!document.hidden && !selection.until && !$("main").hidden) showAll(true); }, REFRESH);
  } else selection = report.selection;

  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; for (const each of charts) each.resize?.(); } });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((each) => each.draw?.()));
  addEventListener("beforeprint", () => { document.documentElement.dataset.print = ""; charts.forEach((each) => each.draw?.(195)); });
  addEventListener("afterprint", () => { delete document.documentElement.dataset.print; charts.forEach((each) => each.draw?.()); });
  begin();
})();
