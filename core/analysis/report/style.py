"""The style sheet of a report: light and dark, wide and narrow, screen and paper."""

STYLE = """
:root{color-scheme:light dark;--bg:#fff;--ink:#1b1d21;--muted:#5c626b;--grid:#d8dbe0;--line:#d8dbe0;
--card:#f5f6f8;--shade:rgb(0 0 0/.22);--link:#00599c;
--heat:0 114 178;--warn:#fff3d6;--warnline:#c98a00;
--severe:#b3261e;--moderate:#b35c00;--mild:#5c626b;
--c0:#0072b2;--c1:#c24d00;--c2:#00785a;--c3:#a8447f;--c4:#8a6d00;--c5:#5b4fbf;--c6:#6f757e}
@media (prefers-color-scheme:dark){:root{--bg:#15171b;--ink:#e6e8eb;--muted:#9aa1ab;--grid:#363b43;
--line:#363b43;--card:#1e2127;--shade:rgb(0 0 0/.75);--link:#7cc0f2;--heat:86 180 233;
--warn:#362b10;--warnline:#d9a441;
--severe:#ff8a80;--moderate:#ffb266;--mild:#aab1bb;
--c0:#56b4e9;--c1:#f28b4b;--c2:#35c49b;--c3:#e08fc0;--c4:#e0c13f;--c5:#a99cf7;--c6:#a3a9b3}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--bg);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
main,header,footer{max-width:1120px;margin:0 auto;padding:0 20px}
header{padding-top:28px}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 4px}
h2{font-size:1.3rem;margin:48px 0 8px;padding-top:14px;border-top:1px solid var(--line)}
h3{font-size:1.06rem;margin:26px 0 4px}
h4{font-size:.92rem;margin:0 0 2px;font-weight:600}
h1,h2,h3,h4,th,td,p,li,figcaption{overflow-wrap:anywhere}
p{margin:8px 0;max-width:76ch}
a{color:var(--link)}
nav ul{list-style:none;margin:14px 0 0;padding:0;display:flex;flex-wrap:wrap;gap:4px 16px;
font-size:.92rem}
.subtitle,.caption,figcaption,.missing{color:var(--muted)}
.caption,figcaption{font-size:.88rem;max-width:88ch;margin:6px 0 18px}
.note{color:var(--muted);font-size:.82rem;line-height:1.35;margin:2px 0 0}
.missing{font-style:italic}
.lead{font-size:1.14rem;font-weight:600}
.caution{border-left:4px solid var(--warnline);background:var(--warn);padding:8px 12px;
border-radius:4px;max-width:none}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,165px),1fr));gap:10px;
margin:18px 0}
.tile{background:var(--card);border-radius:8px;padding:10px 14px;display:flex;
flex-direction:column-reverse;justify-content:flex-end}
.tile dt{color:var(--muted);font-size:.84rem;line-height:1.3}
.tile dd{margin:0;font-size:1.3rem;font-weight:650;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto;max-width:100%;background:
linear-gradient(90deg,var(--paper,var(--bg)) 40%,transparent) 0 0/36px 100% no-repeat local,
linear-gradient(270deg,var(--paper,var(--bg)) 40%,transparent) 100% 0/36px 100% no-repeat local,
linear-gradient(90deg,var(--shade),transparent) 0 0/9px 100% no-repeat scroll,
linear-gradient(270deg,var(--shade),transparent) 100% 0/9px 100% no-repeat scroll}
.finding{--paper:var(--card)}
table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums;margin:6px 0}
th,td{padding:5px 14px 5px 0;text-align:right;vertical-align:top;overflow-wrap:normal}
th:first-child,td:first-child{text-align:left}
td{white-space:nowrap}
thead th{color:var(--muted);font-weight:600;font-size:.84rem;vertical-align:bottom;
border-bottom:1px solid var(--line)}
tbody th{font-weight:600}
tbody tr+tr>*{border-top:1px solid var(--line)}
.matrix{font-size:.82rem;width:100%;border-spacing:2px;border-collapse:separate}
.matrix th,.matrix td{padding:4px 2px;text-align:center;border:0!important}
.matrix tbody th{text-align:right;font-weight:500}
.matrix thead th{font-size:.7rem;font-weight:500}
.matrix td{background:rgb(var(--heat)/calc(var(--s)*.62));min-width:2.2em;border-radius:3px}
figure{margin:14px 0 0}
.panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,310px),1fr));
gap:18px 22px;align-items:start}
.panel{min-width:0}
.panel:only-child{grid-column:1/-1}
.example .panels{grid-template-columns:repeat(auto-fill,minmax(min(46%,150px),1fr));gap:12px}
.example .panel:has(>.wide){grid-column:span 2}
.example .panel:only-child{max-width:460px}
.example{margin-bottom:18px}
.plot{display:block;width:100%;height:auto;overflow:visible}
.plot text{font-family:inherit}
.marked{position:relative}.marked svg{position:absolute;inset:0;width:100%;height:100%;fill:none;
stroke:#fff;stroke-width:1}
img{display:block;width:100%;image-rendering:pixelated;border-radius:3px}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:2px 18px;margin:0 0 8px;padding:0;
font-size:.86rem}
.swatch{width:26px;height:12px;margin-right:6px;vertical-align:-1px}
.finding{background:var(--card);border-left:5px solid var(--mild);border-radius:6px;
padding:4px 16px 10px;margin:14px 0}
.finding.severe{border-color:var(--severe)}.finding.moderate{border-color:var(--moderate)}
.finding h3{margin-top:10px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,300px),1fr));gap:14px}
.card{background:var(--card);border-radius:8px;padding:2px 16px 10px;min-width:0}
.card h3{margin-top:12px}
.badge{font-size:.74rem;font-weight:600;border:1px solid;border-radius:99px;padding:1px 9px;
margin-left:10px;vertical-align:2px;white-space:nowrap}
.badge.severe{color:var(--severe)}.badge.moderate{color:var(--moderate)}
.badge.mild{color:var(--mild)}
pre{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:10px 12px;
white-space:pre-wrap;overflow-wrap:anywhere;font-size:.84rem;line-height:1.45;margin:8px 0}
code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
details{margin:10px 0}
summary{cursor:pointer;color:var(--link)}
dl.words dt{font-weight:600;margin-top:8px}dl.words dd{margin:0;max-width:80ch}
footer{color:var(--muted);font-size:.86rem;padding-top:40px;padding-bottom:40px}
:focus-visible{outline:2px solid var(--link);outline-offset:2px}
@media (max-width:520px){body{font-size:15px}main,header,footer{padding-left:14px;
padding-right:14px}.tile dd{font-size:1.1rem}th,td{padding-right:10px}}
@media print{:root{--bg:#fff;--ink:#000;--muted:#444;--card:#f5f6f8;--grid:#ccc;--line:#ccc;
--heat:0 114 178;--c0:#0072b2;--c1:#c24d00;--c2:#00785a;--c3:#a8447f;--c4:#8a6d00;--c5:#5b4fbf;
--c6:#6f757e;--warn:#fff3d6;--severe:#b3261e;--moderate:#b35c00;--mild:#5c626b}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
nav{display:none}.panel,.finding,.tile,tr,.example{break-inside:avoid}h2,h3,h4{break-after:avoid}
.scroll{overflow:visible;background:none}body{font-size:11pt}}
"""
