// Everything shown was written by others: it goes in as text, never as markup.
const byId = (id) => document.getElementById(id);

const there = (part) => part !== undefined && part !== null && part !== '' && part !== false;

function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const key in props) {
    if (there(props[key])) node.setAttribute(key, props[key]);
  }
  return add(node, children);
}

// add leaves out what there is not.
function add(node, parts) {
  for (const part of parts) {
    if (Array.isArray(part)) add(node, part);
    else if (there(part)) node.append(part);
  }
  return node;
}

const svg = (tag, props, ...children) => {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [key, value] of Object.entries(props)) node.setAttribute(key, value);
  node.append(...children);
  return node;
};

// count does without Intl, whose data a browser that has just started has yet to read.
const count = (n) => String(Number(n || 0)).replace(/\B(?=(\d{3})+$)/g, ',');
const badge = (text, kind) => el('span', { class: 'badge ' + (kind || '') }, text);
const date = (text) => (text && !text.startsWith('0001') ? new Date(text) : null);

function span(seconds) {
  const s = Math.abs(seconds);
  for (const [size, unit] of [[86400, 'd'], [3600, 'h'], [60, 'min']]) {
    if (s >= 2 * size) return Math.round(s / size) + ' ' + unit;
  }
  return Math.round(s) + ' s';
}

// when is a time as people say it, with the exact one in its title.
function when(text) {
  const at = date(text);
  if (!at) return 'never';
  const left = (at - Date.now()) / 1000;
  const words = Math.abs(left) < 1 ? 'now' : left < 0 ? span(left) + ' ago' : 'in ' + span(left);
  return el('time', { datetime: text, title: at.toISOString() }, words);
}

const day = (at) => at.toISOString().slice(0, 10);

// cell is one cell of a table that becomes a card on a small screen, where it
// needs its label, and its role, which display: block takes from it.
function cell(label, content, kind = '') {
  const inner = el('div', {}, content);
  const filled = inner.firstChild !== null;
  return el('td', { role: 'cell', 'data-label': label, class: filled ? kind : 'empty' }, filled && inner);
}

const row = (...cells) => el('tr', { role: 'row' }, ...cells);
const head = (...content) => el('th', { scope: 'row', role: 'rowheader' }, ...content);

for (const table of document.querySelectorAll('table.cards')) {
  table.setAttribute('role', 'table');
  for (const part of table.querySelectorAll('thead, tbody')) part.setAttribute('role', 'rowgroup');
  for (const tr of table.querySelectorAll('thead tr')) tr.setAttribute('role', 'row');
  for (const th of table.querySelectorAll('thead th')) th.setAttribute('role', 'columnheader');
}

function empty(rows, columns, text) {
  rows.replaceChildren(row(el('td', { colspan: columns, role: 'cell', class: 'muted' }, text)));
}

async function get(path, params = {}) {
  const query = new URLSearchParams(Object.entries(params).filter(([, v]) => v !== ''));
  const answer = await fetch(path + (query.size ? '?' + query : ''));
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error || answer.statusText);
  return body;
}

// --- the fleet

let stale = '';

function note(text, bad) {
  return el('p', { class: 'note' + (bad ? ' bad' : '') }, text);
}

function showNotes(f) {
  const notes = [];
  if (stale) notes.push(note('The agent does not answer, this is what it said last: ' + stale, true));
  if (f?.error) notes.push(note((f.fleet ? 'Not up to date: ' : 'The fleet cannot be read: ') + f.error, true));
  if (f?.limited) notes.push(note('Only this node is shown: ' + f.limited));
  if (f?.ring.error) notes.push(note('The ring in Consul cannot be used: ' + f.ring.error, true));
  const shown = notes.map((n) => n.textContent).join('\n');
  if (byId('notes').dataset.shown === shown) return;
  byId('notes').dataset.shown = shown;
  byId('notes').replaceChildren(...notes);
}

function state(n) {
  if (n.drained) return badge('maintenance', 'warn');
  if (!n.alive) return badge('no report', 'bad');
  if (n.mode === 'per-host') return badge('own keys', 'bad');
  return n.proved ? badge('proved', 'good') : badge('not proved', 'warn');
}

function reload(r, told) {
  if (!r.result) return null;
  const kind = r.result === 'ok' ? 'good' : r.result === 'not-running' ? 'warn' : 'bad';
  return [badge(r.result, kind), ' ', when(r.at), el('small', {}, [r.reason, told.includes(r.err) ? '' : r.err].filter(Boolean).join(': '))];
}

function resumption(r) {
  if (!r || !r.offered) return null;
  const whole = r.resumed === r.offered;
  const percent = Math.floor((1000 * r.resumed) / r.offered) / 10;
  return [badge(percent + ' %', whole ? 'good' : 'bad'), el('small', {}, `${count(r.resumed)} of ${count(r.offered)}`), r.err && el('small', {}, r.err)];
}

function problem(p) {
  return el('span', { class: 'problem' }, badge(p.severity, p.severity === 'alarm' ? 'bad' : 'warn'), ' ', el('code', {}, p.code),
    el('small', {}, p.message), p.hint && el('small', {}, 'Hint: ' + p.hint));
}

function nodeRow(n) {
  const told = (n.problems || []).map((p) => p.message); // once is enough
  const same = told.find((m) => m && n.why?.endsWith(': ' + m));
  const why = same ? n.why.slice(0, -same.length - 2) : n.why;
  const versions = [n.version && 'tlsfleet ' + n.version, n.nginx_version && 'nginx ' + n.nginx_version].filter(Boolean);
  return row(
    head(n.name, n.leader && ' ', n.leader && badge('leader'), n.address && el('small', {}, n.address)),
    cell('State', [state(n), !n.proved && why && el('small', {}, why)]),
    cell('Epoch', n.alive ? String(n.applied) : '', 'num'),
    cell('Release', n.alive ? String(n.release) : '', 'num'),
    cell('Last reload', reload(n.reload, told)),
    cell('Versions', versions.map((v) => el('small', {}, v))),
    cell('Names', n.alive ? count(n.names) : '', 'num'),
    cell('Resumption', resumption(n.resumption)),
    cell('Problems', (n.problems || []).map(problem)),
  );
}

function tile(label, value, ...small) {
  return el('div', {}, el('dt', {}, label), el('dd', {}, value, ...small.filter(Boolean).map((s) => el('small', {}, s))));
}

// archives is a tile, where the leader keeps copies.
function archives(list) {
  const late = list.filter((a) => a.lag_seconds);
  return tile('Archives', late.length ? badge(late.length + ' behind', 'warn') : 'all copied',
    ...(late.length ? late : list).map((a) => (a.lag_seconds ? `${a.name}: ${span(a.lag_seconds)}, ${count(a.pending)} to copy` : a.name)));
}

function showSummary(f) {
  const problems = f.nodes.flatMap((n) => n.problems || []);
  const alarms = problems.filter((p) => p.severity === 'alarm').length;
  const silent = f.nodes.filter((n) => !n.alive && !n.drained).length;
  const tiles = [
    tile('Ring', 'epoch ' + f.ring.epoch, f.limited ? '' : `proved by ${f.ring.proved} of ${f.ring.in_service} nodes`),
    tile('Next rotation', when(f.ring.rotation_due), f.ring.policy && 'policy ' + f.ring.policy),
    tile('Leader', f.leader || (f.limited ? 'not known' : 'none')),
    tile('Names', count(f.names), 'inventory ' + f.inventory),
    tile('Nodes', count(f.nodes.length), silent ? silent + ' without a report' : 'all report'),
    tile('Problems', count(problems.length), alarms ? alarms + (alarms === 1 ? ' alarm' : ' alarms') : 'no alarm'),
    f.archives && archives(f.archives),
  ].filter(Boolean);
  byId('summary').replaceChildren(...tiles);
}

function showRing(r) {
  const parts = r.epoch ? [`Epoch ${r.epoch}, made `, when(r.changed), ` by ${r.by} (${r.cause}). `] : ['There is no ring yet.'];
  if (r.rotation_due) parts.push('The next rotation is due ', when(r.rotation_due), '.');
  if (r.promote) parts.push(' The next key is adopted and waits until every node has proved it.');
  if (r.skipped) parts.push(' Passed over: ' + r.skipped.join(', ') + '.');
  byId('ring-text').replaceChildren(...parts);
  byId('ring-rows').replaceChildren(...r.keys.map((k) => row(
    head(badge(k.role, k.role === 'current' ? 'good' : '')),
    cell('Key', [el('code', {}, k.name.slice(0, 16)), el('small', {}, `AES-${k.aes_bits}`)]),
    cell('Age', date(k.born) ? span((Date.now() - date(k.born)) / 1000) : ''),
    cell('Seals since', k.role === 'next' ? 'not yet' : [when(k.promoted), date(k.retired) && el('small', {}, 'until ', when(k.retired))].filter(Boolean)),
    cell('Made by', k.origin),
  )));
}

let fleetShown = '';

async function loadFleet() {
  let f;
  try {
    f = await get('/v1/fleet');
    stale = '';
  } catch (err) {
    stale = err.message;
    showNotes(null);
    return;
  }
  showNotes(f);
  byId('fleet').textContent = f.fleet;
  byId('self').textContent = f.self ? `seen from ${f.self}, tlsfleet ${f.version}` : '';
  document.title = (f.fleet ? f.fleet + ' - ' : '') + 'tlsfleet';
  if (!f.fleet) return;
  // Ages go on while nothing changes: once a minute is enough for them.
  const now = JSON.stringify([f.ring, f.nodes.map((n) => ({ ...n, at: '' })), f.names, f.leader, f.limited, f.archives?.map((a) => [a.name, a.since]), Math.floor(Date.now() / 60000)]);
  if (now === fleetShown) return;
  fleetShown = now;
  showSummary(f);
  showRing(f.ring);
  byId('nodes-rows').replaceChildren(...f.nodes.map(nodeRow));
  if (!f.nodes.length) empty(byId('nodes-rows'), 9, 'No node is registered.');
}

// --- certificates by their end

let ends = null;
let chartWidth = 0; // px, 0 while nothing is shown

const niceTop = (n) => [1, 2, 5, 10].map((f) => f * 10 ** Math.floor(Math.log10(Math.max(n, 1)))).find((top) => top >= n);

// drawEnds draws at the width that the chart has; its observer calls it when
// that is known or another.
function drawEnds() {
  if (!ends || !chartWidth) return;
  const width = Math.max(chartWidth, 200);
  const height = 200;
  const [left, bottom, top] = [44, 22, 8];
  const most = niceTop(Math.max(...ends.count));
  const step = (width - left) / ends.count.length;
  const y = (n) => top + (height - top - bottom) * (1 - n / most);
  const at = (i) => new Date(date(ends.from).getTime() + i * ends.span_s * 1000);
  const picture = svg('svg', { viewBox: `0 0 ${width} ${height}`, height, role: 'img', 'aria-label': byId('expiry-text').textContent });
  for (const n of [...new Set([0, Math.floor(most / 2), most])]) {
    picture.append(svg('line', { x1: left, x2: width, y1: y(n), y2: y(n) }), svg('text', { x: left - 6, y: y(n) + 4, 'text-anchor': 'end' }, count(n)));
  }
  let free = left;
  ends.count.forEach((n, i) => {
    const days = (i * ends.span_s) / 86400;
    if (n > 0) {
      const kind = days < 7 ? 'bar bad' : days < 30 ? 'bar warn' : 'bar';
      const h = Math.max(y(0) - y(n), 2);
      picture.append(svg('rect', { class: kind, x: left + i * step + step * 0.1, y: y(0) - h, width: Math.max(step * 0.8, 1), height: h },
        svg('title', {}, `${day(at(i))}: ${count(n)}`)));
    }
    const x = left + i * step;
    if (x >= free && x + 74 <= width) {
      picture.append(svg('text', { x, y: height - 5 }, day(at(i))));
      free = x + 110;
    }
  });
  byId('expiry-chart').replaceChildren(picture);
  const rows = ends.count.map((n, i) => [day(at(i)), n]).filter(([, n]) => n > 0);
  byId('expiry-rows').replaceChildren(...rows.map(([from, n]) => el('tr', {}, el('th', { scope: 'row' }, from), el('td', { class: 'num' }, count(n)))));
}

async function loadEnds() {
  const unit = byId('expiry-unit').value;
  try {
    ends = await get('/v1/expiry', { unit, count: unit === 'day' ? 90 : 60 });
  } catch (err) {
    byId('expiry-text').textContent = 'Not known: ' + err.message;
    return;
  }
  const within = ends.count.reduce((a, b) => a + b, 0);
  byId('expiry-text').textContent = `${count(ends.ended)} ended, ${count(within)} end in this time, ${count(ends.later)} later` +
    (ends.whole ? '' : '; this node does not know all of them yet');
  drawEnds();
}

// --- names, by page

// turn shows which pages there are.
function turn(what, back, next) {
  byId(what + '-back').disabled = !back;
  byId(what + '-next').disabled = !next;
  byId(what + '-back').parentElement.hidden = !back && !next;
}

const names = { before: [], after: '', next: '', asked: 0 };

async function loadNames() {
  const asked = ++names.asked;
  let page;
  try {
    page = await get('/v1/names', { match: byId('names-match').value.trim(), at: byId('names-at').value, after: names.after });
  } catch (err) {
    if (asked === names.asked) byId('names-text').textContent = 'Not searched: ' + err.message;
    return;
  }
  if (asked !== names.asked) return; // another search was begun
  names.next = page.next || '';
  const first = names.before.length * 50;
  byId('names-text').textContent = page.matching
    ? `${count(first + 1)} to ${count(first + page.names.length)} of ${count(page.matching)}` + (page.matching === page.total ? '' : `, of ${count(page.total)} names`)
    : page.total ? `None of ${count(page.total)} names` : 'There are no certificates yet.';
  byId('names-rows').replaceChildren(...page.names.map((n) => {
    const left = (date(n.not_after) - Date.now()) / 86400000;
    const kind = left < 0 ? 'bad' : left < 7 ? 'bad' : left < 30 ? 'warn' : '';
    return row(head(n.name), cell('Ends', [day(date(n.not_after)), ' ', badge(left < 0 ? 'ended' : Math.floor(left) + ' d', kind), n.quarantined ? ' ' : '', n.quarantined ? badge('quarantined here', 'bad') : '']),
      cell('Certificate', el('code', {}, n.bundle.slice(0, 16))));
  }));
  turn('names', names.before.length > 0, names.next !== '');
}

let typing;

function search() {
  Object.assign(names, { before: [], after: '' });
  return loadNames();
}

byId('names-form').addEventListener('submit', (e) => { e.preventDefault(); search(); });
byId('names-match').addEventListener('input', () => { clearTimeout(typing); typing = setTimeout(search, 150); });
byId('names-at').addEventListener('change', search);
byId('names-next').addEventListener('click', () => { names.before.push(names.after); names.after = names.next; loadNames(); });
byId('names-back').addEventListener('click', () => { names.after = names.before.pop() || ''; loadNames(); });

// --- waiting or parked

let offset = 0;

async function loadWaiting() {
  let page;
  try {
    page = await get('/v1/waiting', { state: byId('waiting-state').value, offset });
  } catch (err) {
    byId('waiting-text').textContent = 'Not known: ' + err.message;
    return;
  }
  const states = Object.entries(page.states).filter(([, n]) => n).map(([s, n]) => `${count(n)} ${s}`).join(', ');
  byId('waiting-text').textContent = [page.error && 'Not up to date: ' + page.error, states || (page.error ? '' : 'nothing is obtained by ACME'),
    page.matching && `${count(offset + 1)} to ${count(offset + page.waiting.length)} of ${count(page.matching)} shown`,
    page.refused && `${count(page.refused)} records cannot be read`].filter(Boolean).join('; ');
  byId('waiting-rows').replaceChildren(...page.waiting.map((w) => row(
    head(w.names[0], w.names.length > 1 && el('small', {}, w.names.slice(1, 6).join(' ') + (w.names.length > 6 ? ` and ${w.names.length - 6} more` : ''))),
    cell('State', [badge(w.state, w.state === 'parked' ? 'bad' : 'warn'), el('small', {}, 'since ', when(w.since))]),
    cell('Reason', [w.reason || 'none given', el('small', {}, [w.class, w.stage && 'at ' + w.stage, w.ca, w.failures && `failed ${count(w.failures)} ${w.failures === 1 ? 'time' : 'times'}`].filter(Boolean).join(', '))]),
    cell('Next try', date(w.next) ? when(w.next) : 'by hand'),
  )));
  if (!page.matching && !page.error) empty(byId('waiting-rows'), 4, 'Nothing waits.');
  turn('waiting', offset > 0, offset + page.waiting.length < page.matching);
}

byId('waiting-state').addEventListener('change', () => { offset = 0; loadWaiting(); });
byId('waiting-next').addEventListener('click', () => { offset += 50; loadWaiting(); });
byId('waiting-back').addEventListener('click', () => { offset = Math.max(0, offset - 50); loadWaiting(); });
byId('expiry-unit').addEventListener('change', loadEnds);
new ResizeObserver(([chart]) => {
  if (chart.contentRect.width === chartWidth) return;
  chartWidth = chart.contentRect.width;
  drawEnds();
}).observe(byId('expiry-chart'));

// --- live

const seen = new Set();
const kinds = { alarm: 'bad', warning: 'warn' };

function live(text, kind) {
  byId('live').textContent = text;
  byId('live').className = 'badge ' + kind;
}

function showEvent(e) {
  if (seen.has(e.id) || e.kind === 'look') return;
  seen.add(e.id);
  const at = el('time', { datetime: e.at, class: 'muted mono' }, new Date(e.at).toLocaleTimeString('en-GB'));
  byId('events-rows').prepend(el('li', {}, at, badge(e.kind, e.kind === 'solved' ? 'good' : kinds[e.severity]), e.node ? el('strong', {}, e.node) : '', el('span', {}, e.text)));
  while (byId('events-rows').children.length > 200) byId('events-rows').lastChild.remove();
}

let soon;

function changed(kind) {
  clearTimeout(soon);
  soon = setTimeout(() => {
    loadFleet();
    if (kind === 'certificates') { loadEnds(); loadNames(); loadWaiting(); }
  }, 100);
}

function listen() {
  const stream = new EventSource('/v1/stream');
  stream.onopen = () => { live('live', 'good'); loadFleet(); };
  stream.onmessage = (m) => {
    const e = JSON.parse(m.data);
    showEvent(e);
    changed(e.kind);
  };
  stream.onerror = () => {
    live('not live: read every 15 s', 'warn');
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 30000);
  };
}

setInterval(() => { if (!document.hidden) loadFleet(); }, 15000);
setInterval(() => { if (!document.hidden) { loadWaiting(); loadEnds(); } }, 60000);

// All is laid out once and nothing jumps; an agent that is slow to answer is
// not waited for.
const patience = new Promise((done) => setTimeout(done, 1000));
await Promise.race([patience, Promise.all([loadFleet(), loadEnds(), loadNames()])]);
byId('main').hidden = false;
// A task that a frame asks for runs when that frame is painted.
requestAnimationFrame(() => setTimeout(() => {
  performance.mark('first-view');
  document.documentElement.dataset.ready = 'yes';
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
  loadWaiting();
  listen();
}));
