// Puts the parts together: theme, links within the page, and drawing anew when the address changes.

function render() {
  state = readHash();
  const focused = document.activeElement && document.activeElement.id;
  for (const [id, key] of [['filter', 'q'], ['flame-search', 'find']]) {
    if (byId(id).value !== state[key]) byId(id).value = state[key];
  }
  drawTable();
  drawFlame();
  drawTimeline();
  // What was drawn anew has the same ids.
  if (focused && document.activeElement.id !== focused && byId(focused)) byId(focused).focus({ preventScroll: true });
  drawDetail();
}

/** Light, dark, or what the system says; remembered where the browser lets a file do that. */
function startTheme() {
  const stored = () => { try { return localStorage.getItem('lockprof-theme'); } catch { return null; } };
  const store = (theme) => { try { localStorage.setItem('lockprof-theme', theme); } catch { /* it lasts for this visit */ } };
  const known = stored();
  if (known === 'light' || known === 'dark') root.dataset.theme = known;
  const dark = () => root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  byId('theme').addEventListener('click', () => {
    root.dataset.theme = dark() ? 'light' : 'dark';
    store(root.dataset.theme);
    drawTimeline();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawTimeline);
}

/** A link to a section keeps what is looked at. */
function startJumps() {
  document.addEventListener('click', (event) => {
    const lock = event.target.closest('a[data-go]');
    const link = event.target.closest('nav a, a.jump');
    if (!(lock || link) || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    if (lock) go({ lock: lock.dataset.go });
    else byId(link.getAttribute('href').slice(1)).scrollIntoView({ block: 'start' });
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && state.lock && event.target.type !== 'search') go({ lock: '' });
  });
}

startTheme();
startJumps();
drawSummary();
drawOrder();
startTable();
startFlame();
startTimeline();
render();
addEventListener('hashchange', render);
root.dataset.ready = 'yes';
