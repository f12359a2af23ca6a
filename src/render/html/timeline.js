// When which thread waited: a row for each thread, a block for each wait that the recording kept, and behind it the hold
// that followed. Drawn on a canvas, since there are thousands; the keys n and p walk from wait to wait.

const LINE = 18;
const AXIS = 22;
const LEAST_SPAN = 1000;

/** The part of the run that is shown, ns since the start. */
let span = [0, 0];
/** The wait that is looked at. */
let chosenWait = -1;
let shownWaits = [];
let shownHolds = [];
let rowsOfThreads = [];

const waitEnd = ([, , start, wait]) => start + wait;
const holdEnd = ([, , start, wait, hold]) => start + wait + hold;
const runLength = () => data.timeline.waits.reduce((end, wait) => Math.max(end, waitEnd(wait)), data.duration_ns);

function threadName(at) {
  const { name, tid, pid } = data.timeline.threads[at];
  return (name || 'thread') + ' ' + (pid ? pid + '/' : '') + tid;
}

const labelWidth = () => innerWidth < 600 ? 84 : 170;

/** A colour of the style sheet as the canvas needs it. */
function colour(name) {
  const probe = el('span', { hidden: true });
  probe.style.color = 'var(' + name + ')';
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

function drawTimeline() {
  const asked = lockOf.get(state.lock);
  const at = data.locks.indexOf(asked);
  scope(byId('timeline-scope'), asked, 'all locks');
  shownWaits = asked ? data.timeline.waits.filter((wait) => wait[1] === at) : data.timeline.waits;
  shownHolds = data.timeline.holds.filter((hold) => !asked || hold[1] === at);
  const threads = new Set([...shownWaits, ...shownHolds].map((bar) => bar[0]));
  rowsOfThreads = data.timeline.threads.map((thread, index) => index).filter((index) => threads.has(index));
  chosenWait = -1;
  const canvas = byId('timeline-canvas');
  canvas.hidden = shownWaits.length === 0;
  byId('timeline-box').hidden = shownWaits.length === 0;
  byId('timeline-box').dataset.waits = shownWaits.length;
  byId('timeline-legend').replaceChildren(...(shownWaits.length === 0 ? ['No single wait' + (asked ? ' for this lock' : '') + ' was kept.'] : [
    el('span', { class: 'swatch wait' }, 'waiting'), ' (full height), then ', el('span', { class: 'swatch hold' }, 'holding'),
    ' (half height). Kept one by one are holds after a wait; of others, what those saw who waited for them. Drag to zoom; with the keyboard: arrows, + and −, n and p from wait to wait.',
  ]));
  byId('timeline-says').textContent = '';
  const { left, not_kept: notKept, threads_left: threadsLeft } = data.timeline;
  const notes = [];
  if (left[0] > 0 || left[1] > 0) {
    notes.push('Shown one by one: the longest ' + count(data.timeline.waits.length) + ' waits. Not shown: ' +
      plural(left[0], 'wait', 'waits') + ' with ' + duration(left[1]) + ' together' +
      (notKept > 0 ? ' (the recording itself kept ' + count(notKept) + ' of them as sums only)' : '') + '; the tables count all of them.');
  }
  if (threadsLeft > 0) notes.push(plural(threadsLeft, 'thread', 'threads') + ' that waited less are not shown.');
  byId('timeline-left').textContent = notes.join(' ');
  if (shownWaits.length > 0) paintTimeline();
}

function paintTimeline() {
  const canvas = byId('timeline-canvas');
  const width = Math.max(280, byId('timeline-box').clientWidth);
  const height = AXIS + rowsOfThreads.length * LINE + 2;
  const scale = Math.min(devicePixelRatio || 1, 32000 / height);
  canvas.width = width * scale;
  canvas.height = height * scale;
  canvas.style.width = width + 'px';
  canvas.style.height = height + 'px';
  canvas.setAttribute('aria-label', plural(shownWaits.length, 'wait', 'waits') + ' of ' +
    plural(rowsOfThreads.length, 'thread', 'threads') + ' from ' + duration(Math.round(span[0])) + ' to ' + duration(Math.round(span[1])));
  const pen = canvas.getContext('2d');
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  const colours = { text: colour('--text'), dim: colour('--dim'), line: colour('--line'), wait: colour('--wait'), hold: colour('--hold') };
  const label = labelWidth();
  pen.font = '11px system-ui, sans-serif';
  pen.textBaseline = 'middle';
  pen.clearRect(0, 0, width, height);
  const rowOf = new Map(rowsOfThreads.map((thread, row) => [thread, row]));
  const x = (ns) => label + (ns - span[0]) / (span[1] - span[0]) * (width - label - 4);
  // The axis: a step of 1, 2 or 5 of a power of ten.
  const rough = (span[1] - span[0]) / Math.max(2, (width - label) / 90);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= rough);
  pen.fillStyle = colours.dim;
  for (let tick = Math.ceil(span[0] / step) * step; tick <= span[1]; tick += step) {
    pen.fillText(tick === 0 ? '0' : duration(Math.round(tick)), x(tick) + 3, AXIS / 2);
    pen.fillStyle = colours.line;
    pen.fillRect(x(tick), 4, 1, height);
    pen.fillStyle = colours.dim;
  }
  rowsOfThreads.forEach((thread, row) => {
    const y = AXIS + row * LINE;
    pen.fillStyle = colours.line;
    pen.fillRect(0, y, width, 1);
    pen.fillStyle = colours.text;
    pen.save();
    pen.beginPath();
    pen.rect(0, y, label - 6, LINE);
    pen.clip();
    pen.fillText(threadName(thread), 2, y + LINE / 2);
    pen.restore();
  });
  pen.save();
  pen.beginPath();
  pen.rect(label, 0, width - label, height);
  pen.clip();
  for (const wait of shownWaits) {
    const [thread, , start, , hold] = wait;
    if (holdEnd(wait) < span[0] || start > span[1]) continue;
    const y = AXIS + rowOf.get(thread) * LINE;
    const [from, to] = [x(start), x(waitEnd(wait))];
    pen.fillStyle = colours.wait;
    pen.fillRect(from, y + 3, Math.max(0.75, to - from), LINE - 5);
    if (hold > 0) {
      pen.fillStyle = colours.hold;
      pen.fillRect(to, y + 3 + (LINE - 5) / 2, Math.max(0.5, x(holdEnd(wait)) - to), (LINE - 5) / 2);
    }
  }
  pen.fillStyle = colours.hold;
  for (const [thread, , start, end] of shownHolds) {
    if (end < span[0] || start > span[1]) continue;
    pen.fillRect(x(start), AXIS + rowOf.get(thread) * LINE + 3 + (LINE - 5) / 2, Math.max(0.75, x(end) - x(start)), (LINE - 5) / 2);
  }
  const chosen = shownWaits[chosenWait];
  if (chosen) {
    pen.strokeStyle = colours.text;
    pen.lineWidth = 2;
    const [from, to] = [x(chosen[2]), x(waitEnd(chosen))];
    pen.strokeRect(from - 1, AXIS + rowOf.get(chosen[0]) * LINE + 2, Math.max(3, to - from) + 2, LINE - 3);
  }
  pen.restore();
}

function waitLines([thread, lock, start, wait, hold, waiter, holder, holderThread]) {
  const lines = [data.locks[lock].id + ' ' + nameOf(data.locks[lock]), threadName(thread) + ' waited ' + exact(wait)];
  if (waiter > 0) lines.push('in ' + headline(waiter));
  if (holder > 0 || holderThread >= 0) {
    lines.push('held by ' + (holderThread >= 0 ? threadName(holderThread) : 'another thread') + (holder > 0 ? ' in ' + headline(holder) : ''));
  }
  if (hold > 0) lines.push('then held it for ' + exact(hold));
  lines.push('from ' + duration(start) + ' after the start');
  return lines;
}

function holdLines([thread, lock, start, end, holder]) {
  const lines = [data.locks[lock].id + ' ' + nameOf(data.locks[lock]), threadName(thread) + ' held it while others waited'];
  if (holder > 0) lines.push('in ' + headline(holder));
  lines.push('for ' + exact(end - start) + ' or longer', 'seen from ' + duration(start) + ' after the start');
  return lines;
}

/** The hold under a point of the canvas. */
function holdAt(offsetX, offsetY) {
  const thread = rowsOfThreads[Math.floor((offsetY - AXIS) / LINE)];
  if (thread === undefined || offsetX < labelWidth()) return undefined;
  const ns = timeAt(offsetX);
  const near = (span[1] - span[0]) / 600;
  return shownHolds.find((hold) => hold[0] === thread && hold[2] - near <= ns && ns <= hold[3] + near);
}

/** The wait under a point of the canvas, the shortest of several. */
function waitAt(offsetX, offsetY) {
  const thread = rowsOfThreads[Math.floor((offsetY - AXIS) / LINE)];
  if (thread === undefined || offsetX < labelWidth()) return -1;
  const ns = timeAt(offsetX);
  const near = (span[1] - span[0]) / 600;
  let best = -1;
  shownWaits.forEach((wait, at) => {
    if (wait[0] === thread && wait[2] - near <= ns && ns <= holdEnd(wait) + near && (best < 0 || wait[3] < shownWaits[best][3])) best = at;
  });
  return best;
}

function timeAt(offsetX) {
  const label = labelWidth();
  const width = byId('timeline-canvas').clientWidth - label - 4;
  return span[0] + Math.min(1, Math.max(0, (offsetX - label) / width)) * (span[1] - span[0]);
}

function showSpan(from, to) {
  const whole = runLength();
  const length = Math.min(Math.max(to - from, LEAST_SPAN), Math.max(whole, LEAST_SPAN));
  const start = Math.min(Math.max(0, from), Math.max(0, whole - length));
  span = [start, start + length];
  if (shownWaits.length > 0) paintTimeline();
}

/** Zooms to the wait that is looked at, if it is in sight. */
function zoomTime(factor) {
  const chosen = shownWaits[chosenWait];
  const seen = chosen && chosen[2] >= span[0] && chosen[2] <= span[1];
  const middle = seen ? chosen[2] : (span[0] + span[1]) / 2;
  showSpan(middle - (middle - span[0]) * factor, middle + (span[1] - middle) * factor);
}

const moveTime = (part) => showSpan(span[0] + part * (span[1] - span[0]), span[1] + part * (span[1] - span[0]));

function chooseWait(at) {
  const wait = shownWaits[at];
  if (!wait) return;
  chosenWait = at;
  if (wait[2] < span[0] || waitEnd(wait) > span[1]) {
    const half = Math.max((span[1] - span[0]) / 2, wait[3]);
    showSpan(wait[2] + wait[3] / 2 - half, wait[2] + wait[3] / 2 + half);
  } else {
    paintTimeline();
  }
  byId('timeline-says').textContent = waitLines(wait).join(' · ');
}

function startTimeline() {
  span = [0, Math.max(runLength(), LEAST_SPAN)];
  const canvas = byId('timeline-canvas');
  let dragged = null;
  canvas.addEventListener('mousedown', (event) => { dragged = event.offsetX; });
  canvas.addEventListener('mousemove', (event) => {
    const wait = shownWaits[waitAt(event.offsetX, event.offsetY)];
    const hold = wait ? undefined : holdAt(event.offsetX, event.offsetY);
    if (wait) showTip(waitLines(wait), event.clientX, event.clientY);
    else if (hold) showTip(holdLines(hold), event.clientX, event.clientY);
    else hideTip();
  });
  canvas.addEventListener('mouseup', (event) => {
    if (dragged !== null && Math.abs(event.offsetX - dragged) > 5) {
      const ends = [timeAt(dragged), timeAt(event.offsetX)].sort((a, b) => a - b);
      showSpan(ends[0], ends[1]);
    } else {
      chooseWait(waitAt(event.offsetX, event.offsetY));
    }
    dragged = null;
  });
  canvas.addEventListener('mouseleave', () => {
    dragged = null;
    hideTip();
  });
  const keys = {
    '+': () => zoomTime(0.5), '=': () => zoomTime(0.5), '-': () => zoomTime(2), '0': () => showSpan(0, runLength()),
    ArrowLeft: () => moveTime(-0.25), ArrowRight: () => moveTime(0.25),
    n: () => chooseWait(chosenWait < 0 ? shownWaits.findIndex((wait) => wait[2] >= span[0]) : Math.min(shownWaits.length - 1, chosenWait + 1)),
    p: () => chooseWait(Math.max(0, chosenWait - 1)),
  };
  canvas.addEventListener('keydown', (event) => {
    if (!(event.key in keys) || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  for (const [id, key] of [['time-in', '+'], ['time-out', '-'], ['time-back', 'ArrowLeft'], ['time-on', 'ArrowRight'], ['time-reset', '0']]) {
    byId(id).addEventListener('click', keys[key]);
  }
  addEventListener('resize', () => { if (shownWaits.length > 0) paintTimeline(); });
}
