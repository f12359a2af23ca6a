// The flame graph: the stack that waited, the lock, and on top of it the stack that held it meanwhile. Drawn of plain
// boxes, so that the browser cuts their texts, and the keyboard and readers of screens reach them.

const ROW = 18;
/** Frames narrower than this part of the picture are left out until somebody zooms in. */
const NARROWEST = 1 / 1500;
/** More boxes than that are slow. */
const MOST_BOXES = 5000;

/** The whole picture, and the frame that fills it. */
let flame = null;
let zoomed = null;
let flameKey = '';

const newFrame = (name, place, kind, parent) => ({
  name, place, kind, parent, value: 0, depth: parent ? parent.depth + 1 : 0, children: new Map(), box: null,
});

function addPath(path, value) {
  let at = flame;
  at.value += value;
  for (const { name, place, kind } of path) {
    const key = kind + name;
    let child = at.children.get(key);
    if (!child) at.children.set(key, child = newFrame(name, place, kind, at));
    child.value += value;
    at = child;
  }
}

const outerFirst = (node, kind, libraries, unknown) => {
  const frames = stackOf(node, libraries).reverse()
    .map((frame) => ({ name: frame.name, place: frame.place, kind: frame.library ? 'library' : kind }));
  return frames.length > 0 ? frames : [{ name: unknown, place: '', kind: 'library' }];
};

/** All stacks of what is looked at, as one tree. */
function growFlame() {
  const libraries = state.libs === '1';
  const asked = lockOf.get(state.lock);
  const rows = asked ? [asked] : data.locks.filter((lock) => lock.is_lock);
  const pick = (times, ns) => state.metric === 'count' ? times : ns;
  flame = newFrame('all', '', 'root', null);
  const leave = (lock, [stacks, times, ns]) => {
    const value = pick(times, ns);
    if (stacks > 0 && value > 0) {
      addPath([frameOf(lock), { name: '[no room for ' + plural(stacks, 'stack', 'stacks') + ']', place: '', kind: 'library' }], value);
    }
  };
  const namesakes = new Map();
  for (const lock of rows) namesakes.set(nameOf(lock), (namesakes.get(nameOf(lock)) || 0) + 1);
  const frameOf = (lock) => ({
    name: nameOf(lock) + (namesakes.get(nameOf(lock)) > 1 ? ' [' + lock.id + ']' : ''),
    place: lock.kind + ' ' + lock.id, kind: 'lock',
  });
  for (const lock of rows) {
    if (state.side === 'both' && lock.is_lock) {
      for (const [waiter, holder, times, ns] of lock.pairs) {
        addPath([...outerFirst(waiter, 'waiter', libraries, '[unknown stack]'), frameOf(lock),
          ...outerFirst(holder, 'holder', libraries, '[holder not seen]')], pick(times, ns));
      }
      leave(lock, lock.pairs_left);
    } else if (state.side === 'holder' && lock.is_lock) {
      for (const [node, times, blocked] of lock.holders) {
        addPath([frameOf(lock), ...outerFirst(node, 'holder', libraries, '')], pick(times, blocked));
      }
      const unseen = pick(...lock.unseen);
      if (unseen > 0) addPath([frameOf(lock), { name: '[holder not seen]', place: '', kind: 'library' }], unseen);
      leave(lock, lock.holders_left);
    } else {
      for (const [node, times, ns] of lock.waiters) {
        addPath([frameOf(lock), ...outerFirst(node, 'waiter', libraries, '[unknown stack]')], pick(times, ns));
      }
      leave(lock, lock.waiters_left);
    }
  }
  zoomed = flame;
}

const flameValue = (value) => state.metric === 'count' ? plural(value, 'wait', 'waits') : exact(value);

function flameLines(frame) {
  const what = { waiter: 'on the stack that waited', holder: 'on the stack that held the lock', lock: 'the lock', library: 'a library', root: 'everything' }[frame.kind];
  const lines = [frame.name, what + (frame.place ? ' · ' + frame.place : ''),
    flameValue(frame.value) + ' · ' + percent(frame.value, flame.value) + ' of the picture'];
  if (zoomed !== flame && zoomed.value > 0) lines.push(percent(frame.value, zoomed.value) + ' of what is zoomed to');
  return lines;
}

/** Puts the boxes of the zoomed frame, of what is above it, and of what it stands on. */
function drawBoxes() {
  const place = byId('flame-graph');
  const boxes = [];
  let deepest = zoomed.depth;
  let narrow = 0;
  const search = state.find.toLowerCase();
  const put = (frame, left, width) => {
    frame.box = el('div', {
      class: 'frame ' + frame.kind + (search && frame.name.toLowerCase().includes(search) ? ' found' : '') +
        (frame.depth < zoomed.depth ? ' below' : ''),
      role: 'treeitem', tabindex: frame === zoomed ? '0' : '-1', 'aria-level': frame.depth + 1,
      'aria-label': frame.name + ', ' + flameValue(frame.value),
    // The end of a long name tells more than its beginning: see the style sheet.
    }, el('bdi', {}, frame === flame ? 'all: ' + (state.metric === 'count' ? plural(frame.value, 'wait', 'waits') : duration(frame.value)) : frame.name));
    frame.box.style.left = left * 100 + '%';
    frame.box.style.width = width * 100 + '%';
    frame.box.style.bottom = frame.depth * ROW + 'px';
    frame.box.frame = frame;
    boxes.push(frame.box);
    deepest = Math.max(deepest, frame.depth);
  };
  for (let below = zoomed.parent; below; below = below.parent) put(below, 0, 1);
  const pending = [[zoomed, 0]];
  while (pending.length > 0) {
    const [frame, left] = pending.pop();
    const width = frame.value / zoomed.value;
    if (width < NARROWEST || boxes.length >= MOST_BOXES) {
      narrow += 1;
      frame.box = null;
      continue;
    }
    put(frame, left, width);
    let at = left;
    for (const child of orderedChildren(frame)) {
      pending.push([child, at]);
      at += child.value / zoomed.value;
    }
  }
  place.style.height = (deepest + 1) * ROW + 'px';
  place.replaceChildren(...boxes);
  byId('flame-reset').disabled = zoomed === flame;
  byId('flame-left').textContent = narrow === 0 ? '' :
    plural(narrow, 'frame is', 'frames are') + ' too narrow to draw, with what is above: zoom in to see more.';
  byId('flame-says').textContent = search ? foundText(search) : '';
}

const orderedChildren = (frame) => [...frame.children.values()].sort((a, b) => b.value - a.value || (a.name < b.name ? -1 : 1));

/** How much of the picture the found frames are, each stack counted once. */
function foundText(search) {
  let found = 0;
  const pending = [flame];
  while (pending.length > 0) {
    const frame = pending.pop();
    if (frame.kind !== 'root' && frame.name.toLowerCase().includes(search)) found += frame.value;
    else pending.push(...frame.children.values());
  }
  return 'Found: ' + percent(found, flame.value) + ' of the picture, ' + flameValue(found);
}

function zoomTo(frame) {
  zoomed = frame;
  drawBoxes();
  focusFrame(frame);
}

function focusFrame(frame) {
  if (!frame || !frame.box) return;
  for (const box of byId('flame-graph').children) box.tabIndex = -1;
  frame.box.tabIndex = 0;
  frame.box.focus();
  byId('flame-says').textContent = flameLines(frame).join(' · ');
}

/** Up is away from the root, as in the picture. */
function flameKeyPressed(event) {
  const frame = event.target.frame;
  if (!frame) return;
  const siblings = frame.parent ? orderedChildren(frame.parent).filter((other) => other.box && other.box.isConnected) : [frame];
  const at = siblings.indexOf(frame);
  const next = {
    ArrowUp: () => orderedChildren(frame).find((child) => child.box && child.box.isConnected),
    ArrowDown: () => frame.parent,
    ArrowLeft: () => siblings[at - 1],
    ArrowRight: () => siblings[at + 1],
  }[event.key];
  if (next) focusFrame(next());
  else if (event.key === 'Enter' || event.key === ' ') zoomTo(frame);
  else if (event.key === 'Escape' && zoomed !== flame) zoomTo(flame);
  else return;
  event.preventDefault();
  event.stopPropagation();
}

function drawFlame() {
  const asked = lockOf.get(state.lock);
  scope(byId('flame-scope'), asked, 'all locks');
  choice(byId('flame-sides'), 'side', [['both', 'both sides'], ['waiter', 'who waited'], ['holder', 'who held']]);
  choice(byId('flame-metrics'), 'metric', [['time', 'by time'], ['count', 'by number']]);
  byId('flame-libraries').checked = state.libs === '1';
  const key = [state.lock, state.side, state.metric, state.libs].join();
  if (key !== flameKey) {
    flameKey = key;
    growFlame();
  }
  const graph = byId('flame-graph');
  graph.hidden = flame.value === 0;
  if (flame.value === 0) {
    byId('flame-legend').textContent = 'No thread had to wait' + (asked ? ' for this lock.' : ' for a lock: there is nothing to draw.');
    byId('flame-left').textContent = '';
    return;
  }
  const sides = state.side === 'both' && (!asked || asked.is_lock)
    ? [['waiter', 'the stack that waited'], ['lock', 'the lock'], ['holder', 'the stack that held it meanwhile']]
    : state.side === 'holder' && (!asked || asked.is_lock)
      ? [['lock', 'the lock'], ['holder', 'the stack that held it']]
      : [['lock', 'the lock'], ['waiter', 'the stack that waited']];
  byId('flame-legend').replaceChildren('From the bottom up: ',
    ...sides.flatMap(([kind, text], i) => [i > 0 ? ', then ' : '', el('span', { class: 'swatch ' + kind }, text)]),
    '. Width: ' + (state.metric === 'count' ? 'number of waits' : 'time waited') + '. Click or Enter zooms.');
  drawBoxes();
}

function startFlame() {
  const graph = byId('flame-graph');
  graph.addEventListener('click', (event) => { if (event.target.frame) zoomTo(event.target.frame); });
  graph.addEventListener('mousemove', (event) => {
    if (event.target.frame) showTip(flameLines(event.target.frame), event.clientX, event.clientY);
    else hideTip();
  });
  graph.addEventListener('mouseleave', hideTip);
  graph.addEventListener('keydown', flameKeyPressed);
  byId('flame-reset').addEventListener('click', () => zoomTo(flame));
  byId('flame-libraries').addEventListener('change', (event) => go({ libs: event.target.checked ? '1' : '' }));
  const search = byId('flame-search');
  search.value = state.find;
  search.addEventListener('input', () => go({ find: search.value }, true));
}
