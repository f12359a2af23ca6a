// The table of locks: sorted, filtered, a link for each row.

/** Rows shown before somebody asks for all: of locks, and of what blocks for other reasons. */
const FIRST_ROWS = [12, 5];
let allRows = false;

/** Key in the address, heading, what it means, value to sort by, cell, and how dispensable it is on a narrow screen. */
const COLUMNS = [
  ['id', 'id', 'The same id as in lockprof report', (lock) => Number(lock.id.slice(1)), (lock) => lock.id, 1],
  ['name', 'lock', 'Name', (lock) => lock.name, (lock) => lockLink(lock), 0],
  ['kind', 'kind', 'Kind', (lock) => lock.kind, (lock) => lock.kind + (lock.pid ? ' · ' + lock.pid : ''), 2],
  ['share', 'share', 'Share of all waiting for locks', (lock) => lock.wait[0],
    (lock) => lock.is_lock && lock.contended > 0
      ? [bar(lock.wait[0], data.contention.wait_ns, 'wait'), ' ', percent(lock.wait[0], data.contention.wait_ns)] : '–', 0],
  ['wait', 'wait', 'Time waited, all threads added up', (lock) => lock.wait[0], (lock) => waited(lock, 0), 0],
  ['p50', 'p50', 'Half of the waits were shorter', (lock) => lock.wait[2], (lock) => waited(lock, 2), 3],
  ['p99', 'p99', '99 of 100 waits were shorter', (lock) => lock.wait[4], (lock) => waited(lock, 4), 2],
  ['max', 'max', 'The longest wait', (lock) => lock.wait[5], (lock) => waited(lock, 5), 1],
  ['cont', 'contended', 'Acquisitions that had to wait', (lock) => lock.contended,
    (lock) => lock.contended > 0 ? shortCount(lock.contended) + ' · ' + percent(lock.contended, lock.acquisitions) : '–', 2],
  ['count', 'taken', 'Successful acquisitions', (lock) => lock.acquisitions, (lock) => shortCount(lock.acquisitions), 2],
  ['hold', 'held', 'Time held', (lock) => lock.hold[0], (lock) => held(lock, 0), 3],
  ['holdp99', 'held p99', '99 of 100 holds were shorter', (lock) => lock.hold[4], (lock) => held(lock, 4), 1],
];
const TEXT = new Set(['id', 'name', 'kind']);
const TIMES = new Set(['wait', 'p50', 'p99', 'max', 'hold', 'holdp99']);

const waited = (lock, at) => lock.contended > 0 ? duration(lock.wait[at]) : '–';
const held = (lock, at) => lock.is_lock && lock.acquisitions > 0 ? duration(lock.hold[at]) : '–';

function sorted(rows) {
  const column = COLUMNS.find(([key]) => key === state.sort) || COLUMNS.find(([key]) => key === 'wait');
  const value = column[3];
  const up = TEXT.has(column[0]) !== (state.rev === '1');
  const order = (a, b) => {
    const [x, y] = [value(a), value(b)];
    return (x < y ? -1 : x > y ? 1 : 0) * (up ? 1 : -1);
  };
  return [...rows].sort(order);
}

function drawHead() {
  const cells = COLUMNS.map(([key, label, title, , , spare]) => {
    const chosen = state.sort === key;
    const up = TEXT.has(key) !== (state.rev === '1');
    const arrow = chosen ? (up ? ' ▲' : ' ▼') : '';
    return el('th', {
      scope: 'col', title, class: 'col-' + key + ' spare' + spare + (TEXT.has(key) ? '' : ' number'),
      'aria-sort': chosen ? (up ? 'ascending' : 'descending') : undefined,
    }, el('button', { id: 'sort-' + key, type: 'button', click: () => go({ sort: key, rev: chosen && !state.rev ? '1' : '' }) }, label + arrow));
  });
  document.querySelector('#lock-table thead').replaceChildren(el('tr', {}, cells));
}

function drawRow(lock) {
  const cells = COLUMNS.map(([key, , , value, cell, spare]) => el('td', {
    class: 'col-' + key + ' spare' + spare + (TEXT.has(key) ? '' : ' number'),
    title: TIMES.has(key) ? exact(value(lock)) : undefined,
  }, cell(lock)));
  return el('tr', {
    'data-lock': lock.id, class: state.lock === lock.id ? 'chosen' : '',
    click: (event) => { if (!event.target.closest('a')) go({ lock: lock.id }); },
  }, cells);
}

function headingRow(text) {
  return el('tr', { class: 'heading' }, el('th', { colspan: COLUMNS.length, scope: 'colgroup' }, text));
}

/** What the page has no room for, with its sums. */
function leftText(word, left) {
  if (left.locks === 0) return '';
  return 'No room for ' + plural(left.locks, 'more ' + word, 'more ' + word.replace(/^(lock|row)/, '$1s')) +
    ', those with the least waiting: ' + duration(left.wait_ns) + ' in ' + plural(left.contended, 'wait', 'waits') + ', ' +
    plural(left.acquisitions, 'acquisition', 'acquisitions') + '; lockprof report --limit shows them. ';
}

function drawTable() {
  drawHead();
  const asked = state.q.toLowerCase();
  const fits = (lock) => (lock.id + ' ' + lock.name + ' ' + lock.kind).toLowerCase().includes(asked);
  const kept = sorted(data.locks.filter(fits));
  const locks = kept.filter((lock) => lock.is_lock);
  const blocked = kept.filter((lock) => !lock.is_lock);
  const shown = (rows) => allRows ? rows : rows.slice(0, FIRST_ROWS[rows === locks ? 0 : 1]);
  byId('lock-rows').replaceChildren(...shown(locks).map(drawRow));
  byId('blocked-rows').replaceChildren(...(blocked.length === 0 ? [] : [
    headingRow('Blocked for other reasons: a worker that waits for work is idle, so none of this is contention'),
    ...shown(blocked).map(drawRow),
  ]));
  const hidden = locks.length + blocked.length - shown(locks).length - shown(blocked).length;
  const more = byId('all-rows');
  more.hidden = hidden === 0;
  more.textContent = 'Show ' + plural(hidden, 'more row', 'more rows');
  const sums = 'waited ' + duration(sum(locks, (lock) => lock.wait[0])) + ' in ' +
    plural(sum(locks, (lock) => lock.contended), 'wait', 'waits') + ', taken ' +
    shortCount(sum(locks, (lock) => lock.acquisitions)) + '×';
  byId('filter-says').textContent = (asked ? locks.length + ' of ' : '') +
    plural(sum(data.locks, (lock) => lock.is_lock ? 1 : 0), 'lock', 'locks') + ': ' + sums;
  byId('locks-left').textContent = leftText('lock', data.locks_left) + leftText('row of another kind', data.blocked_left);
}

function startTable() {
  const filter = byId('filter');
  filter.value = state.q;
  filter.addEventListener('input', () => go({ q: filter.value }, true));
  byId('all-rows').addEventListener('click', () => {
    allRows = true;
    drawTable();
  });
}
