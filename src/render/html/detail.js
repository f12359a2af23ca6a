// One lock: how long waits and holds took, who waited, who held it, who blocked whom.

/** Least value of a half octave, ns: 0, 1, 1.5, 2, 3, 4, 6, 8, … */
function binLow(bin) {
  if (bin === 0) return 0;
  return 2 ** Math.floor((bin - 1) / 2) * (bin % 2 === 1 ? 1 : 1.5);
}

const HISTOGRAM = { width: 460, height: 150, left: 8, right: 8, top: 22, bottom: 24 };

/** Counts by half octaves on a logarithmic axis, with the median and the 99th percentile marked. */
function histogram(title, className, bins, [total, mean, p50, , p99, max]) {
  if (bins.length === 0) return el('figure', {}, el('figcaption', {}, title + ': none'));
  const { width, height, left, right, top, bottom } = HISTOGRAM;
  const first = bins[0][0] - 1;
  const last = bins[bins.length - 1][0] + 2;
  const most = Math.max(...bins.map(([, number]) => number));
  const step = (width - left - right) / Math.max(last - first, 8);
  const base = height - bottom;
  const x = (bin) => left + (bin - first) * step;
  const exactX = (ns) => x(ns < 1 ? 0 : 2 * Math.log2(ns) + 1);
  const picture = svg('svg', {
    viewBox: '0 0 ' + width + ' ' + height, role: 'img', class: 'histogram',
    'aria-label': title + ': half under ' + duration(p50) + ', 99 of 100 under ' + duration(p99) + ', longest ' + duration(max),
  });
  for (const [bin, number] of bins) {
    const high = Math.max(2, number / most * (base - top));
    picture.append(svg('rect', {
      class: className, x: x(bin) + 0.5, y: base - high, width: Math.max(1, step - 1), height: high,
    }, svg('title', {}, count(number) + ' from ' + duration(Math.ceil(binLow(bin))) + ' to ' + duration(Math.ceil(binLow(bin + 1))))));
  }
  picture.append(svg('line', { class: 'axis', x1: left, x2: width - right, y1: base, y2: base }));
  for (let power = 0; power < 19; power += 1) {
    const ns = 10 ** power;
    const place = exactX(ns);
    if (place < left || place > width - right - 4) continue;
    const label = ns < 1e3 ? ns + ' ns' : ns < 1e6 ? ns / 1e3 + ' µs' : ns < 1e9 ? ns / 1e6 + ' ms' : ns / 1e9 + ' s';
    picture.append(svg('line', { class: 'axis', x1: place, x2: place, y1: base, y2: base + 4 }));
    if (place > 20 && place < width - 24) {
      picture.append(svg('text', { x: place, y: base + 16, 'text-anchor': 'middle' }, label));
    }
  }
  let end = -1;
  for (const [label, ns] of [['p50', p50], ['p99', p99]]) {
    const place = Math.min(exactX(ns), width - right);
    const text = label + ' ' + duration(ns);
    const start = Math.min(Math.max(place - 3, end + 8), width - 6 * text.length - 4);
    end = start + 6 * text.length;
    picture.append(svg('line', { class: 'mark', x1: place, x2: place, y1: top - 6, y2: base }),
      svg('text', { x: start, y: top - 9 }, text));
  }
  const facts = 'mean ' + duration(mean) + ', longest ' + duration(max) + ', together ' + duration(total);
  return el('figure', {}, el('figcaption', {}, el('b', {}, title), ' ', el('span', { class: 'dim' }, facts)), picture,
    el('div', { class: 'dim small' }, 'number by length; highest bar: ' + count(most)));
}

/** Entries of one side shown before somebody asks for more. */
const FIRST_STACKS = 8;

/** A call stack with its figures; opens to show every frame. */
function stackEntry({ node, ns, times, more }, total, className, unseen) {
  const [first, ...rest] = stackOf(node, false);
  const figures = [el('span', { class: 'figure', title: exact(ns) }, duration(ns)), el('span', { class: 'figure' }, percent(ns, total)),
    el('span', { class: 'figure times' }, shortCount(times) + '×'), bar(ns, total, className)];
  if (!first) {
    return el('div', { class: 'stack' }, el('div', { class: 'stack-head' }, figures, el('span', { class: 'place' }, unseen)));
  }
  const trail = rest.slice(0, 4).map((frame) => '← ' + oneLine(frame));
  if (rest.length > 4) trail.push('← ' + count(rest.length - 4) + ' more');
  return el('details', { class: 'stack' },
    el('summary', { class: 'stack-head' }, figures,
      el('span', { class: 'place' }, el('b', {}, breakable(first.name)), ' ', el('span', { class: 'dim' }, first.place),
        trail.map((text) => el('span', { class: 'trail dim' }, breakable(text))),
        more ? el('span', { class: 'trail' }, more) : null)),
    el('ol', {}, stackOf(node, true).map((frame) => el('li', { class: frame.library ? 'dim' : '' },
      frame.name, ' ', el('span', { class: 'dim' }, frame.place)))));
}

function sideOf(title, className, entries, total, left, unseen) {
  const box = el('div', { class: 'side ' + className + '-side' }, el('h3', {}, title));
  if (entries.length === 0) box.append(el('p', { class: 'dim' }, 'nobody'));
  const draw = (entry) => stackEntry(entry, total, className, unseen);
  box.append(...entries.slice(0, FIRST_STACKS).map(draw));
  const rest = entries.slice(FIRST_STACKS);
  if (rest.length > 0) {
    const button = el('button', { type: 'button', click: () => button.replaceWith(...rest.map(draw)) },
      plural(rest.length, 'more stack', 'more stacks') + ' with ' + duration(sum(rest, (entry) => entry.ns)));
    box.append(button);
  }
  if (left[0] > 0) {
    box.append(el('p', { class: 'dim' }, 'The page has no room for ' + plural(left[0], 'more stack', 'more stacks') + ': ' +
      duration(left[2]) + ' (' + percent(left[2], total) + ') in ' + plural(left[1], 'wait', 'waits') + '.'));
  }
  return box;
}

/** Pairs shown before somebody asks for more. */
const FIRST_PAIRS = 12;

/** Who blocks whom: a row for each waiter's place and holder's place. */
function pairTable(lock) {
  const merged = new Map();
  for (const [waiter, holder, times, ns] of lock.pairs) {
    const [from, to] = [headline(waiter), holder > 0 ? headline(holder) : 'not seen'];
    const key = from + '\n' + to;
    const pair = merged.get(key) || { from, to, times: 0, ns: 0 };
    pair.times += times;
    pair.ns += ns;
    merged.set(key, pair);
  }
  const pairs = [...merged.values()].sort((a, b) => b.ns - a.ns);
  const total = lock.wait[0];
  const row = (pair) => el('tr', {}, el('td', {}, breakable(pair.from)), el('td', {}, breakable(pair.to)),
    el('td', { class: 'number' }, shortCount(pair.times) + '×'), el('td', { class: 'number' }, duration(pair.ns)),
    el('td', { class: 'number' }, bar(pair.ns, total, 'wait'), ' ', percent(pair.ns, total)));
  const rest = pairs.slice(FIRST_PAIRS);
  const restRow = rest.length === 0 ? null : el('tr', {}, el('td', { colspan: 5 }, el('button', {
    type: 'button', click: (event) => event.target.closest('tr').replaceWith(...rest.map(row)),
  }, plural(rest.length, 'more pair', 'more pairs') + ' with ' + duration(sum(rest, (pair) => pair.ns)))));
  const left = lock.pairs_left;
  return el('div', {}, el('h3', {}, 'Who blocks whom'),
    el('div', { class: 'scroll' }, el('table', {},
      el('thead', {}, el('tr', {}, ['waits in', 'while held by', 'waits', 'time', 'share'].map((text, at) =>
        el('th', { scope: 'col', class: at > 1 ? 'number' : '' }, text)))),
      el('tbody', {}, pairs.slice(0, FIRST_PAIRS).map(row), restRow))),
    left[0] > 0 ? el('p', { class: 'dim' }, 'The page has no room for ' + plural(left[0], 'more pair', 'more pairs') +
      ' with ' + duration(left[2]) + '.') : null);
}

/** Locks of a row that stands for several shown before somebody asks for more. */
const FIRST_MEMBERS = 10;

/** The locks that a row stands for, one by one. */
function memberTable(lock) {
  const row = ([id, name, taken, waits, wait, hold]) => el('tr', {}, el('td', { class: 'dim' }, id), el('td', {}, breakable(name)),
    el('td', { class: 'number' }, shortCount(taken)), el('td', { class: 'number' }, shortCount(waits)),
    el('td', { class: 'number', title: exact(wait) }, waits > 0 ? duration(wait) : '-'),
    el('td', { class: 'number', title: exact(hold) }, duration(hold)));
  const rest = lock.members.slice(FIRST_MEMBERS);
  const restRow = rest.length === 0 ? null : el('tr', {}, el('td', { colspan: 6 }, el('button', {
    type: 'button', click: (event) => event.target.closest('tr').replaceWith(...rest.map(row)),
  }, plural(rest.length, 'more lock', 'more locks'))));
  const left = lock.stands_for - lock.members.length;
  return el('div', {}, el('h3', {}, 'Its ' + plural(lock.stands_for, 'lock', 'locks') + ', first seen at one place in the code'),
    el('div', { class: 'scroll' }, el('table', {},
      el('thead', {}, el('tr', {}, ['id', 'lock', 'taken', 'waits', 'waited', 'held'].map((text, at) =>
        el('th', { scope: 'col', class: at > 1 ? 'number' : '' }, text)))),
      el('tbody', {}, lock.members.slice(0, FIRST_MEMBERS).map(row), restRow))),
    left > 0 ? el('p', { class: 'dim' }, 'The page has no room for ' + plural(left, 'more lock', 'more locks') +
      ': lockprof report --lock ' + lock.id + ' shows them.') : null);
}

function detailFacts(lock) {
  const facts = [lock.kind];
  if (lock.pid) facts.push('process ' + lock.pid);
  if (lock.kind === 'rwlock') facts.push(count(lock.reads) + ' reads, ' + count(lock.acquisitions - lock.reads) + ' writes');
  facts.push(count(lock.contended) + ' of ' + count(lock.acquisitions) + (lock.is_lock ? ' acquisitions waited' : ' blocked'));
  if (lock.max_waiters > 0) facts.push('queue up to ' + count(lock.max_waiters));
  if (lock.try_failures > 0) facts.push(plural(lock.try_failures, 'failed try', 'failed tries'));
  if (lock.timeouts > 0) facts.push(plural(lock.timeouts, 'timeout', 'timeouts'));
  if (lock.still_held > 0) facts.push(plural(lock.still_held, 'hold', 'holds') + ' never ended');
  if (lock.origin) facts.push(lock.origin);
  return facts.join(' · ');
}

/** The lock whose details are shown, so that only a new one moves the page. */
let detailed = '';

function drawDetail() {
  const place = byId('detail');
  const lock = lockOf.get(state.lock);
  place.hidden = !lock;
  if (!lock) {
    const left = detailed && document.querySelector('#lock-table [data-go="' + detailed + '"]');
    detailed = '';
    place.replaceChildren();
    if (left) left.focus();
    return;
  }
  if (detailed === lock.id) return;
  detailed = lock.id;
  const total = lock.wait[0];
  const waiters = lock.waiters.map(([node, times, ns]) => ({ node, ns, times }));
  const holders = lock.holders.map(([node, times, ns, longest, hold, taken]) => ({
    node, ns, times,
    more: 'held ' + shortCount(taken) + '× for ' + duration(Math.floor(taken > 0 ? hold / taken : 0)) +
      ' on average; longest wait for it ' + duration(longest),
  }));
  if (lock.unseen[1] > 0) holders.push({ node: 0, ns: lock.unseen[1], times: lock.unseen[0] });
  holders.sort((a, b) => b.ns - a.ns);
  place.replaceChildren(
    el('div', { class: 'bar' }, el('h2', { id: 'detail-title' }, lock.id + ' ' + nameOf(lock)),
      el('button', { type: 'button', click: () => go({ lock: '' }) }, '× close')),
    el('p', { class: 'dim' }, detailFacts(lock)),
    lock.advice ? el('p', { class: 'advice' }, '→ ' + lock.advice) : '',
    el('div', { class: 'columns' },
      histogram(lock.is_lock ? 'Waits' : 'Blocked', 'wait', lock.wait_bins, lock.wait),
      lock.is_lock ? histogram('Holds', 'hold', lock.hold_bins, lock.hold) : ''),
    el('div', { class: 'columns' },
      sideOf(lock.is_lock ? 'Who waited' : 'Who was blocked', 'wait', waiters, total, lock.waiters_left, 'a call stack that was not seen'),
      lock.is_lock ? sideOf('Who held it meanwhile', 'hold', holders, total, lock.holders_left,
        'not seen: the holder let go, or its stack is unknown') : ''),
    lock.pairs.length > 0 ? pairTable(lock) : '',
    lock.members.length > 0 ? memberTable(lock) : '');
  place.focus({ preventScroll: true });
  place.scrollIntoView({ block: 'start' });
}
