'use strict';
// What all parts of the page use: the data, numbers as people read them, elements, and the state in the address.

const root = document.documentElement;

/** Errors are told in the page, and kept where a test can read them. */
function failed(message) {
  root.dataset.errors = (root.dataset.errors ? root.dataset.errors + ' | ' : '') + message;
  const place = document.getElementById('broken');
  place.hidden = false;
  place.textContent = 'A part of this page could not be drawn: ' + root.dataset.errors;
}
window.addEventListener('error', (event) => failed(event.message));
document.addEventListener('securitypolicyviolation', (event) => failed('refused: ' + event.violatedDirective));

const data = JSON.parse(document.getElementById('data').textContent);
const byId = (id) => document.getElementById(id);

/** An element with attributes (`class`, `href`, …; functions are listeners) and children (text stays text). */
function el(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
function svg(tag, attributes, ...children) {
  return filled(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ''));
  return element;
}

// Numbers, as `lockprof report` writes them.

function threeDigits(value) {
  return value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
}

/** A duration in ns with three digits and its unit. */
function duration(ns) {
  if (ns < 1000) return ns + ' ns';
  const seconds = Math.round(ns / 1e9);
  const two = (number) => String(number).padStart(2, '0');
  if (seconds >= 3600) return Math.floor(seconds / 3600) + ' h ' + two(Math.floor(seconds % 3600 / 60)) + ' min';
  if (seconds >= 100) return Math.floor(seconds / 60) + ' min ' + two(seconds % 60) + ' s';
  for (const [unit, name] of [[1e9, 's'], [1e6, 'ms']]) {
    if (ns / unit >= 0.9995) return threeDigits(ns / unit) + ' ' + name;
  }
  return threeDigits(ns / 1e3) + ' µs';
}

/** A count with separators. */
function count(value) {
  return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ',');
}

function shortCount(value) {
  if (value < 10000) return count(value);
  if (value < 999500) return threeDigits(value / 1e3) + 'k';
  if (value < 999500000) return threeDigits(value / 1e6) + 'M';
  return threeDigits(value / 1e9) + 'G';
}

function percent(part, whole) {
  const value = whole > 0 ? part / whole * 100 : 0;
  if (value <= 0) return '0%';
  if (value < 0.1) return '<0.1%';
  if (value < 9.95) return value.toFixed(1) + '%';
  return value >= 99.5 && value < 100 ? '>99%' : value.toFixed(0) + '%';
}

const plural = (value, one, many) => count(value) + ' ' + (value === 1 ? one : many);
const sum = (list, value) => list.reduce((total, item) => total + value(item), 0);
const exact = (ns) => count(ns) + ' ns' + (ns >= 1000 ? ' (' + duration(ns) + ')' : '');

// Call stacks: a node of the tree is a frame and its callers.

const { strings, frames, callers, at: frameAt } = data.stacks;

/** The frames of a stack, innermost first; those of libraries only where asked for, or where there are no others. */
function stackOf(node, libraries) {
  const all = [];
  while (node > 0) {
    const [name, place, library] = frames[frameAt[node]];
    all.push({ name: strings[name], place: strings[place], library: library === 1 });
    node = callers[node] === 0 ? 0 : node - callers[node];
  }
  if (libraries) return all;
  const own = all.filter((frame) => !frame.library);
  return own.length > 0 ? own : all.slice(0, 1);
}

const oneLine = (frame) => frame.place ? frame.name + ' (' + frame.place + ')' : frame.name;

/** A stack in one piece of text. */
function headline(node) {
  const [first] = stackOf(node, false);
  return first ? oneLine(first) : 'a call stack that was not seen';
}

// Locks.

const lockOf = new Map(data.locks.map((lock) => [lock.id, lock]));
const nameOf = (lock) => lock.stands_for > 1 ? lock.name + ' ×' + shortCount(lock.stands_for) : lock.name;

/** A bar that shows a share; the number beside it says the same. */
function bar(part, whole, className) {
  const inner = el('span', { class: className });
  inner.style.width = (whole > 0 ? Math.max(part > 0 ? 1 : 0, part / whole * 100) : 0) + '%';
  return el('span', { class: 'meter', 'aria-hidden': 'true' }, inner);
}

// The state: what is looked at. It is in the address, so that a link shows the same.

const DEFAULTS = { lock: '', sort: 'wait', rev: '', q: '', side: 'both', metric: 'time', libs: '', find: '' };

function readHash() {
  const read = { ...DEFAULTS };
  for (const [key, value] of new URLSearchParams(location.hash.slice(1))) {
    if (key in DEFAULTS) read[key] = value;
  }
  if (!lockOf.has(read.lock)) read.lock = '';
  return read;
}

let state = readHash();

/** The address of the state with some changes. */
function hashWith(changes) {
  const all = { ...state, ...changes };
  const words = Object.keys(DEFAULTS).filter((key) => all[key] !== DEFAULTS[key])
    .map((key) => key + '=' + encodeURIComponent(all[key]));
  return '#' + words.join('&');
}

/** Changes the state; what is typed letter by letter makes no new entries in the history. */
function go(changes, quietly) {
  const hash = hashWith(changes);
  if (hash === (location.hash || '#')) return;
  if (!quietly) {
    location.hash = hash;
    return;
  }
  history.replaceState(null, '', hash);
  render();
}

/** A long name that may be broken behind its parts: `a::b::c`, `path/to/file`. */
function breakable(text) {
  return text.split(/(?<=::|[/._])/).flatMap((part, at) => at > 0 ? [el('wbr'), part] : [part]);
}

/** What a lock is called, as a link to its details. */
function lockLink(lock, text) {
  return el('a', { href: hashWith({ lock: lock.id }), class: 'lock-link', title: nameOf(lock), 'data-go': lock.id }, breakable(text || nameOf(lock)));
}

/** Buttons of which one is chosen. */
function choice(place, key, options) {
  place.replaceChildren(...options.map(([value, label]) => el('button', {
    type: 'button',
    id: key + '-' + value,
    'aria-pressed': String(state[key] === value),
    click: () => go({ [key]: value }),
  }, label)));
}

/** What a picture shows: everything, or one lock. */
function scope(place, lock, all) {
  place.replaceChildren(lock
    ? el('span', { class: 'chip' }, 'only ' + lock.id, el('b', {}, breakable(nameOf(lock))),
      el('button', { type: 'button', 'aria-label': 'Show all locks', click: () => go({ lock: '' }) }, '× all locks'))
    : all);
}

// The tooltip.

const tip = byId('tip');

function showTip(lines, x, y) {
  tip.replaceChildren(...lines.map((line, at) => el('div', { class: at === 0 ? 'strong' : '' }, line)));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - box.width - 8)) + 'px';
  tip.style.top = (y + 18 + box.height > innerHeight ? Math.max(4, y - box.height - 12) : y + 18) + 'px';
}

const hideTip = () => { tip.hidden = true; };
