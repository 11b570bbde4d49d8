/* The page: one selection (kind of logs, scope, time, filters), one answer for each panel, one element for each
value. Each panel is drawn when its answer is there, and once no part of the selection can be invalid any more.

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

  const KINDS = { vnet: "VNet flow logs", nsg: "NSG flow logs" };
  const NAMES = { mac: "interface", ip: "address", port: "port" };
  const STEPS_OF_ROWS = [10, 50, 250, 1000];

  let selection = { scope: [] };
  let scopes = [];
  let shared = [];  // notes that concern all tables alike
  let limits = {};  // rows of a table, where it isn't as many as at first
  const macs = new Set();  // the interfaces that were seen, to choose from
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

  const SUMS = { Bytes: ["BytesSrcToDest", "BytesDestToSrc"], Flows: ["FlowsAllowed", "FlowsDenied"] };
  const total = (of, name) => (name in SUMS ? SUMS[name].reduce((sum, each) => sum + of[each], 0) : of[name]);

  /* Asking */

  class Refused extends Error {
    constructor(status, problem) {
      super(problem.detail || problem.title || `the app answered ${status}`);
      this.status = status;
      this.parameter = problem.parameter;
    }
  }

  async function fetchAnswer(path, fresh) {
    const key = sessionStorage.getItem(KEY);
    let answer;
    try {
      answer = await fetch(path, { headers: key ? { "x-functions-key": key } : {}, cache: fresh ? "no-cache" : "default", credentials: "same-origin" });
    } catch {
      throw new Refused(0, { detail: "the function app can't be reached" });
    }
    if (answer.ok) return answer;
    throw new Refused(answer.status, await answer.json().catch(() => ({})));
  }

  const fetchJson = async (path, fresh) => (await fetchAnswer(path, fresh)).json();

  /* What a panel asks: something else where a selected parameter calls for it; of several the last holds. */
  function questionOf(panel) {
    const instead = Object.entries(panel.instead).filter(([name]) => selection[name]).map(([, question]) => question);
    return data.questions[instead.at(-1) || panel.question];
  }

  /* What is selected of a parameter. */
  const textsOf = (name) => [selection[name] || []].flat();

  /* Those of the selected parameters that a panel's question takes. */
  const taken = (panel) => data.selected.filter((name) => textsOf(name).length && questionOf(panel).parameters.includes(name));

  /* When the time that is selected begins and ends. */
  function times() {
    const now = report ? Date.parse(report.made) : Date.now();
    const read = (text) => {
      const age = /^(\d+)([mhd])$/.exec(text);
      return age ? now - age[1] * { m: 60e3, h: 3600e3, d: 86400e3 }[age[2]] : Date.parse(utc(text));
    };
    return [read(selection.since), selection.until ? read(selection.until) : now];
  }

  function hours() {
    const [since, until] = times();
    return (until - since) / 3600e3;
  }

  const utc = (text) => (/(Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}${text.includes("T") ? "" : "T00:00"}Z`);

  /* The scopes that these texts select: each is a name or key, or a part of it, as the API finds them. */
  function findScopes(texts) {
    const names = (each) => [each.Scope, each.Name, each.ResourceId || ""].map((name) => name.toLowerCase());
    const found = texts.map((text) => text.toLowerCase()).flatMap((text) => {
      const exact = scopes.filter((each) => names(each).includes(text));
      return exact.length ? exact : scopes.filter((each) => names(each).some((name) => name.includes(text)));
    });
    return texts.length ? scopes.filter((each) => found.includes(each)) : scopes;
  }

  /* NSG logs and VNet logs are never added up: the page is of one kind. VNet logs replace NSG logs. */
  function kindOf(wanted) {
    const known = findScopes(wanted.scope);
    return wanted.kind || (!known.length || known.some((each) => each.Kind === "vnet") ? "vnet" : "nsg");
  }

  const kind = () => kindOf(selection);
  const scopesOfKind = () => scopes.filter((each) => each.Kind === kind());

  /* An answer with the totals of its list beside the rows. */
  function withTotals(question, answer) {
    const nothing = Object.fromEntries(question.measures.map((name) => [name, 0]));
    const none = { total: nothing, shown: nothing, rest: nothing, before: nothing, unfiltered: null, missed: 0 };
    return { ...answer, ...(answer.lists.find((each) => each.kind === kind()) || none) };
  }

  function queryOf(panel) {
    const question = questionOf(panel);
    const query = new URLSearchParams();
    for (const name of taken(panel)) for (const text of textsOf(name)) query.append(name, text);
    query.set("kind", kind());
    for (const [name, value] of Object.entries(panel.parameters)) if (question.parameters.includes(name)) query.set(name, value);
    if (limits[panel.id]) query.set("limit", limits[panel.id]);
    if (panel.by_time) query.set("grain", (question.grains.find((each) => hours() <= each.hours) || question.grains.at(-1)).grain);
    return query;
  }

  async function answerTo(panel, fresh) {
    const question = questionOf(panel);
    if (report) return withTotals(question, report.answers[panel.id]);
    const query = queryOf(panel);
    return { ...withTotals(question, await fetchJson(`show/${question.name}?${query}`, fresh)), grain: query.get("grain") };
  }

  /* Those of interface, address and port that are selected, and that a question doesn't take. */
  const leftOut = (question) => Object.keys(NAMES).filter((name) => selection[name] && !question.parameters.includes(name)).map((name) => NAMES[name]);

  /* Freshness and completeness */

  function fact(title, value, more, tone) {
    return make("div", { class: `fact ${tone || ""}` }, make("dt", {}, title), make("dd", { class: "value" }, value), more && make("dd", { class: "more" }, more));
  }

  /* Which scopes are shown: where none is selected also those of which nothing is counted yet. */
  function shownScopes() {
    const its = selection.scope.length && new Set(findScopes(selection.scope).map((each) => each.Scope)), prefix = `${kind()}~`;
    return (scope) => scope.startsWith(prefix) && (!its || its.has(scope));
  }

  function showFreshness(health, status) {
    if (health instanceof Error) { fill($("fresh-facts"), fact("Counted up to", "unknown", health.message, "bad")); fill($("fresh-notes")); return; }
    const now = report ? Date.parse(report.made) : Date.now();
    const facts = [];
    const age = health.as_of ? (now - Date.parse(health.as_of)) / 1000 : 0;
    facts.push(health.as_of
      ? fact("Counted up to", when(health.as_of, true).slice(11) + " UTC", age < 86400 ? `${duration(Math.max(age, 0))} ago` : `${when(health.as_of).slice(0, 10)}, ${duration(age)} ago`, age < 3600 ? "good" : "bad")
      : fact("Counted up to", "nothing yet", health.why_empty, "bad"));
    const unread = "Unread, last 24 hours";
    if (!status) facts.push(fact(unread, "…"));
    else if (status instanceof Error) facts.push(fact(unread, "unknown", status.message, "bad"));
    else if (!status.swept_at) facts.push(fact(unread, "unknown", "no sweep has looked yet", "bad"));
    else {
      const isShown = shownScopes(), late = status.rows.filter((row) => isShown(row.Scope)), total = status.totals.find((each) => each.Kind === kind());
      const looked = `when a sweep looked last, ${duration(Math.max(now - Date.parse(status.swept_at), 0) / 1000)} ago`;
      facts.push(late.length
        ? fact(unread, bytes(total.Behind), `in ${plural(late.length, "hour")} of ${plural(new Set(late.map((row) => row.Scope)).size, "scope")}, ${looked}`, "bad")
        : fact(unread, "0 B", total?.Listed ? `all ${plural(total.Listed, "blob")} read to the end, ${looked}` : `no blob in that time, ${looked}`, "good"));
    }
    const rejected = health.total.Malformed, counted = health.total.Tuples;
    facts.push(fact("Tuples counted", amount(counted), plural(health.total.Blobs, "blob")));
    facts.push(fact("Rejected", amount(rejected), rejected ? `${percent.format(rejected / (rejected + counted))} of all tuples; flowtally rejects lists them` : "every tuple was well-formed", rejected ? "bad" : "good"));
    const garbled = health.total.GarbledBytes;
    if (garbled) facts.push(fact("Garbled", bytes(garbled), "bytes that are no record", "bad"));
    const lag = Math.max(...health.rows.map((row) => row.LagSeconds || 0), 0);
    facts.push(fact("Longest lag", health.rows.some((row) => row.LagSeconds !== null) ? duration(lag) : "–", "from a blob's last record to its count"));
    fill($("fresh-facts"), facts);
    showNotices(status?.notices || [], status?.problems || []);
  }

  /* What keeps answers from being complete, and what flow logs leave out: those of the scopes that are shown. */
  function showNotices(notices, problems) {
    const isShown = shownScopes();
    const shown = notices.map((notice) => ({ ...notice, names: notice.Scopes.filter(isShown).map(scopeName) })).filter((notice) => notice.names.length);
    const some = (names) => names.slice(0, 3).join(", ") + (names.length > 3 ? ` and ${whole.format(names.length - 3)} more` : "");
    const items = (some_of) => some_of.map((notice) => make("li", { class: notice.ToDo && "bad" }, `${some(notice.names)}: ${notice.Found}.`));
    const [lacking, facts] = [shown.filter((notice) => notice.ToDo), shown.filter((notice) => !notice.ToDo)];
    const toDos = [...new Set(lacking.map((notice) => notice.ToDo))];
    const left = leftOut(data.questions.health);
    fill($("fresh-notes"), left.length && make("li", { class: "not-held" }, `Not by ${left.join(" and ")}: this is of all that was logged in that time.`),
      problems.map((text) => make("li", { class: "bad" }, sentence(text))), items(lacking), toDos.map((text) => make("li", {}, sentence(text))), items(facts));
  }

  /* The large figures */

  function change(now, before) {
    if (!before) return "none in the time before";
    const ratio = now / before;
    if (Math.abs(ratio - 1) < 0.005) return "as in the time before";
    if (ratio >= 10) return `${whole.format(Math.round(ratio))} times that of the time before`;
    return `${ratio > 1 ? "+" : "−"}${percent.format(Math.abs(ratio - 1))} against the time before`;
  }

  /* What was dropped in counting, so that what is selected can't be held against it. */
  const unknownOf = (answer, name) => (answer.unfiltered ? total(answer.unfiltered, name) : 0);

  /* "as in the time before", of one measure; nothing as long as that isn't known. */
  function against(compared, name) {
    if (!compared || compared instanceof Error) return compared ? "" : "…";
    const begin = Date.parse(compared.since) - (Date.parse(compared.until) - Date.parse(compared.since));
    const counted = known(compared).filter((each) => keptFrom(each) <= begin).length;
    if (!counted) return "the time before isn't counted";
    if (counted < known(compared).length) return "the time before isn't counted of all scopes";
    if (unknownOf(compared, "Tuples") || compared.rows.some((row) => row.BeforeMissed)) return "no telling if it was more before";
    return change(total(compared.total, name), total(compared.before, name));
  }

  function showTiles(answers) {
    const of = [answers["series-allowed"], answers["series-denied"]];
    if (!of.every(Boolean)) return;
    const failed = of.find((each) => each instanceof Error);
    fill($("traffic-notes"), failed ? null : trafficNotes(of).map((each) => make("li", { class: "not-held" }, each)));
    if (failed) { fill($("tiles"), fact("Flows", "unknown", failed.message, "bad")); return; }
    const tile = (title, place, name, form) => {
      const count = total(of[place].total, name), more = unknownOf(of[place], name);
      return more ? fact(title, `at least ${form(count)}`, `at most ${form(count + more)}`) : fact(title, form(count), against(answers[["change-allowed", "change-denied"][place]], name));
    };
    const [allowed, denied] = [total(of[0].total, "FlowsAllowed"), total(of[1].total, "FlowsDenied")];
    const sure = !unknownOf(of[0], "FlowsAllowed") && !unknownOf(of[1], "FlowsDenied");
    fill($("tiles"), [
      tile("Flows allowed", 0, "FlowsAllowed", amount),
      tile("Flows denied", 1, "FlowsDenied", amount),
      fact("Denied, of all", sure && allowed + denied ? percent.format(denied / (allowed + denied)) : "–", "of the flows that began"),
      tile("Bytes, both ways", 0, "Bytes", bytes),
    ]);
  }

  /* What large figures and charts are of, where it isn't just what is selected. */
  function trafficNotes(of) {
    const question = questionOf(data.panels.find((panel) => panel.id === "series-allowed"));
    const notes = leftOut(question).map((name) => `Not by ${name}: figures and charts are of any ${name}.`);
    if (of.some((each) => unknownOf(each, "Tuples"))) notes.push("Figures and charts may lack some: keys were dropped in counting, and what is selected can't be held against those.");
    return notes;
  }

  /* Charts */

  const charts = [];
  const STEPS = { "5m": 300, hour: 3600, day: 86400 };

  /* The scopes that an answer is of. */
  const known = (answer) => scopes.filter((each) => answer.scopes.includes(each.Scope));

  /* Since when there can be anything of a scope: it began then, or what was before was pruned. */
  const keptFrom = (scope) => Math.max(Date.parse(scope.FirstPeriod), Date.parse(scope.PrunedBefore || 0));

  function series(answer, direction, measure) {
    const step = STEPS[answer.grain], found = new Map();
    for (const row of answer.rows.filter((each) => each.Direction === direction)) {
      const time = Date.parse(row.Period) / 1000;
      found.set(time, (found.get(time) || 0) + total(row, measure));
    }
    const first = Math.floor(Date.parse(answer.since) / 1000 / step) * step;
    const last = Math.min(Date.parse(answer.until), answer.as_of ? Date.parse(answer.as_of) : 0) / 1000;
    const begin = Math.min(...known(answer).map(keptFrom)) / 1000;
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
    { title: "Inbound flows", lines: [["allowed", "series-allowed", "Inbound", "FlowsAllowed", "allowed"], ["denied", "series-denied", "Inbound", "FlowsDenied", "denied"]], form: amount },
    { title: "Outbound flows", lines: [["allowed", "series-allowed", "Outbound", "FlowsAllowed", "allowed"], ["denied", "series-denied", "Outbound", "FlowsDenied", "denied"]], form: amount },
    { title: "Bytes, both ways", lines: [["inbound flows", "series-allowed", "Inbound", "Bytes", "allowed"], ["outbound flows", "series-allowed", "Outbound", "Bytes", "other"]], form: bytes },
  ];

  function buildCharts() {
    fill($("charts"), CHARTS.map((chart, place) => make("figure", { class: "card", id: `chart-${place}`, "aria-busy": "true" },
      make("figcaption", {}, make("h3", {}, chart.title), make("div", { class: "legend" }, chart.lines.map(([name, , , , tone]) => make("span", { class: tone }, name)))),
      make("div", { class: "chart", role: "img", tabindex: "0", "aria-label": chart.title }),
      make("p", { class: "readout", "aria-live": "polite" }),
      make("details", {}, make("summary", {}, "As a table"), make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${chart.title}, as a table` })))));
  }

  function emptyChart(place) {
    const figure = $(`chart-${place}`), holder = figure.querySelector(".chart");
    const drawn = charts.findIndex((each) => each.holder === holder);
    if (drawn >= 0) charts.splice(drawn, 1)[0].plot.destroy();
    figure.querySelector(".readout").textContent = "";
    fill(figure.querySelector(".scroll"));
    fill(holder);
    return figure;
  }

  /* The charts whose answers are all there, of those that need this panel's. */
  function showCharts(found, id) {
    CHARTS.forEach((chart, place) => {
      const answers = chart.lines.map(([, of]) => found[of]);
      if (!answers.every(Boolean) || !chart.lines.some(([, of]) => of === id)) return;
      const figure = emptyChart(place), holder = figure.querySelector(".chart");
      figure.removeAttribute("aria-busy");
      const failed = answers.find((each) => each instanceof Error);
      if (failed) { fill(holder, make("p", { class: "failed" }, failed.message)); return; }
      const lines = chart.lines.map(([name, of, direction, measure, tone]) => ({ name, tone, values: series(found[of], direction, measure)[1] }));
      const [times] = series(answers[0], "", "Tuples");
      if (lines.every((line) => line.values.every((value) => value === null))) {
        fill(holder, make("p", { class: "empty" }, "Nothing is counted of this time."));
        return;
      }
      showChart(figure, chart.title, times, lines, answers[0].grain, chart.form);
    });
  }

  /* Tables */

  const TITLES = { AclRule: "Rule", SrcIp: "Source", DestIp: "Destination", RemoteIp: "Remote address", LocalIp: "Address", Encryption: "Encryption", DestPort: "Port", Direction: "Direction",
    Status: "Status", Mac: "Interface", FlowsAllowed: "Allowed", FlowsDenied: "Denied", Bytes: "Bytes", Flows: "Flows", Tuples: "Tuples", FirstSeen: "First seen",
    LastSeen: "Last seen", Since: "Since", LastPeriod: "Last period", GarbledBytes: "Garbled", Malformed: "Rejected", LastRecordTime: "Last record", LagSeconds: "Lag", Reason: "Reason", Rejects: "Rejected" };

  function filterLink(name, value, text) {
    const breaks = text.includes(":") ? "" : "whole";
    if (report) return make("span", { class: breaks }, text);
    return make("button", { type: "button", class: `link ${breaks}`, title: `Show ${text} alone`, onclick: () => { select({ ...selection, [name]: String(value) }); $("title").scrollIntoView(); } }, text);
  }

  /* A name that may be broken where its words end. */
  const breakable = (name) => String(name).split(/(?<=[_.-])|(?<=[a-z])(?=[A-Z])/).flatMap((part, place) => (place ? [make("wbr"), part] : [part]));

  const hyphened = (mac) => mac.replace(/(..)(?=.)/g, "$1-");

  const scopeName = (key) => scopes.find((each) => each.Scope === key)?.Name || key;

  /* In how many scopes a row is, if in more than one: where all are read together, at least. */
  function ofScopes(row, answer) {
    const together = answer.scopes.length === scopesOfKind().length && row.Scopes < answer.scopes.length;
    return row.Scopes > 1 && `in ${together ? "at least " : ""}${whole.format(row.Scopes)} scopes`;
  }

  /* The columns of a panel, from its question's key, in fewer cells. */
  function columnsOf(question, answer) {
    const has = (name) => question.key.includes(name), columns = [];
    const ip = (name) => (row) => filterLink("ip", row[name], row[name]);
    const mac = (row) => filterLink("mac", row.Mac, hyphened(row.Mac));
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
    for (const name of question.times) columns.push({ title: TITLES[name], class: ["FirstSeen", "LastPeriod"].includes(name) ? "when minor" : "when", cell: (row) => (row[name] ? make("span", { title: when(row[name], true) }, day(row[name])) : ""),
      sub: (row) => name === "Since" && row.AtLatest && "at the latest" });
    columns.forEach((column, place) => {
      const { cell, sub } = column;
      column.cell = (row) => {
        const below = [sub?.(row), place === 0 && ofScopes(row, answer)].filter(Boolean).join(" · ");
        return [cell(row), below ? make("span", { class: "sub" }, below) : null].flat();
      };
    });
    return columns;
  }

  /* The measures of a panel: first the one that its rows are ordered by; of the others those that say something. */
  function measuresOf(question, answer) {
    if (!question.measures.includes("Tuples")) return question.measures.filter((name, place) => !place || total(answer.total, name));
    const flows = question.key.includes("Status") ? ["Flows"] : ["FlowsDenied", "FlowsAllowed"];
    const ranking = question.unit !== "Traffic" ? question.unit : total(answer.total, "Bytes") ? "Bytes" : "Tuples";
    const others = { Traffic: ["FlowsAllowed"], FlowsDenied: [] }[question.unit] || [...flows, "Bytes"];
    return [ranking, ...others.filter((name) => total(answer.total, name))];
  }

  const formOf = (name) => (/Bytes/.test(name) ? bytes : name === "LagSeconds" ? duration : (count) => whole.format(count));

  function table(panel, question, answer) {
    const columns = columnsOf(question, answer);
    const measures = measuresOf(question, answer);
    const ranking = measures[0];
    const rows = answer.rows.filter((row) => !row.IsRest);
    if (question.unit === "Traffic") rows.sort((one, other) => total(other, ranking) - total(one, ranking));  // that has bytes and tuples in one
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
    if (measures.some((name) => total(answer.rest, name))) foot.push(across("all others", answer.rest, "rest"));
    foot.push(across("total", answer.total, ""));
    return make("table", {}, make("thead", {}, head), make("tbody", {}, body), make("tfoot", {}, foot));
  }

  /* The rows as a file, as the API writes CSV: what a spreadsheet makes of texts is its business alone. */
  async function save(panel) {
    const query = queryOf(panel), name = questionOf(panel).name;
    query.set("output", "csv");
    const link = make("a", { href: URL.createObjectURL(await (await fetchAnswer(`show/${name}?${query}`)).blob()), download: `${name}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  function buildPanels() {
    fill($("panels"), data.panels.filter((panel) => panel.table).map((panel) => {
      const question = data.questions[panel.question];
      const [title, ...rest] = question.help.replace(/\.$/, "").split(/[:,]\s/);
      const subtitle = rest.join(", ");
      return make("section", { class: `card ${question.times.length ? "wide" : ""}`, id: panel.id, "aria-labelledby": `${panel.id}-title` },
        make("div", { class: "panel-head" },
          make("div", {}, make("h3", { id: `${panel.id}-title` }, title), subtitle && make("p", {}, subtitle)),
          make("div", { class: "buttons", hidden: Boolean(report) },
            make("button", { type: "button", class: "small fewer", hidden: true, onclick: () => showRows(panel, STEPS_OF_ROWS[0]) }, `Show ${STEPS_OF_ROWS[0]}`),
            make("button", { type: "button", class: "small more", hidden: true }, "Show more"),
            make("button", { type: "button", class: "small csv", disabled: true, onclick: () => save(panel).catch((error) => say(error.message)) }, "CSV"))),
        make("div", { class: "body" }, make("p", { class: "wait" }, "…")),
        make("details", {}, make("summary", {}, "What to know of this"), make("ul")));
    }));
  }

  function showRows(panel, most) {
    limits[panel.id] = most;
    refreshPanel(panel);
  }

  function showPanel(panel, answer) {
    const section = $(panel.id), body = section.querySelector(".body");
    const button = (name) => section.querySelector(`.${name}`);
    section.removeAttribute("aria-busy");
    const failed = answer instanceof Error, limit = limits[panel.id] || STEPS_OF_ROWS[0];
    const more = !failed && answer.rows.filter((row) => !row.IsRest).length >= limit && STEPS_OF_ROWS.find((each) => each > limit);
    button("csv").disabled = failed || !answer.rows.length;
    button("fewer").hidden = failed || limit === STEPS_OF_ROWS[0];
    button("more").hidden = !more;
    button("more").textContent = `Show ${whole.format(more || 0)}`;
    button("more").onclick = () => showRows(panel, more);
    if (failed) {
      fill(body, make("p", { class: "failed", role: "status" }, answer.message), report ? null : make("button", { type: "button", class: "small", onclick: () => refreshPanel(panel) }, "Try again"));
      fill(section.querySelector("details ul"));
      return;
    }
    const left = leftOut(questionOf(panel));
    fill(body, left.length && make("p", { class: "not-held" }, `Not by ${left.join(" and ")}: that isn't kept here.`),
      answer.rows.length ? table(panel, questionOf(panel), answer) : make("p", { class: "empty" }, sentence(answer.why_empty)), make("ul", { class: "notes" }));
    showNotes(panel, answer);
  }

  /* What has to be known of a table: what concerns the selection under it, all else in its details. */
  function showNotes(panel, answer) {
    const section = $(panel.id), question = questionOf(panel);
    const notes = selection.ip && question.parameters.includes("ip") ? sideOf(question) : [];
    const lacks = Math.max(...answer.rows.map((row) => row.Missed || 0), 0);
    if (lacks && !answer.unfiltered) notes.push(`A row may lack up to ${formOf(question.unit === "Traffic" ? "Bytes" : question.unit)(lacks)}, counted among the others.`);
    const said = answer.notes.map(sentence).filter((each) => !shared.includes(each));
    fill(section.querySelector(".body .notes"), [...notes, ...(answer.unfiltered ? said : [])].map((each) => make("li", {}, each)));
    fill(section.querySelector("details ul"), [...question.unknown, ...(answer.unfiltered ? [] : said)].map((each) => make("li", {}, each)));
  }

  /* Which side of its flows a question knows, where it isn't both. */
  function sideOf(question) {
    if (question.key.includes("Mac") && !question.key.includes("LocalIp")) return ["Interfaces that have the address, each with all its traffic."];
    const sides = { SrcIp: "the source", DestIp: "the destination", RemoteIp: "the remote side", LocalIp: "the interface's own" };
    const known = Object.keys(sides).filter((name) => question.filtered.includes(name));
    return known.length === 1 ? [`Only where the address is ${sides[known[0]]}.`] : [];
  }

  const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;

  async function refreshPanel(panel) {
    const mine = round;
    $(panel.id).setAttribute("aria-busy", "true");
    const answer = await answerTo(panel, true).catch((error) => error);
    if (mine === round) showPanel(panel, answer);
  }

  /* The selection, and the URL that holds it */

  function readUrl() {
    const url = new URL(location.href), found = {};
    for (const name of data.selected) {
      const given = url.searchParams.getAll(name).filter(Boolean);
      if (given.length) found[name] = name in NAMES ? given.join(",") : name === "scope" ? given : given[0];
    }
    return { scope: [], since: "24h", ...found };
  }

  function writeUrl(how) {
    const query = new URLSearchParams();
    for (const name of data.selected) if (!(name === "since" && selection.since === "24h" && !selection.until)) for (const text of textsOf(name)) query.append(name, text);
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
    const its = findScopes(selection.scope).filter((each) => each.Kind === kind()), texts = selection.scope;
    const several = its.length > 3 ? `${whole.format(its.length)} scopes (${texts.join(", ")})` : its.map((each) => each.Name).join(", ");
    const name = `${texts.length ? several || texts.join(", ") : "all scopes"}${scopes.length ? ` (${KINDS[kind()] || kind()})` : ""}`;
    $("title").textContent = `Network traffic of ${name}`;
    document.title = `${name} – Flowtally`;
    const span = selection.until ? undefined : SPANS.find(([value]) => value === selection.since);
    const [since, until] = times();
    const parts = [span && !report ? span[1] : `${when(since)} to ${selection.until || report ? when(until) : "now"} UTC`, ...Object.keys(NAMES).map((each) => selection[each] && `${NAMES[each]} ${selection[each]}`)];
    $("window").textContent = parts.filter(Boolean).join(" · ");
    if (report) return;
    const kinds = new Set([...scopes.map((each) => each.Kind), ...(selection.kind ? [selection.kind] : [])]);
    fill($("kind"), [...kinds].sort().reverse().map((each) => make("option", { value: each }, each in KINDS ? KINDS[each].split(" ")[0] : each)));
    $("kind").value = kind();
    $("kind-field").hidden = kinds.size < 2;
    const names = scopesOfKind().map((each) => each.Name);
    const option = (each) => make("option", { value: each.Scope }, names.filter((other) => other === each.Name).length > 1 ? `${each.Name} – ${each.Scope}` : each.Name);
    fill($("scope"), make("option", { value: "" }, "All scopes"), scopesOfKind().map(option));
    const value = its.length === 1 && texts.length === 1 ? its[0].Scope : texts.join("\n");
    if (texts.length && its.length !== 1) $("scope").append(make("option", { value }, texts.join(", ")));
    $("scope").value = value;
    fill($("span"), ...SPANS.map(([value, text]) => make("option", { value }, text)), make("option", { value: "" }, "From … until …"));
    $("span").value = span ? span[0] : "";
    showCustom(!span);
    const field = (time) => (Number.isNaN(time) ? "" : new Date(time).toISOString().slice(0, 16));
    $("since").value = span ? "" : field(since);
    $("until").value = selection.until ? field(until) : "";
    for (const each of Object.keys(NAMES)) $(each).value = selection[each] || "";
  }

  function showCustom(yes) { for (const field of document.querySelectorAll(".custom")) field.hidden = !yes; }

  function showInterfaces(answer) {
    for (const row of answer.rows) if (row.Mac) macs.add(row.Mac);
    fill($("macs"), [...macs].sort().map((mac) => make("option", { value: hyphened(mac) })));
  }

  function fromForm() {
    const wanted = { scope: $("scope").value.split("\n").filter(Boolean), mac: $("mac").value.trim(), ip: $("ip").value.trim(), port: $("port").value.trim() };
    if ($("kind").value !== kindOf(wanted)) wanted.kind = $("kind").value;
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

  /* Mark the field whose value the app refuses, and show no figure; with no name, take that back. */
  function markInvalid(name, why) {
    for (const each of document.querySelectorAll("[aria-invalid]")) { each.removeAttribute("aria-invalid"); each.removeAttribute("aria-describedby"); }
    for (const each of document.querySelectorAll("main > section")) each.hidden = Boolean(name);
    if (!name) return;
    say(why);
    if (["since", "until"].includes(name)) showCustom(true);
    $(name).setAttribute("aria-invalid", "true");
    $(name).setAttribute("aria-describedby", "message");
  }

  async function showAll(fresh = false) {
    const mine = ++round, current = () => mine === round;
    const answers = {}, waiting = [], valid = new Set();
    let status = null;
    say("");
    for (const each of document.querySelectorAll(".card")) each.setAttribute("aria-busy", "true");

    /* A value is invalid if all refuse it whose questions take it: of one it may just be too much. */
    const refused = () => data.selected.find((name) => {
      const asked = data.panels.filter((panel) => taken(panel).includes(name));
      return asked.length && asked.every((panel) => answers[panel.id]?.status === 400 && answers[panel.id].parameter === name);
    });
    const draw = (panel) => {
      const { id } = panel, answer = answers[id];
      if (id === "health") showFreshness(answer, status);
      else if (panel.table) showPanel(panel, answer);
      else {
        showTiles(answers);
        showCharts(answers, id);
      }
      if (id === "nics" && !report && !(answer instanceof Error)) showInterfaces(answer);
    };
    const drawWaiting = () => {
      if (!waiting.length || refused()) return;
      if (document.querySelector("main > section").hidden) markInvalid("");
      waiting.splice(0).forEach(draw);
    };
    const take = (panel, answer) => {
      if (!current()) return;
      answers[panel.id] = answer;
      waiting.push(panel);
      if (!(answer instanceof Error)) taken(panel).forEach((name) => valid.add(name));
      if (data.selected.every((name) => !textsOf(name).length || valid.has(name))) drawWaiting();
      const name = refused();
      if (name) markInvalid(name, answers[data.panels.find((each) => taken(each).includes(name)).id].message);
    };
    const asked = data.panels.map(async (panel) => take(panel, await answerTo(panel, fresh).catch((error) => error)));
    asked.push((async () => {
      const query = new URLSearchParams([["since", "24h"], ["behind", "true"], ...selection.scope.map((text) => ["scope", text])]);
      status = report ? report.status : await fetchJson(`status?${query}`, fresh).catch((error) => error);
      if (current() && answers.health && !waiting.length) showFreshness(answers.health, status);
    })());
    await Promise.all(asked);
    if (!current()) return;
    drawWaiting();
    const errors = Object.values(answers).filter((each) => each instanceof Error);
    if (errors.some((each) => each.status === 401)) { askForKey("The function app does not take this key."); return; }
    document.documentElement.dataset.shown = String(mine);
    if (refused()) return;
    if (errors.length) say(errors[0].message);
    const tables = data.panels.filter((panel) => panel.table && !(answers[panel.id] instanceof Error));
    shared = tables.length ? answers[tables[0].id].notes.map(sentence).filter((note) => tables.every((panel) => answers[panel.id].notes.map(sentence).includes(note))) : [];
    fill($("notes"), shared.map((note) => make("li", {}, note)));
    for (const panel of tables) showNotes(panel, answers[panel.id]);
    $("made").textContent = `${report ? "Made" : "Shown"} ${when(report ? report.made : Date.now(), true)}.`;
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
    $("scope").addEventListener("change", () => select(fromForm()));
    $("kind").addEventListener("change", () => { $("scope").value = ""; select(fromForm()); });
    $("span").addEventListener("change", () => { showCustom(!$("span").value); if ($("span").value) select(fromForm()); else $("since").focus(); });
    $("clear").addEventListener("click", () => select({ scope: [], since: "24h" }));
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
