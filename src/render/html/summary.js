// The top of the page: what is worst, who waits, who holds, what to do; then what else a reader has to know. And the
// lock-order section, whose words come as they are.

/** One side of a lock in its first entries: bars with time and place. */
function shortSide(title, className, entries, total) {
  const rows = entries.slice(0, 3).map(([text, ns]) => el('li', {},
    el('span', { class: 'figure' }, percent(ns, total)), bar(ns, total, className),
    el('span', { class: 'place' }, breakable(text))));
  const rest = sum(entries.slice(3), (entry) => entry[1]);
  if (rest > 0) rows.push(el('li', { class: 'dim' }, percent(rest, total) + ' elsewhere'));
  return el('div', { class: 'side ' + className + '-side' }, el('h3', {}, title), el('ul', {}, rows));
}

/** Entries for `shortSide`: places with their ns, the longest first, stacks of one place together. */
function byPlace(entries) {
  const places = new Map();
  for (const [text, ns] of entries) places.set(text, (places.get(text) || 0) + ns);
  return [...places].sort((a, b) => b[1] - a[1]);
}

function waitingPlaces(lock) {
  const rest = lock.waiters_left[2];
  return byPlace(lock.waiters.map(([node, , ns]) => [headline(node), ns]))
    .concat(rest > 0 ? [['stacks that this page has no room for', rest]] : []);
}

function holdingPlaces(lock) {
  const unseen = lock.unseen[1];
  const rest = lock.holders_left[2];
  const seen = byPlace(lock.holders.map(([node, , blocked]) => [headline(node), blocked]));
  if (unseen > 0) seen.push(['not seen: the holder let go, or its stack is unknown', unseen]);
  if (rest > 0) seen.push(['stacks that this page has no room for', rest]);
  return seen.sort((a, b) => b[1] - a[1]);
}

/** Who waits → which lock → who holds it. */
function triptych(lock) {
  const total = lock.wait[0];
  return el('div', { class: 'triptych' },
    shortSide('Who waits', 'wait', waitingPlaces(lock), total),
    el('div', { class: 'middle' },
      el('h3', {}, 'for ' + lock.kind + ' ' + lock.id),
      el('div', { class: 'lock-name' }, lockLink(lock)),
      el('div', {}, duration(total) + ' in ' + plural(lock.contended, 'wait', 'waits')),
      el('div', { class: 'dim' }, 'longest ' + duration(lock.wait[5]))),
    shortSide('Who holds it meanwhile', 'hold', holdingPlaces(lock), total));
}

/** A line with a sign, a word and a text: the sign and the word say what the colour says. */
function check(kind, word, ...text) {
  const sign = { good: '✓', bad: '✗', warn: '!', plain: '·' }[kind];
  return el('li', { class: kind }, el('span', { class: 'sign', 'aria-hidden': 'true' }, sign),
    el('b', {}, word), el('span', {}, text));
}

function totalsLine() {
  const { acquisitions, contended, wait_ns: wait, contended_locks: hot, locks } = data.contention;
  if (contended === 0) return plural(acquisitions, 'acquisition', 'acquisitions') + ' of ' + plural(locks, 'lock', 'locks') + ', all without contention';
  return 'threads waited ' + duration(wait) + ' in ' + count(contended) + ' of ' + count(acquisitions) +
    ' acquisitions (' + percent(contended, acquisitions) + '), for ' + count(hot) + ' of ' + plural(locks, 'lock', 'locks');
}

function drawSummary() {
  byId('command').textContent = data.command;
  byId('facts').textContent = data.facts.join(' · ');
  const place = byId('summary');
  const hottest = data.locks.find((lock) => lock.is_lock && lock.contended > 0);
  // What may stop the program for good comes before what slows it.
  if (data.orders.fails && !data.nothing) place.append(el('p', { class: 'lead bad' }, '✗ ' + data.orders.line));
  if (data.nothing) {
    place.append(el('p', { class: 'lead' }, data.nothing));
  } else if (data.hottest && hottest) {
    const [before, after] = split(data.hottest.sentence, hottest.name);
    place.append(el('p', { class: 'lead' }, before, after === null ? '' : lockLink(hottest, hottest.name), after || ''));
    if (data.hottest.advice) place.append(el('p', { class: 'advice' }, '→ ' + data.hottest.advice));
    place.append(triptych(hottest));
  } else {
    place.append(el('p', { class: 'lead' }, 'No thread had to wait for a lock.'));
  }
  const checks = el('ul', { class: 'checks' });
  if (!data.nothing) checks.append(check(data.contention.contended > 0 ? 'plain' : 'good', 'Contention', totalsLine()));
  if (data.hangs.length > 0) {
    checks.append(check('bad', 'Hangs', plural(data.hangs.length, 'report', 'reports') + ': see below'));
  }
  const orders = data.orders;
  const line = orders.line.replace(/^lock order: /, '');
  checks.append(check(orders.fails ? 'bad' : 'good', 'Lock order', line, ' ', el('a', { href: '#order', class: 'jump' }, 'see')));
  for (const entry of orders.entries.filter((entry) => !entry.cycle && entry.area !== 'contention')) {
    checks.append(check(entry.fails ? 'bad' : 'warn', 'Misuse', entry.title));
  }
  const costs = orders.entries.filter((entry) => entry.area === 'contention');
  for (const entry of costs.slice(0, 3)) {
    checks.append(check('warn', 'Finding', entry.title, ' ', el('a', { href: '#findings', class: 'jump' }, 'see')));
  }
  const { text, complete, cost, notes } = data.coverage;
  checks.append(check(complete ? 'good' : 'bad', 'Recording', (complete ? 'complete: ' : 'INCOMPLETE: ') + text));
  for (const note of notes) checks.append(check('warn', 'Note', note));
  for (const reason of orders.incomplete) checks.append(check('warn', 'Not seen', reason));
  if (cost) checks.append(check('plain', 'Cost', cost));
  place.append(checks);
  byId('hangs').hidden = data.hangs.length === 0;
  byId('hang-list').append(...data.hangs.map((text) => el('pre', {}, text)));
  byId('footer').textContent = 'Made by lockprof ' + data.version + '. This file needs no network.';
}

function split(text, word) {
  const at = text.indexOf(word);
  return at < 0 ? [text, null] : [text.slice(0, at), text.slice(at + word.length)];
}

/** A finding with its reason, its advice and its places. */
function findingEntry(entry) {
  const links = entry.locks.map((id) => lockOf.get(id)).filter(Boolean);
  return el('article', { class: 'entry ' + (entry.fails ? 'bad' : 'quiet') },
    el('h3', {}, el('span', { class: 'badge' }, (entry.fails ? '✗ ' : '· ') + entry.word), ' ', entry.title),
    el('p', {}, entry.reason),
    entry.advice ? el('p', { class: 'advice' }, '→ ' + entry.advice) : null,
    links.length > 0 ? el('p', { class: 'dim' }, 'Locks: ',
      links.flatMap((lock, at) => [at > 0 ? ', ' : '', lockLink(lock, lock.id + ' ' + nameOf(lock))])) : null,
    el('details', {}, el('summary', {}, 'Where, and how it comes about'), el('pre', {}, entry.text)));
}

function drawOrder() {
  const orders = data.orders;
  byId('order-line').textContent = orders.line;
  const place = byId('order-entries');
  const costs = orders.entries.filter((entry) => entry.area === 'contention');
  byId('findings').hidden = costs.length === 0;
  byId('finding-entries').append(...costs.map(findingEntry));
  place.append(...orders.entries.filter((entry) => entry.area !== 'contention').map(findingEntry));
  byId('order-full').closest('.tools').hidden = !document.querySelector('#order-graph .lock');
  byId('order-full').addEventListener('change', (event) => byId('order-graph').classList.toggle('full', event.target.checked));
  const notes = orders.notes.concat(orders.left > 0
    ? ['The page has no room for ' + count(orders.left) + ' more: lockprof check -v tells them all.'] : []);
  place.append(...notes.map((note) => el('p', { class: 'dim' }, note)));
}
