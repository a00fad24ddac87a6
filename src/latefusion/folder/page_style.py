"""The style of the HTML pages: a folder's review and an evaluation."""

STYLE = """
:root { --ink: #1d2430; --soft: #667080; --line: #e3e6eb; --card: #fff; --ground: #f4f5f7;
  color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7eaf0; --soft: #98a2b3; --line: #323945; --card: #1e232c; --ground: #14171d; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1280px; padding: 24px 16px 64px; color: var(--ink);
  background: var(--ground); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { margin: 0 0 8px; font-size: 28px; }
h2 { margin: 0 0 12px; font-size: 18px; }
h3 { margin: 0; font-size: 15px; overflow-wrap: anywhere; }
section, header { margin-bottom: 28px; }
dl { display: flex; flex-wrap: wrap; gap: 4px 28px; margin: 0; }
dt { color: var(--soft); font-size: 12px; }
dd { margin: 0; max-width: 30ch; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
small, figcaption, .key, summary, details li { color: var(--soft); font-size: 12.5px; }
.wide, article, .charts figure, .bad { background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; padding: 14px 16px; }
.wide { overflow-x: auto; padding: 4px 8px; margin-bottom: 10px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 8px; text-align: right; white-space: nowrap; }
th:first-child { text-align: left; }
tr + tr { border-top: 1px solid var(--line); }
tr:first-child th { white-space: normal; color: var(--soft); font-size: 12.5px; font-weight: 500; }
td small { display: block; }
details ul { margin: 6px 0; padding-left: 20px; }
.bad { border-color: #c9504c; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr));
  gap: 16px; }
figure { margin: 0; }
.charts figure { max-width: 640px; }
.charts h2 { font-size: 15px; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
svg path { fill: none; stroke: var(--line); }
svg .axis { stroke: var(--soft); }
article { margin-bottom: 14px; }
.scores { display: flex; flex-wrap: wrap; gap: 2px 18px; margin: 2px 0 10px; color: var(--soft);
  font-size: 13px; font-variant-numeric: tabular-nums; }
.scores b { color: var(--ink); font-weight: 600; }
.views { display: flex; flex-wrap: wrap; gap: 10px; }
.views img { display: block; max-width: 100%; border-radius: 4px; border: 1px solid var(--line); }
.key i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; }
.red { background: #d62728; }
.blue { background: #1f5ac8; }
@media (max-width: 600px) { svg text { font-size: 16px; }
  .views img { max-height: 150px; } }
"""
